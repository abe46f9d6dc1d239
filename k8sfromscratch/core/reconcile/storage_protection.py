"""Claims, volumes and attributes classes carry a finalizer while they are in use, so that deleting one waits for whoever uses it.

a claim    is in use while a pod that was bound to a node names it (until then the kubelet will not start a pod on a claim that is going)
a volume   is in use while it is bound to a claim
a class    is in use while a claim wants it, has it or is on the way to it, and while a volume has it

Source: pkg/controller/volume/{pvcprotection,pvprotection,vacprotection}.
"""

from collections.abc import Iterable, Sequence

from k8sfromscratch.api.registry import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.storage_object_in_use import PV_FINALIZER, PVC_FINALIZER, VAC_FINALIZER
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import NOTHING, Object, Plan, Update


def plan_claim(claim: Object | None, pods: Sequence[Object]) -> Plan:
    """`pods`: those of its namespace; where the claim is to go, from a live list and not from a cache that may lag."""
    return NOTHING if claim is None else _plan(PERSISTENT_VOLUME_CLAIMS, claim, PVC_FINALIZER, any(uses(pod, claim) for pod in pods))


def plan_volume(volume: Object | None) -> Plan:
    return NOTHING if volume is None else _plan(PERSISTENT_VOLUMES, volume, PV_FINALIZER, objects.status(volume).get("phase") == "Bound")


def plan_class(attributes: Object | None, claims: Iterable[Object], volumes: Iterable[Object]) -> Plan:
    """`claims` and `volumes`: all there are."""
    if attributes is None:
        return NOTHING
    in_use = any(objects.name(attributes) in classes_of(obj) for obj in (*claims, *volumes)) if objects.deleting(attributes) else False
    return _plan(VOLUME_ATTRIBUTES_CLASSES, attributes, VAC_FINALIZER, in_use)


def classes_of(obj: Object) -> set[str]:
    """The attributes classes that a claim or a volume names."""
    status = objects.status(obj)
    target = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    return {name for name in (objects.spec(obj).get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), target) if name}


def waits_for_pods(claim: Object | None) -> bool:
    """Only then it matters which pods there are."""
    return claim is not None and objects.deleting(claim) and PVC_FINALIZER in objects.finalizers(claim)


def uses(pod: Object, claim: Object) -> bool:
    return bool(objects.spec(pod).get("nodeName")) and objects.name(claim) in claim_names(pod)


def claim_names(pod: Object) -> Iterable[str]:
    """The claims that a pod's volumes name, and those that are made for its ephemeral volumes."""
    for volume in objects.spec(pod).get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield volume["persistentVolumeClaim"]["claimName"]
        elif "ephemeral" in volume:
            yield f"{objects.name(pod)}-{volume['name']}"


def _plan(resource: Resource, obj: Object, finalizer: str, in_use: bool) -> Plan:
    finalizers = objects.finalizers(obj)
    if objects.deleting(obj):
        if finalizer not in finalizers or in_use:
            return NOTHING
        wanted = [name for name in finalizers if name != finalizer]
    else:
        if finalizer in finalizers:
            return NOTHING
        wanted = [*finalizers, finalizer]
    changed = objects.replaced(obj)
    changed["metadata"]["finalizers"] = wanted
    return Plan((Update(resource, changed, ignore=frozenset({"NotFound"})),))
