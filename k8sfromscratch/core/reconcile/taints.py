"""Node taints: the ones that conditions call for, and what a pod's tolerations make of them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from k8sfromscratch.core.reconcile import objects, times
from k8sfromscratch.core.reconcile.plan import Object

Taint = dict[str, Any]

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

_BY_CONDITION: Mapping[tuple[str, str], str] = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_NO_SCHEDULE_KEYS = frozenset({*_BY_CONDITION.values(), UNSCHEDULABLE})
_NO_EXECUTE_KEYS = (NOT_READY, UNREACHABLE)


def of(node: Object) -> list[Taint]:
    return objects.spec(node).get("taints") or []


def ready_taint(node: Object) -> str | None:
    """The taint key that the Ready condition calls for: none while it is True, or not yet there."""
    ready = objects.condition(node, "Ready")
    return _BY_CONDITION.get(("Ready", ready["status"])) if ready is not None else None


def wanted(node: Object, *, evict: bool | None, now: datetime) -> list[Taint]:
    """All of the node's taints as they should be: ours set and cleared, everybody else's as they are, in the present order.

    `evict` is about the NoExecute taint of a node that is not ready: set it, clear it, or (None) leave it as it is for now.
    """
    keys = {_BY_CONDITION.get((c["type"], c["status"])) for c in objects.status(node).get("conditions") or ()} - {None}
    if objects.spec(node).get("unschedulable"):
        keys.add(UNSCHEDULABLE)
    ours = {(key, "NoSchedule") for key in keys}
    present = {(taint["key"], taint["effect"]) for taint in of(node)}
    lost = ready_taint(node)
    if lost is not None and (evict or (evict is None and any((key, "NoExecute") in present for key in _NO_EXECUTE_KEYS))):
        ours.add((lost, "NoExecute"))
    kept = [taint for taint in of(node) if not _managed(taint) or (taint["key"], taint["effect"]) in ours]
    added = sorted(ours - present, key=lambda pair: (pair[1] == "NoExecute", pair[0]))
    return kept + [{"key": key, "effect": effect, "timeAdded": times.text(now)} for key, effect in added if key is not None]


def _managed(taint: Taint) -> bool:
    keys = _NO_EXECUTE_KEYS if taint["effect"] == "NoExecute" else _NO_SCHEDULE_KEYS if taint["effect"] == "NoSchedule" else ()
    return taint["key"] in keys


def no_execute(node: Object) -> list[Taint]:
    return [taint for taint in of(node) if taint["effect"] == "NoExecute"]


def evicting_since(node: Object) -> str | None:
    """When the node got its NoExecute taint for not being ready."""
    return max((t.get("timeAdded") or "" for t in no_execute(node) if t["key"] in _NO_EXECUTE_KEYS), default=None)


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """An empty effect or key in a toleration fits all of them; `Exists` ignores the value."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def first_toleration(tolerations: Iterable[Mapping[str, Any]], taint: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((toleration for toleration in tolerations if tolerates(toleration, taint)), None)


def has_out_of_service(node: Object) -> bool:
    return any(taint["key"] == OUT_OF_SERVICE for taint in of(node))
