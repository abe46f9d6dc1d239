"""What the server itself writes into objects, kind by kind: first status, generation, what an update may not touch.

The generic part is here as plain functions over three small tables; the few kinds that need more (pods, namespaces, …) have a
function each in `_ON_CREATE` and `_ON_UPDATE`.  What a Service keeps of its allocations is `service_needs`'.

Source: the strategy.go of each kind in pkg/registry.
"""

from collections.abc import Callable
from typing import Any

from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver.service_needs import keep_allocated
from k8sfromscratch.core.pods.qos import qos_class

Object = dict[str, Any]

# metadata.generation counts changes of the desired state; kinds without it have no controller that compares it.
COUNTS_GENERATION = frozenset(
    {
        "pods",
        "replicationcontrollers",
        "deployments.apps",
        "replicasets.apps",
        "statefulsets.apps",
        "daemonsets.apps",
        "jobs.batch",
        "cronjobs.batch",
        "ingresses.networking.k8s.io",
        "ingressclasses.networking.k8s.io",
        "networkpolicies.networking.k8s.io",
        "poddisruptionbudgets.policy",
        "priorityclasses.scheduling.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "flowschemas.flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        "endpointslices.discovery.k8s.io",
        "deviceclasses.resource.k8s.io",
        "resourceslices.resource.k8s.io",
    }
)

# What a new object's status says before any controller has seen it; kinds not named here start without one.
_FIRST_STATUS: dict[str, Object] = {
    "namespaces": {"phase": "Active"},
    "persistentvolumes": {"phase": "Pending"},
    "persistentvolumeclaims": {"phase": "Pending"},
    "services": {"loadBalancer": {}},
    "replicationcontrollers": {"replicas": 0},
    "replicasets.apps": {"replicas": 0},
    "deployments.apps": {},
    "statefulsets.apps": {"replicas": 0, "availableReplicas": 0},
    "daemonsets.apps": {"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0},
    "jobs.batch": {},
    "cronjobs.batch": {},
    "ingresses.networking.k8s.io": {"loadBalancer": {}},
    "poddisruptionbudgets.policy": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
    "horizontalpodautoscalers.autoscaling": {"desiredReplicas": 0, "currentMetrics": None},
    "customresourcedefinitions.apiextensions.k8s.io": {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []},
}

# Kubelets register their node with its status in one request.
_CREATED_WITH_STATUS = frozenset({"nodes", "apiservices.apiregistration.k8s.io"})

_IGNORED = frozenset({"creationTimestamp", "generation"})
_DRAWN_BY_SERVER = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def prepare_for_create(resource: Resource, obj: Object) -> None:
    name = resource.group_resource
    if "status" in resource.subresources and name not in _CREATED_WITH_STATUS:
        obj.pop("status", None)
        first = _FIRST_STATUS.get(name)
        if first is not None:
            obj["status"] = {key: value for key, value in first.items() if value is not None}
    if name in COUNTS_GENERATION or resource.custom:
        obj["metadata"]["generation"] = 1
    specific = _ON_CREATE.get(name)
    if specific is not None:
        specific(obj)


def prepare_for_update(resource: Resource, obj: Object, old: Object, subresource: str) -> None:
    """Puts back what this endpoint does not change: the status of the object itself, all else of its status subresource."""
    name = resource.group_resource
    if subresource == "status" and resource.custom:
        _take_only_status(obj, old)
    elif subresource == "status":
        _keep_all_but_status(obj, old)
    elif (name, subresource) in _CONFINED:
        confined = _CONFINED[(name, subresource)](obj, old)
        obj.clear()
        obj.update(confined)
    elif "status" in resource.subresources:
        _take(obj, old, "status")
    keep_system_metadata(obj, old)
    specific = _ON_UPDATE.get(name)
    if specific is not None and not subresource:
        specific(obj, old)
    if name in COUNTS_GENERATION or resource.custom:
        generation = old["metadata"].get("generation", 1)
        without = () if "status" in resource.subresources else ("status",)
        obj["metadata"]["generation"] = generation + 1 if _desired(obj, *without) != _desired(old, *without) else generation


def keep_system_metadata(obj: Object, old: Object) -> None:
    """What a request leaves out is as it was; what it changes is for validation to refuse, but for what has always been ignored."""
    for key in _DRAWN_BY_SERVER:
        if key in _IGNORED or key not in obj["metadata"]:
            _take(obj["metadata"], old["metadata"], key)


def _keep_all_but_status(obj: Object, old: Object) -> None:
    """Metadata stays as sent, as upstream has it: a status update may change labels and annotations of most kinds."""
    sent: Object = {key: obj[key] for key in ("metadata", "status") if key in obj}
    obj.clear()
    obj.update({key: value for key, value in old.items() if key not in ("metadata", "status")})
    obj.update(sent)
    _take(obj["metadata"], old["metadata"], "ownerReferences")


def _take_only_status(obj: Object, old: Object) -> None:
    """Of a custom resource a status update changes nothing else, not even labels."""
    metadata, status = _stated(old, obj), obj.get("status")
    obj.clear()
    obj.update({**old, "metadata": metadata})
    obj.pop("status", None)
    if status is not None:
        obj["status"] = status


def _desired(obj: Object, *also: str) -> Object:
    """`also`: a status that is no subresource is a field like others."""
    return {key: value for key, value in obj.items() if key not in ("metadata", "status", "apiVersion", "kind") or key in also}


def _take(obj: Object, old: Object, key: str) -> None:
    if key in old:
        obj[key] = old[key]
    else:
        obj.pop(key, None)


# -- single kinds


def _create_definition(definition: Object) -> None:
    definition["status"]["storedVersions"] = _storage_versions(definition)


def _update_definition(definition: Object, old: Object) -> None:
    """Every version in which objects were ever stored is remembered, until somebody who has rewritten them all takes it out of the status."""
    stored = list((old.get("status") or {}).get("storedVersions") or [])
    stored += [name for name in _storage_versions(definition) if name not in stored]
    definition["status"] = {**(definition.get("status") or {}), "storedVersions": stored}


def _storage_versions(definition: Object) -> list[str]:
    return [one.get("name", "") for one in definition["spec"].get("versions") or () if one.get("storage")]


def _create_pod(pod: Object) -> None:
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod)}


def _create_job(job: Object) -> None:
    """A Job finds its pods by its own UID, unless it says that it brings a selector of its own."""
    spec, metadata = job["spec"], job["metadata"]
    if spec.get("manualSelector"):
        return
    labels = {
        "controller-uid": metadata["uid"],
        "batch.kubernetes.io/controller-uid": metadata["uid"],
        "job-name": metadata["name"],
        "batch.kubernetes.io/job-name": metadata["name"],
    }
    template = spec.setdefault("template", {})
    template["metadata"] = {**(template.get("metadata") or {}), "labels": {**((template.get("metadata") or {}).get("labels") or {}), **labels}}
    selector = spec.get("selector") or {}
    matched = {**(selector.get("matchLabels") or {}), "batch.kubernetes.io/controller-uid": metadata["uid"]}
    spec["selector"] = {**selector, "matchLabels": matched}


def _create_namespace(namespace: Object) -> None:
    """The namespace controller removes this finalizer once the namespace is empty."""
    finalizers = namespace.setdefault("spec", {}).setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    # People select namespaces by name through this label (KEP-2161).
    namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = namespace["metadata"]["name"]


def _update_namespace(namespace: Object, old: Object) -> None:
    """Finalizers of the spec are changed by the finalize subresource alone."""
    _take(namespace, old, "spec")
    namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = namespace["metadata"]["name"]


def _only_ephemeral_containers(pod: Object, old: Object) -> Object:
    return _with_spec(old, {**old["spec"], "ephemeralContainers": (pod.get("spec") or {}).get("ephemeralContainers") or []}, pod)


def _only_resources(pod: Object, old: Object) -> Object:
    """Resizing: the resources and resize policies of the containers that are there."""
    wanted = {c.get("name"): c for c in (pod.get("spec") or {}).get("containers") or []}
    containers = []
    for container in old["spec"]["containers"]:
        new = wanted.get(container["name"], container)
        containers.append({**container, **{key: new[key] for key in ("resources", "resizePolicy") if key in new}})
    return _with_spec(old, {**old["spec"], "containers": containers}, pod)


def _only_conditions(request: Object, old: Object) -> Object:
    """Approval of a signing request: its conditions."""
    status = {**(old.get("status") or {}), "conditions": (request.get("status") or {}).get("conditions") or []}
    return {**old, "metadata": _stated(old, request), "status": status}


def _with_spec(old: Object, spec: Object, sent: Object) -> Object:
    return {**old, "metadata": _stated(old, sent), "spec": spec}


def _stated(old: Object, sent: Object) -> Object:
    """The old metadata, under the preconditions that were sent."""
    stated = {key: sent["metadata"][key] for key in ("resourceVersion", "managedFields") if key in sent["metadata"]}
    return {**{key: value for key, value in old["metadata"].items() if key != "resourceVersion"}, **stated}


_CONFINED: dict[tuple[str, str], Callable[[Object, Object], Object]] = {
    ("pods", "ephemeralcontainers"): _only_ephemeral_containers,
    ("pods", "resize"): _only_resources,
    ("certificatesigningrequests.certificates.k8s.io", "approval"): _only_conditions,
}
_ON_CREATE: dict[str, Callable[[Object], None]] = {
    "pods": _create_pod,
    "jobs.batch": _create_job,
    "namespaces": _create_namespace,
    "customresourcedefinitions.apiextensions.k8s.io": _create_definition,
}
_ON_UPDATE: dict[str, Callable[[Object, Object], None]] = {
    "namespaces": _update_namespace,
    "services": keep_allocated,
    "customresourcedefinitions.apiextensions.k8s.io": _update_definition,
}
