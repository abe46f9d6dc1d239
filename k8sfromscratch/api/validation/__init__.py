"""Does the object make sense?  Every fault with its field, reason and upstream's wording.

    validate_create(PODS, pod)                       [] or the causes of a 422
    validate_update(PODS, new, old, subresource)     also what may not change

Objects have been decoded, defaulted and admitted before.  Metadata is checked for every kind; a kind that is not in the tables has no
rules of its own.  An update of the status is held to its metadata alone: controllers report what is, not what should be.
"""

from collections.abc import Callable, Mapping

from k8sfromscratch.api import registry as r
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.api.validation import certificates, cluster, csi, network, pods, policies, quotas, volumes, webhooks, workloads
from k8sfromscratch.api.validation.field import Object
from k8sfromscratch.api.validation.metadata import metadata, metadata_update

_CREATE: Mapping[Resource, Callable[[Object], list[Cause]]] = {
    r.PODS: pods.pod,
    r.POD_TEMPLATES: workloads.pod_template_object,
    r.REPLICATION_CONTROLLERS: workloads.replication_controller,
    r.DEPLOYMENTS: workloads.deployment,
    r.REPLICA_SETS: workloads.replica_set,
    r.STATEFUL_SETS: workloads.stateful_set,
    r.DAEMON_SETS: workloads.daemon_set,
    r.JOBS: workloads.job,
    r.CRON_JOBS: workloads.cron_job,
    r.CONTROLLER_REVISIONS: workloads.controller_revision,
    r.HORIZONTAL_POD_AUTOSCALERS: workloads.horizontal_pod_autoscaler,
    r.POD_DISRUPTION_BUDGETS: workloads.pod_disruption_budget,
    r.SERVICES: network.service,
    r.ENDPOINTS: network.endpoints,
    r.ENDPOINT_SLICES: network.endpoint_slice,
    r.INGRESSES: network.ingress,
    r.NETWORK_POLICIES: network.network_policy,
    r.PERSISTENT_VOLUMES: volumes.persistent_volume,
    r.PERSISTENT_VOLUME_CLAIMS: volumes.persistent_volume_claim,
    r.STORAGE_CLASSES: volumes.storage_class,
    r.VOLUME_ATTACHMENTS: csi.volume_attachment,
    r.CSI_DRIVERS: csi.csi_driver,
    r.CSI_NODES: csi.csi_node,
    r.INGRESS_CLASSES: network.ingress_class,
    r.CONFIG_MAPS: cluster.config_map,
    r.SECRETS: cluster.secret,
    r.NAMESPACES: cluster.namespace,
    r.NODES: cluster.node,
    r.LEASES: cluster.lease,
    r.EVENTS: cluster.event,
    r.ROLES: cluster.role,
    r.CLUSTER_ROLES: cluster.cluster_role,
    r.ROLE_BINDINGS: cluster.role_binding,
    r.CLUSTER_ROLE_BINDINGS: cluster.cluster_role_binding,
    r.PRIORITY_CLASSES: cluster.priority_class,
    r.RESOURCE_QUOTAS: quotas.resource_quota,
    r.LIMIT_RANGES: quotas.limit_range,
    r.CERTIFICATE_SIGNING_REQUESTS: certificates.certificate_signing_request,
    r.RUNTIME_CLASSES: cluster.runtime_class,
    r.API_SERVICES: cluster.api_service,
    r.MUTATING_WEBHOOK_CONFIGURATIONS: webhooks.webhook_configuration,
    r.VALIDATING_WEBHOOK_CONFIGURATIONS: webhooks.webhook_configuration,
    r.VALIDATING_ADMISSION_POLICIES: policies.validating_admission_policy,
    r.VALIDATING_ADMISSION_POLICY_BINDINGS: policies.validating_admission_policy_binding,
}

_UPDATE: Mapping[Resource, Callable[[Object, Object], list[Cause]]] = {
    r.DEPLOYMENTS: workloads.deployment_update,
    r.REPLICA_SETS: workloads.replica_set_update,
    r.STATEFUL_SETS: workloads.stateful_set_update,
    r.DAEMON_SETS: workloads.daemon_set_update,
    r.JOBS: workloads.job_update,
    r.CONTROLLER_REVISIONS: workloads.controller_revision_update,
    r.SERVICES: network.service_update,
    r.ENDPOINT_SLICES: network.endpoint_slice_update,
    r.INGRESS_CLASSES: network.ingress_class_update,
    r.PERSISTENT_VOLUMES: volumes.persistent_volume_update,
    r.PERSISTENT_VOLUME_CLAIMS: volumes.persistent_volume_claim_update,
    r.STORAGE_CLASSES: volumes.storage_class_update,
    r.CSI_DRIVERS: csi.csi_driver_update,
    r.VOLUME_ATTACHMENTS: csi.volume_attachment_update,
    r.RESOURCE_QUOTAS: quotas.resource_quota_update,
    r.CONFIG_MAPS: cluster.config_map_update,
    r.SECRETS: cluster.secret_update,
    r.NODES: cluster.node_update,
    r.ROLE_BINDINGS: cluster.role_binding_update,
    r.CLUSTER_ROLE_BINDINGS: cluster.cluster_role_binding_update,
    r.PRIORITY_CLASSES: cluster.priority_class_update,
    r.CERTIFICATE_SIGNING_REQUESTS: certificates.certificate_signing_request_update,
    r.RUNTIME_CLASSES: cluster.runtime_class_update,
}
"""Kinds that are only in the first table are checked as if they were new."""


def validate_create(resource: Resource, obj: Object) -> list[Cause]:
    check = _CREATE.get(resource)
    return metadata(resource, obj) + (check(obj) if check else [])


def validate_update(resource: Resource, new: Object, old: Object, subresource: str = "") -> list[Cause]:
    causes = metadata_update(new, old)
    if resource == r.PODS:
        return causes + pods.pod_update(new, old, subresource)
    if subresource:
        return causes
    update, create = _UPDATE.get(resource), _CREATE.get(resource)
    if update is not None:
        return causes + update(new, old)
    return causes + (create(new) if create else [])
