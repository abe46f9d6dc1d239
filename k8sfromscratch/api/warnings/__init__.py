"""What a client is told beside its answer: Warning headers, which kubectl prints.

    deprecation(ENDPOINTS)               for every request on the kind
    of_creation(PODS, pod)               it is accepted, and hardly what its author means
    of_update(DEPLOYMENTS, new, old)     only where the spec has changed; nobody is told twice

Objects have been validated before.  What is stored and not acted upon here is told as well: nothing is ignored in silence.
Source: WarningsOnCreate and WarningsOnUpdate of upstream's strategies; the lifecycle that its types state.
"""

from collections.abc import Callable, Mapping

from k8sfromscratch.api import registry as r
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.api.warnings import kinds
from k8sfromscratch.api.warnings.pods import Object

_Check = Callable[[Object], list[str]]

_DEPRECATED: Mapping[Resource, str] = {
    r.COMPONENT_STATUSES: "v1 ComponentStatus is deprecated in v1.19+",
    r.ENDPOINTS: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}

_CREATE: Mapping[Resource, _Check] = {
    r.PODS: kinds.pod,
    r.POD_TEMPLATES: kinds.pod_template,
    r.REPLICATION_CONTROLLERS: kinds.workload,
    r.DEPLOYMENTS: kinds.workload,
    r.REPLICA_SETS: kinds.workload,
    r.JOBS: kinds.job,
    r.DAEMON_SETS: kinds.changed_workload,
    r.STATEFUL_SETS: kinds.stateful_set,
    r.CRON_JOBS: kinds.cron_job,
    r.SERVICES: kinds.service,
    r.SERVICE_ACCOUNTS: kinds.service_account,
    r.INGRESSES: kinds.ingress,
    r.PERSISTENT_VOLUMES: kinds.both(kinds.persistent_volume, kinds.inert("persistent volumes are stored, and no controller binds them to claims")),
    r.PERSISTENT_VOLUME_CLAIMS: kinds.both(
        kinds.persistent_volume_claim, kinds.inert("persistent volume claims are stored, and no controller binds them or provisions volumes")
    ),
    r.STORAGE_CLASSES: kinds.storage_class,
    r.RUNTIME_CLASSES: kinds.runtime_class,
    r.NODES: kinds.node,
    r.HORIZONTAL_POD_AUTOSCALERS: kinds.inert("horizontal pod autoscalers are stored, and no controller scales by them"),
    r.NETWORK_POLICIES: kinds.inert("network policies are stored, and not enforced"),
    r.VALIDATING_ADMISSION_POLICIES: kinds.validating_admission_policy,
    r.VALIDATING_ADMISSION_POLICY_BINDINGS: kinds.validating_admission_policy_binding,
}

_UPDATE: Mapping[Resource, _Check] = {
    r.POD_TEMPLATES: kinds.pod_template,
    r.REPLICATION_CONTROLLERS: kinds.changed_workload,
    r.DEPLOYMENTS: kinds.changed_workload,
    r.REPLICA_SETS: kinds.changed_workload,
    r.JOBS: kinds.changed_job,
    r.DAEMON_SETS: kinds.changed_workload,
    r.STATEFUL_SETS: kinds.stateful_set,
    r.CRON_JOBS: kinds.changed_cron_job,
    r.SERVICES: kinds.service,
    r.PERSISTENT_VOLUMES: kinds.persistent_volume,
    r.PERSISTENT_VOLUME_CLAIMS: kinds.persistent_volume_claim,
}
"""Pods are missing: people change their controllers, and programs the pods."""


def deprecation(resource: Resource) -> str:
    return _DEPRECATED.get(resource, "")


def of_creation(resource: Resource, obj: Object) -> list[str]:
    check = _CREATE.get(resource)
    return check(obj) if check else []


def of_update(resource: Resource, new: Object, old: Object) -> list[str]:
    check = _UPDATE.get(resource)
    same = new.get("spec") == old.get("spec") and new.get("template") == old.get("template")
    return check(new) if check and not same else []


def of_custom(new: Object, old: Object | None) -> list[str]:
    """Of a custom resource's finalizers: two controllers must not take each other's for their own."""
    known = (old or {}).get("metadata", {}).get("finalizers") or ()
    advice = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"
    added = sorted(set(new["metadata"].get("finalizers") or ()).difference(known))
    return [f'metadata.finalizers: "{name}": {advice}' for name in added if "/" not in name and name not in ("orphan", "foregroundDeletion")]
