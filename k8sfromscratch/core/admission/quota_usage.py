"""What one object uses of a namespace's quotas: amounts by the names that a ResourceQuota's `hard` can hold.

    pods                pods, cpu, memory, ephemeral-storage, requests.*, limits.*: as long as the pod is not over
    services            services, services.loadbalancers, services.nodeports
    claims              persistentvolumeclaims, requests.storage, both also as CLASS.storageclass.storage.k8s.io/…
    everything else     count/PLURAL.GROUP; a few old kinds also by their plural alone

Source: pkg/quota/v1/evaluator/core.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from k8sfromscratch.api.registry import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICES,
)
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.amounts import ONE, Amount, Amounts, larger, parse, pod_limits, pod_requests
from k8sfromscratch.core.admission.extended_resource_toleration import is_extended
from k8sfromscratch.core.admission.pvc_resize import claim_class
from k8sfromscratch.core.admission.types import Object

COUNT = "count/"
_CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
_COUNTED_BY_PLURAL = frozenset({CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, REPLICATION_CONTROLLERS, RESOURCE_QUOTAS, SECRETS, SERVICES})
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_MUST_BE_SAID = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
"""Who has a quota of these must have every container say what it wants, lest one that says nothing counted nothing."""

_BY_NAME: Mapping[str, Resource] = {
    **{resource.plural: resource for resource in _COUNTED_BY_PLURAL},
    **dict.fromkeys(("pods", *_COMPUTE, *(f"{part}.{name}" for part in ("requests", "limits") for name in _COMPUTE)), PODS),
    **dict.fromkeys(("services.loadbalancers", "services.nodeports"), SERVICES),
    "requests.storage": PERSISTENT_VOLUME_CLAIMS,
}


def counted_as(resource: Resource) -> str:
    return COUNT + resource.group_resource


def kind_of(name: str) -> Resource | str | None:
    """Whose objects use what is called so: a resource, or the PLURAL.GROUP that it counts; None where nothing does."""
    if name.startswith(COUNT):
        return name.removeprefix(COUNT)
    if name in _BY_NAME:
        return _BY_NAME[name]
    if _CLASS_SUFFIX in name:
        return PERSISTENT_VOLUME_CLAIMS
    bare = name.removeprefix("requests.")
    if bare.startswith("hugepages-") or (bare != name and is_extended(bare)):
        return PODS
    return None


def concerns(resource: Resource, names: Collection[str]) -> bool:
    """Whether objects of that kind use anything of these names."""
    return any(found == resource or found == resource.group_resource for found in map(kind_of, names))


def usage(resource: Resource, obj: Object, now: datetime) -> Amounts:
    amounts: Amounts = {counted_as(resource): ONE}
    if resource in _COUNTED_BY_PLURAL:
        amounts[resource.plural] = ONE
    if resource == PODS:
        return amounts if _over(obj, now) else amounts | {"pods": ONE} | _compute(pod_requests(obj), pod_limits(obj))
    if resource == SERVICES:
        return amounts | _of_service(obj.get("spec") or {})
    if resource == PERSISTENT_VOLUME_CLAIMS:
        return amounts | _of_claim(obj)
    return amounts


def unsaid(pod: Object, names: Collection[str]) -> str:
    """What containers must say and do not, as `limits.cpu for: a,b; …`; empty where all is said."""
    needed = sorted(_MUST_BE_SAID & set(names))
    spec = pod.get("spec") or {}
    of_pod = _compute(parse((spec.get("resources") or {}).get("requests")), parse((spec.get("resources") or {}).get("limits")))
    silent: dict[str, list[str]] = {}
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        said = _compute(parse(resources.get("requests")), parse(resources.get("limits")))
        for name in needed:
            if name not in said and name not in of_pod:
                silent.setdefault(name, []).append(container["name"])
    return "; ".join(f"{name} for: {','.join(sorted(containers))}" for name, containers in sorted(silent.items()))


def _over(pod: Object, now: datetime) -> bool:
    """It has ended, or it should have long ago and only its node's silence keeps it there."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    metadata = pod["metadata"]
    deadline, grace_s = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    if not deadline or grace_s is None:
        return False
    return now > datetime.fromisoformat(deadline.replace("Z", "+00:00")) + timedelta(seconds=grace_s)


def _compute(requests: Mapping[str, Amount], limits: Mapping[str, Amount]) -> Amounts:
    used: Amounts = {}
    for name, amount in requests.items():
        if name in _COMPUTE or name.startswith("hugepages-"):
            used[name] = used[f"requests.{name}"] = amount
        elif is_extended(name):
            used[f"requests.{name}"] = amount
    return used | {f"limits.{name}": amount for name, amount in limits.items() if name in _COMPUTE}


def _of_service(spec: Object) -> Amounts:
    ports = spec.get("ports") or ()
    match spec.get("type"):
        case "NodePort":
            return {"services.nodeports": _number(len(ports))}
        case "LoadBalancer":
            allocated = spec.get("allocateLoadBalancerNodePorts") is not False
            count = len(ports) if allocated else sum(bool(port.get("nodePort")) for port in ports)
            return {"services.loadbalancers": ONE, "services.nodeports": _number(count)}
    return {}


def _of_claim(claim: Object) -> Amounts:
    name = claim_class(claim)
    used: Amounts = {}
    if name:
        used[f"{name}{_CLASS_SUFFIX}persistentvolumeclaims"] = ONE
    asked = parse((claim.get("spec") or {}).get("resources", {}).get("requests"))
    # A claim that is made smaller again while it grows holds what was allocated.
    asked = larger(asked, parse((claim.get("status") or {}).get("allocatedResources")))
    if "storage" in asked:
        used["requests.storage"] = asked["storage"]
        if name:
            used[f"{name}{_CLASS_SUFFIX}requests.storage"] = asked["storage"]
    return used


def _number(value: int) -> Amount:
    return Amount(ONE.value * value)
