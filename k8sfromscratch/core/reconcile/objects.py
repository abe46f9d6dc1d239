"""Reading and building API objects: metadata, owners, conditions, what makes a pod active, ready or available."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.reconcile import times
from k8sfromscratch.core.reconcile.plan import Object

Condition = dict[str, Any]


def name(obj: Mapping[str, Any]) -> str:
    return obj["metadata"]["name"]


def namespace(obj: Mapping[str, Any]) -> str:
    """Empty for what has no namespace."""
    return obj["metadata"].get("namespace") or ""


def uid(obj: Mapping[str, Any]) -> str:
    return obj["metadata"].get("uid", "")


def key(obj: Mapping[str, Any]) -> str:
    """`namespace/name`, or the name alone."""
    space = namespace(obj)
    return f"{space}/{name(obj)}" if space else name(obj)


def labels(obj: Mapping[str, Any]) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def selector(owner: Mapping[str, Any]) -> dict[str, Any]:
    """As a LabelSelector: a ReplicationController, which is older, states its labels alone."""
    stated = spec(owner).get("selector") or {}
    return {"matchLabels": stated} if owner.get("kind") == "ReplicationController" else stated


def annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def finalizers(obj: Mapping[str, Any]) -> list[str]:
    return obj["metadata"].get("finalizers") or []


def spec(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("spec") or {}


def status(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("status") or {}


def deleting(obj: Mapping[str, Any]) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def created_at(obj: Mapping[str, Any]) -> str:
    """Sorts by age as it is: the form is fixed.  Empty before the server has seen the object."""
    return obj["metadata"].get("creationTimestamp") or ""


def by_age(objects: Iterable[Object]) -> list[Object]:
    """Oldest first; names settle ties."""
    return sorted(objects, key=lambda obj: (created_at(obj), name(obj)))


def replaced(obj: Object, **parts: Any) -> Object:
    """A copy of the object with top-level parts replaced; its metadata is copied too, so that it may be edited."""
    return {**obj, "metadata": copy.deepcopy(obj["metadata"]), **parts}


# Owners.


def owner_references(obj: Mapping[str, Any]) -> list[dict[str, Any]]:
    return obj["metadata"].get("ownerReferences") or []


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    """The owner reference that says `controller: true`; there is at most one."""
    return next((ref for ref in owner_references(obj) if ref.get("controller")), None)


def controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    ref = controller_of(obj)
    return ref is not None and ref["uid"] == uid(owner)


def controller_reference(resource: Resource, owner: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name(owner),
        "uid": uid(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def pod_from_template(template: Mapping[str, Any], resource: Resource, owner: Mapping[str, Any]) -> Object:
    """The pod that a workload controller creates; the server makes up the end of its name."""
    wanted = template.get("metadata") or {}
    metadata: dict[str, Any] = {"generateName": f"{name(owner)}-", "namespace": namespace(owner)}
    metadata |= {part: copy.deepcopy(wanted[part]) for part in ("labels", "annotations", "finalizers") if wanted.get(part)}
    metadata["ownerReferences"] = [controller_reference(resource, owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template.get("spec") or {})}


# Conditions.


def condition(obj: Mapping[str, Any], kind: str) -> Condition | None:
    return find_condition(status(obj).get("conditions") or (), kind)


def find_condition(conditions: Iterable[Condition], kind: str) -> Condition | None:
    return next((c for c in conditions if c["type"] == kind), None)


def with_condition(conditions: Sequence[Condition], wanted: Condition) -> list[Condition]:
    """The list with `wanted` in place of its namesake, or at its end.  Its lastTransitionTime stays where the status value stays."""
    present = find_condition(conditions, wanted["type"])
    if present is None:
        return [*conditions, wanted]
    if present["status"] == wanted["status"] and present.get("lastTransitionTime"):
        wanted = {**wanted, "lastTransitionTime": present["lastTransitionTime"]}
    return [wanted if c["type"] == wanted["type"] else c for c in conditions]


def without_condition(conditions: Sequence[Condition], kind: str) -> list[Condition]:
    return [c for c in conditions if c["type"] != kind]


# Pods.


def pod_active(pod: Mapping[str, Any]) -> bool:
    """It counts as a replica: neither finished nor being deleted."""
    return status(pod).get("phase") not in ("Succeeded", "Failed") and not deleting(pod)


def pod_ready(pod: Mapping[str, Any]) -> bool:
    ready = condition(pod, "Ready")
    return ready is not None and ready["status"] == "True"


def available_in_s(pod: Mapping[str, Any], min_ready_s: int, now: datetime) -> float | None:
    """Seconds until the pod has been ready for `min_ready_s`: 0 or less means available, None that it is not even ready."""
    ready = condition(pod, "Ready")
    if ready is None or ready["status"] != "True":
        return None
    if not min_ready_s:
        return 0.0
    since = ready.get("lastTransitionTime")
    return times.seconds_until(times.parse(since) + timedelta(seconds=min_ready_s), now) if since else float(min_ready_s)


def pod_available(pod: Mapping[str, Any], min_ready_s: int, now: datetime) -> bool:
    left_s = available_in_s(pod, min_ready_s, now)
    return left_s is not None and left_s <= 0


def scaled(value: int | str, total: int, *, round_up: bool) -> int:
    """An int-or-percent against its total: `25%` of 10 is 3 rounded up, 2 down.  Raises ValueError on anything else."""
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"{value!r} is neither an integer nor a percentage")
    share = int(value[:-1]) * total
    return -(-share // 100) if round_up else share // 100
