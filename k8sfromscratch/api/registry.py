"""Every built-in resource of Kubernetes v1.35's stable groups, once.

Discovery, routes, RBAC's names, `kubectl get po` and the constants that components import all come from this table.
A line reads: group, version, kind, plural; then short names, categories, subresources.
"""

from collections.abc import Mapping

from k8sfromscratch.api.resource import Resource

_STATUS = ("status",)
_SCALED = ("scale", "status")
_ALL = ("all",)
_CREATE_ONLY = ("create",)
_READ_ONLY = ("get", "list")


def _r(
    group: str,
    version: str,
    kind: str,
    plural: str,
    *short: str,
    cluster: bool = False,
    categories: tuple[str, ...] = (),
    sub: tuple[str, ...] = (),
    verbs: tuple[str, ...] | None = None,
) -> Resource:
    resource = Resource(group, version, kind, plural, not cluster, kind.lower(), short, categories, sub)
    return resource if verbs is None else Resource(group, version, kind, plural, not cluster, kind.lower(), short, categories, sub, verbs)


BINDINGS = _r("", "v1", "Binding", "bindings", verbs=_CREATE_ONLY)
COMPONENT_STATUSES = _r("", "v1", "ComponentStatus", "componentstatuses", "cs", cluster=True, verbs=_READ_ONLY)
CONFIG_MAPS = _r("", "v1", "ConfigMap", "configmaps", "cm")
ENDPOINTS = _r("", "v1", "Endpoints", "endpoints", "ep")
EVENTS = _r("", "v1", "Event", "events", "ev")
LIMIT_RANGES = _r("", "v1", "LimitRange", "limitranges", "limits")
NAMESPACES = _r(
    "", "v1", "Namespace", "namespaces", "ns", cluster=True, sub=("finalize", "status"), verbs=("create", "delete", "get", "list", "patch", "update", "watch")
)
NODES = _r("", "v1", "Node", "nodes", "no", cluster=True, sub=("proxy", "status"))
PERSISTENT_VOLUME_CLAIMS = _r("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", sub=_STATUS)
PERSISTENT_VOLUMES = _r("", "v1", "PersistentVolume", "persistentvolumes", "pv", cluster=True, sub=_STATUS)
PODS = _r(
    "",
    "v1",
    "Pod",
    "pods",
    "po",
    categories=_ALL,
    sub=("attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize", "status"),
)
POD_TEMPLATES = _r("", "v1", "PodTemplate", "podtemplates")
REPLICATION_CONTROLLERS = _r("", "v1", "ReplicationController", "replicationcontrollers", "rc", categories=_ALL, sub=_SCALED)
RESOURCE_QUOTAS = _r("", "v1", "ResourceQuota", "resourcequotas", "quota", sub=_STATUS)
SECRETS = _r("", "v1", "Secret", "secrets")
SERVICE_ACCOUNTS = _r("", "v1", "ServiceAccount", "serviceaccounts", "sa", sub=("token",))
SERVICES = _r("", "v1", "Service", "services", "svc", categories=_ALL, sub=("proxy", "status"))

MUTATING_WEBHOOK_CONFIGURATIONS = _r(
    "admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", cluster=True, categories=("api-extensions",)
)
VALIDATING_WEBHOOK_CONFIGURATIONS = _r(
    "admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", cluster=True, categories=("api-extensions",)
)
VALIDATING_ADMISSION_POLICIES = _r(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", cluster=True, categories=("api-extensions",), sub=_STATUS
)
VALIDATING_ADMISSION_POLICY_BINDINGS = _r(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", cluster=True, categories=("api-extensions",)
)
CUSTOM_RESOURCE_DEFINITIONS = _r(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    "crd",
    "crds",
    cluster=True,
    categories=("api-extensions",),
    sub=_STATUS,
)
API_SERVICES = _r("apiregistration.k8s.io", "v1", "APIService", "apiservices", cluster=True, categories=("api-extensions",), sub=_STATUS)

CONTROLLER_REVISIONS = _r("apps", "v1", "ControllerRevision", "controllerrevisions")
DAEMON_SETS = _r("apps", "v1", "DaemonSet", "daemonsets", "ds", categories=_ALL, sub=_STATUS)
DEPLOYMENTS = _r("apps", "v1", "Deployment", "deployments", "deploy", categories=_ALL, sub=_SCALED)
REPLICA_SETS = _r("apps", "v1", "ReplicaSet", "replicasets", "rs", categories=_ALL, sub=_SCALED)
STATEFUL_SETS = _r("apps", "v1", "StatefulSet", "statefulsets", "sts", categories=_ALL, sub=_SCALED)

TOKEN_REVIEWS = _r("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", cluster=True, verbs=_CREATE_ONLY)
SELF_SUBJECT_REVIEWS = _r("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", cluster=True, verbs=_CREATE_ONLY)
LOCAL_SUBJECT_ACCESS_REVIEWS = _r("authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=_CREATE_ONLY)
SELF_SUBJECT_ACCESS_REVIEWS = _r("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", cluster=True, verbs=_CREATE_ONLY)
SELF_SUBJECT_RULES_REVIEWS = _r("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", cluster=True, verbs=_CREATE_ONLY)
SUBJECT_ACCESS_REVIEWS = _r("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", cluster=True, verbs=_CREATE_ONLY)

HORIZONTAL_POD_AUTOSCALERS = _r("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", categories=_ALL, sub=_STATUS)
HORIZONTAL_POD_AUTOSCALERS_V1 = _r("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", categories=_ALL, sub=_STATUS)
CRON_JOBS = _r("batch", "v1", "CronJob", "cronjobs", "cj", categories=_ALL, sub=_STATUS)
JOBS = _r("batch", "v1", "Job", "jobs", categories=_ALL, sub=_STATUS)
CERTIFICATE_SIGNING_REQUESTS = _r(
    "certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", "csr", cluster=True, sub=("approval", "status")
)
LEASES = _r("coordination.k8s.io", "v1", "Lease", "leases")
ENDPOINT_SLICES = _r("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
EVENTS_V1 = _r("events.k8s.io", "v1", "Event", "events", "ev")
FLOW_SCHEMAS = _r("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas", cluster=True, sub=_STATUS)
PRIORITY_LEVEL_CONFIGURATIONS = _r("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations", cluster=True, sub=_STATUS)
INGRESS_CLASSES = _r("networking.k8s.io", "v1", "IngressClass", "ingressclasses", cluster=True)
INGRESSES = _r("networking.k8s.io", "v1", "Ingress", "ingresses", "ing", sub=_STATUS)
IP_ADDRESSES = _r("networking.k8s.io", "v1", "IPAddress", "ipaddresses", "ip", cluster=True)
NETWORK_POLICIES = _r("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "netpol")
SERVICE_CIDRS = _r("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", cluster=True, sub=_STATUS)
RUNTIME_CLASSES = _r("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", cluster=True)
POD_DISRUPTION_BUDGETS = _r("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", sub=_STATUS)
CLUSTER_ROLE_BINDINGS = _r("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", cluster=True)
CLUSTER_ROLES = _r("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", cluster=True)
ROLE_BINDINGS = _r("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
ROLES = _r("rbac.authorization.k8s.io", "v1", "Role", "roles")
DEVICE_CLASSES = _r("resource.k8s.io", "v1", "DeviceClass", "deviceclasses", cluster=True)
RESOURCE_CLAIMS = _r("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims", sub=_STATUS)
RESOURCE_CLAIM_TEMPLATES = _r("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates")
RESOURCE_SLICES = _r("resource.k8s.io", "v1", "ResourceSlice", "resourceslices", cluster=True)
PRIORITY_CLASSES = _r("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "pc", cluster=True)
CSI_DRIVERS = _r("storage.k8s.io", "v1", "CSIDriver", "csidrivers", cluster=True)
CSI_NODES = _r("storage.k8s.io", "v1", "CSINode", "csinodes", cluster=True)
CSI_STORAGE_CAPACITIES = _r("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities")
STORAGE_CLASSES = _r("storage.k8s.io", "v1", "StorageClass", "storageclasses", "sc", cluster=True)
VOLUME_ATTACHMENTS = _r("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", cluster=True, sub=_STATUS)
VOLUME_ATTRIBUTES_CLASSES = _r("storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses", "vac", cluster=True)

RESOURCES: tuple[Resource, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Resource))
"""In the order above: by group as discovery lists them, the core first."""

_BY_PLURAL: Mapping[tuple[str, str, str], Resource] = {(r.group, r.version, r.plural): r for r in RESOURCES}
_BY_KIND: Mapping[tuple[str, str], Resource] = {(r.api_version, r.kind): r for r in RESOURCES}


def find(group: str, version: str, plural: str) -> Resource | None:
    return _BY_PLURAL.get((group, version, plural))


def find_kind(api_version: str, kind: str) -> Resource | None:
    return _BY_KIND.get((api_version, kind))
