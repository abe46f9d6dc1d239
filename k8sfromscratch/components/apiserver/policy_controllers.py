"""The default policy for controllers: one role each, `system:controller:NAME`, so that each can do its work and no more.

Upstream binds each to a service account of that name in kube-system, which --use-service-account-credentials makes controllers use.  Ours run
as the controller manager itself, so it is bound to all of them as well: as upstream's documentation asks of whoever runs them so.
"""

from collections.abc import Mapping

from k8sfromscratch.components.apiserver.policy import READ, Item, Object, account, cluster_binding, cluster_role, events, rule
from k8sfromscratch.components.apiserver.policy_cluster import CONTROLLER_MANAGER

_STORAGE, _DISCOVERY, _CERTIFICATES = "storage.k8s.io", "discovery.k8s.io", "certificates.k8s.io"
_MANAGED_PODS = "list watch create delete patch"

RULES: Mapping[str, tuple[Object, ...]] = {
    "attachdetach-controller": (
        rule("list watch", "", "persistentvolumes persistentvolumeclaims pods"),
        rule(READ, "", "nodes"),
        rule("patch update", "", "nodes/status"),
        rule("get create delete list watch", _STORAGE, "volumeattachments"),
        rule(READ, _STORAGE, "csidrivers csinodes"),
        events(),
    ),
    "certificate-controller": (
        rule(f"{READ} delete", _CERTIFICATES, "certificatesigningrequests"),
        rule("update", _CERTIFICATES, "certificatesigningrequests/status certificatesigningrequests/approval"),
        rule("approve", _CERTIFICATES, "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
        rule(
            "sign",
            _CERTIFICATES,
            "signers",
            "kubernetes.io/legacy-unknown kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving",
        ),
        rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        events(),
    ),
    "clusterrole-aggregation-controller": (rule(f"escalate {READ} update patch", "rbac.authorization.k8s.io", "clusterroles"),),
    "cronjob-controller": (
        rule(f"{READ} update", "batch", "cronjobs"),
        rule(f"{READ} create update delete patch", "batch", "jobs"),
        rule("update", "batch", "cronjobs/status cronjobs/finalizers"),
        rule("list watch delete", "", "pods"),
        events(),
    ),
    "daemon-set-controller": (
        rule(READ, "apps", "daemonsets"),
        rule("update", "apps", "daemonsets/status daemonsets/finalizers"),
        rule("list watch", "", "nodes"),
        rule(_MANAGED_PODS, "", "pods"),
        rule("create", "", "pods/binding"),
        rule(f"{READ} create delete update patch", "apps", "controllerrevisions"),
        events(),
    ),
    "deployment-controller": (
        rule(f"{READ} update", "apps", "deployments"),
        rule("update", "apps", "deployments/status deployments/finalizers"),
        rule(f"{READ} create update patch delete", "apps", "replicasets"),
        rule(f"{READ} update", "", "pods"),
        events(),
    ),
    "disruption-controller": (
        rule(READ, "apps", "deployments replicasets statefulsets"),
        rule(READ, "", "replicationcontrollers pods"),
        rule(READ, "policy", "poddisruptionbudgets"),
        rule("update", "policy", "poddisruptionbudgets/status"),
        rule("patch update", "", "pods/status"),
        rule("get", "*", "*/scale"),
        events(),
    ),
    "endpoint-controller": (
        rule(READ, "", "services pods"),
        rule(f"{READ} create update delete", "", "endpoints"),
        rule("create", "", "endpoints/restricted"),
        events(),
    ),
    "endpointslice-controller": (
        rule(READ, "", "services pods nodes"),
        rule("update", "", "services/finalizers"),
        rule(f"{READ} create update delete", _DISCOVERY, "endpointslices"),
        rule("create", _DISCOVERY, "endpointslices/restricted"),
        events(),
    ),
    "endpointslicemirroring-controller": (
        rule(READ, "", "services endpoints"),
        rule("update", "", "services/finalizers endpoints/finalizers"),
        rule(f"{READ} create update delete", _DISCOVERY, "endpointslices"),
        rule("create", _DISCOVERY, "endpointslices/restricted"),
        events(),
    ),
    "ephemeral-volume-controller": (
        rule(READ, "", "pods"),
        rule("update", "", "pods/finalizers"),
        rule(f"{READ} create", "", "persistentvolumeclaims"),
        events(),
    ),
    "expand-controller": (
        rule(f"{READ} update patch", "", "persistentvolumes"),
        rule("update patch", "", "persistentvolumeclaims/status"),
        rule(READ, "", "persistentvolumeclaims"),
        events(),
    ),
    "generic-garbage-collector": (rule(f"{READ} patch update delete", "*", "*"), events()),
    "horizontal-pod-autoscaler": (
        rule(READ, "autoscaling", "horizontalpodautoscalers"),
        rule("update", "autoscaling", "horizontalpodautoscalers/status"),
        rule("get update", "*", "*/scale"),
        rule("list watch", "", "pods"),
        rule("list watch", "metrics.k8s.io", "pods"),
        rule(READ, "custom.metrics.k8s.io", "*"),
        rule(READ, "external.metrics.k8s.io", "*"),
        events(),
    ),
    "job-controller": (
        rule(f"{READ} update patch", "batch", "jobs"),
        rule("update", "batch", "jobs/status jobs/finalizers"),
        rule(_MANAGED_PODS, "", "pods"),
        events(),
    ),
    "namespace-controller": (
        rule(f"{READ} delete", "", "namespaces"),
        rule("update", "", "namespaces/finalize namespaces/status"),
        rule(f"{READ} delete deletecollection", "*", "*"),
    ),
    "node-controller": (
        rule(f"{READ} update delete patch", "", "nodes"),
        rule("patch update", "", "nodes/status pods/status"),
        rule(f"{READ} delete", "", "pods"),
        events(),
    ),
    "persistent-volume-binder": (
        rule(f"{READ} update create delete", "", "persistentvolumes"),
        rule("update", "", "persistentvolumes/status persistentvolumeclaims/status"),
        rule(f"{READ} update", "", "persistentvolumeclaims"),
        rule(f"{READ} create delete", "", "pods"),
        rule(READ, _STORAGE, "storageclasses"),
        rule("list watch", "", "nodes"),
        rule("watch", "", "events"),
        events(),
    ),
    "pod-garbage-collector": (
        rule("list watch delete", "", "pods"),
        rule(READ, "", "nodes"),
        rule("patch", "", "pods/status"),
    ),
    "pv-protection-controller": (rule(f"{READ} update", "", "persistentvolumes"), events()),
    "pvc-protection-controller": (rule(f"{READ} update", "", "persistentvolumeclaims"), rule(READ, "", "pods"), events()),
    "replicaset-controller": (
        rule(f"{READ} update", "apps", "replicasets"),
        rule("update", "apps", "replicasets/status replicasets/finalizers"),
        rule(_MANAGED_PODS, "", "pods"),
        events(),
    ),
    "replication-controller": (
        rule(f"{READ} update", "", "replicationcontrollers"),
        rule("update", "", "replicationcontrollers/status replicationcontrollers/finalizers"),
        rule(_MANAGED_PODS, "", "pods"),
        events(),
    ),
    "resourcequota-controller": (rule("list watch", "*", "*"), rule("update", "", "resourcequotas/status"), events()),
    "root-ca-cert-publisher": (rule("create update", "", "configmaps"), events()),
    "route-controller": (rule("list watch", "", "nodes"), rule("patch", "", "nodes/status"), events()),
    "service-account-controller": (rule("create", "", "serviceaccounts"), events()),
    "service-cidrs-controller": (
        rule(f"{READ} patch update", "networking.k8s.io", "servicecidrs"),
        rule("patch update", "networking.k8s.io", "servicecidrs/finalizers servicecidrs/status"),
        rule(READ, "networking.k8s.io", "ipaddresses"),
        events(),
    ),
    "service-controller": (
        rule(READ, "", "services"),
        rule("patch update", "", "services/status"),
        rule("list watch", "", "nodes"),
        events(),
    ),
    "statefulset-controller": (
        rule(READ, "apps", "statefulsets"),
        rule("update", "apps", "statefulsets/status statefulsets/finalizers"),
        rule(f"{READ} create delete update patch", "", "pods"),
        rule("update", "", "pods/finalizers"),
        rule(f"{READ} create delete update patch", "apps", "controllerrevisions"),
        rule(f"{READ} create update delete", "", "persistentvolumeclaims"),
        events(),
    ),
    "ttl-after-finished-controller": (rule(f"{READ} delete", "batch", "jobs"), events()),
    "ttl-controller": (rule("update patch list watch", "", "nodes"), events()),
    "volumeattributesclass-protection-controller": (
        rule(f"{READ} update", _STORAGE, "volumeattributesclasses"),
        rule(READ, "", "persistentvolumeclaims persistentvolumes"),
        events(),
    ),
    "validatingadmissionpolicy-status-controller": (
        rule(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
        rule("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
        events(),
    ),
}


def _items(name: str, rules: tuple[Object, ...]) -> tuple[Item, Item]:
    role_name = f"system:controller:{name}"
    return cluster_role(role_name, *rules), cluster_binding(role_name, account("kube-system", name), CONTROLLER_MANAGER)


CONTROLLERS: tuple[Item, ...] = tuple(item for name, rules in RULES.items() for item in _items(name, rules))
