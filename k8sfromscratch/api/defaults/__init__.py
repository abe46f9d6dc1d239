"""What upstream fills in where a manifest is silent, kind by kind.

`set_defaults(resource, obj)` completes a decoded object in place, before admission and validation.  The schemas carry no defaults, so
these functions are held to upstream by a table of inputs and outputs (tests/api).  What depends on the cluster (an IP, a node port, a
service account, tolerations) is admission's and the allocators', a first status mostly the apiserver's.

Source: the defaults.go of each group in pkg/apis.
"""

from collections.abc import Callable, Mapping

from k8sfromscratch.api import registry as r
from k8sfromscratch.api.defaults import cluster, network, pods, volumes, workloads
from k8sfromscratch.api.defaults.fill import Object
from k8sfromscratch.api.resource import Resource

DEFAULTS: Mapping[tuple[str, str], Callable[[Object], None]] = {
    (resource.api_version, resource.kind): function
    for resource, function in {
        r.PODS: pods.pod,
        r.POD_TEMPLATES: workloads.pod_template,
        r.REPLICATION_CONTROLLERS: workloads.replication_controller,
        r.DEPLOYMENTS: workloads.deployment,
        r.REPLICA_SETS: workloads.replica_set,
        r.STATEFUL_SETS: workloads.stateful_set,
        r.DAEMON_SETS: workloads.daemon_set,
        r.JOBS: workloads.job,
        r.CRON_JOBS: workloads.cron_job,
        r.HORIZONTAL_POD_AUTOSCALERS: workloads.horizontal_pod_autoscaler,
        r.HORIZONTAL_POD_AUTOSCALERS_V1: workloads.horizontal_pod_autoscaler_v1,
        r.SERVICES: network.service,
        r.ENDPOINTS: network.endpoints,
        r.ENDPOINT_SLICES: network.endpoint_slice,
        r.INGRESS_CLASSES: network.ingress_class,
        r.NETWORK_POLICIES: network.network_policy,
        r.PERSISTENT_VOLUMES: volumes.persistent_volume,
        r.PERSISTENT_VOLUME_CLAIMS: volumes.persistent_volume_claim,
        r.STORAGE_CLASSES: volumes.storage_class,
        r.CSI_DRIVERS: volumes.csi_driver,
        r.NAMESPACES: cluster.namespace,
        r.NODES: cluster.node,
        r.SECRETS: cluster.secret,
        r.LIMIT_RANGES: cluster.limit_range,
        r.ROLE_BINDINGS: cluster.role_binding,
        r.CLUSTER_ROLE_BINDINGS: cluster.role_binding,
        r.PRIORITY_CLASSES: cluster.priority_class,
        r.VALIDATING_WEBHOOK_CONFIGURATIONS: cluster.validating_webhook_configuration,
        r.MUTATING_WEBHOOK_CONFIGURATIONS: cluster.mutating_webhook_configuration,
        r.VALIDATING_ADMISSION_POLICIES: cluster.validating_admission_policy,
        r.VALIDATING_ADMISSION_POLICY_BINDINGS: cluster.validating_admission_policy_binding,
        r.CUSTOM_RESOURCE_DEFINITIONS: cluster.custom_resource_definition,
        r.API_SERVICES: cluster.api_service,
        r.FLOW_SCHEMAS: cluster.flow_schema,
        r.PRIORITY_LEVEL_CONFIGURATIONS: cluster.priority_level_configuration,
        r.RESOURCE_CLAIMS: cluster.resource_claim,
        r.RESOURCE_CLAIM_TEMPLATES: cluster.resource_claim_template,
    }.items()
} | {("authentication.k8s.io/v1", "TokenRequest"): cluster.token_request}
"""Kinds that are not named here have no defaults upstream either."""


def set_defaults(kind: Resource | tuple[str, str], obj: Object) -> None:
    """`kind` as in `api.schema`: a resource, or (apiVersion, kind)."""
    function = DEFAULTS.get((kind.api_version, kind.kind) if isinstance(kind, Resource) else kind)
    if function is not None:
        function(obj)
