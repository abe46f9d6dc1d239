"""PodDisruptionBudgets: how many of a budget's pods may be evicted now.  Eviction charges the answer (`apiserver.disruption`).

                       expected pods                          healthy pods wanted
minAvailable: 3        those that are there                   3
minAvailable: 30%      what their controllers want in all     30 % of that, rounded up
maxUnavailable         what their controllers want in all     that less maxUnavailable (a percentage is rounded up)

A pod that an eviction was granted for counts as gone, until it is gone or two minutes have passed without that.
Source: pkg/controller/disruption.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.api.registry import POD_DISRUPTION_BUDGETS
from k8sfromscratch.core.reconcile import objects, times
from k8sfromscratch.core.reconcile.plan import NOTHING, Emit, Object, Plan, Step, Update, earliest

DELETION_TIMEOUT_S = 120.0
"""A pod whose eviction was granted and which is still there, unmarked, after this long is taken for one that stays."""


@dataclass(frozen=True, slots=True)
class Scales:
    """What the pods' controllers want: replicas by the uid of each controller at the top, or why that cannot be told."""

    replicas: Mapping[str, int]
    problem: str = ""


def needs_scales(budget: Object) -> bool:
    spec = objects.spec(budget)
    return "maxUnavailable" in spec or isinstance(spec.get("minAvailable"), str)


def plan(budget: Object | None, pods: Sequence[Object], scales: Scales, now: datetime) -> Plan:
    """`pods`: those that its selector matches."""
    if budget is None or objects.deleting(budget):
        return NOTHING
    if scales.problem:
        reason = f"Failed to calculate the number of expected pods: {scales.problem}"
        note = Emit(budget, "Warning", "CalculateExpectedPodCountFailed", reason)
        status = {**_numbers(objects.status(budget)), "disruptionsAllowed": 0}
        return _updated(budget, status, _condition(budget, "False", "SyncFailed", scales.problem, now), [note], None)
    notes: list[Step] = []
    if not pods:
        notes.append(Emit(budget, "Normal", "NoPods", "No matching pods found"))
    if needs_scales(budget) and any(objects.controller_of(pod) is None for pod in pods):
        text = "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, "
        notes.append(Emit(budget, "Warning", "UnmanagedPods", text + "which may result in undefined behavior."))
    expected, desired = _wanted(objects.spec(budget), len(pods), sum(scales.replicas.values()))
    disrupted, recheck_in_s, stayed = _disrupted(budget, pods, now)
    notes += stayed
    healthy = sum(objects.pod_ready(pod) and not objects.deleting(pod) and objects.name(pod) not in disrupted for pod in pods)
    allowed = max(healthy - desired, 0) if expected > 0 else 0
    status = {"currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected, "disruptionsAllowed": allowed}
    if disrupted:
        status["disruptedPods"] = disrupted
    condition = _condition(budget, "True", "SufficientPods", "", now) if allowed else _condition(budget, "False", "InsufficientPods", "", now)
    return _updated(budget, status, condition, notes, recheck_in_s)


def _wanted(spec: Mapping[str, Any], present: int, scale: int) -> tuple[int, int]:
    """(expected, desired healthy)."""
    if "maxUnavailable" in spec:
        return scale, max(scale - objects.scaled(spec["maxUnavailable"], scale, round_up=True), 0)
    least = spec.get("minAvailable", 1)
    return (present, least) if isinstance(least, int) else (scale, objects.scaled(least, scale, round_up=True))


def _disrupted(budget: Object, pods: Sequence[Object], now: datetime) -> tuple[dict[str, str], float | None, list[Step]]:
    """Pods with a granted eviction that has yet to show, when to look again, and what to say of those that stayed."""
    granted = objects.status(budget).get("disruptedPods") or {}
    kept: dict[str, str] = {}
    recheck_in_s: float | None = None
    notes: list[Step] = []
    for pod in pods:
        since = granted.get(objects.name(pod))
        if since is None or objects.deleting(pod):
            continue
        left_s = times.seconds_until(times.parse(since) + timedelta(seconds=DELETION_TIMEOUT_S), now)
        if left_s > 0:
            kept[objects.name(pod)] = since
            recheck_in_s = earliest(recheck_in_s, left_s)
        else:
            text = f"Pod was expected by PDB {objects.key(budget)} to be deleted but it wasn't"
            notes.append(Emit(pod, "Warning", "NotDeleted", text))
    return kept, recheck_in_s, notes


def _numbers(status: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: status.get(name, 0) for name in ("currentHealthy", "desiredHealthy", "expectedPods")}
    return kept | ({"disruptedPods": status["disruptedPods"]} if status.get("disruptedPods") else {})


def _condition(budget: Object, value: str, reason: str, message: str, now: datetime) -> Object:
    generation = budget["metadata"].get("generation", 0)
    when = times.text(now)
    return {"type": "DisruptionAllowed", "status": value, "reason": reason, "message": message, "observedGeneration": generation, "lastTransitionTime": when}


def _updated(budget: Object, status: dict[str, Any], condition: Object, notes: Sequence[Step], recheck_in_s: float | None) -> Plan:
    present = objects.status(budget)
    status["observedGeneration"] = budget["metadata"].get("generation", 0)
    status["conditions"] = objects.with_condition(present.get("conditions") or (), condition)
    if status == present:
        return Plan(requeue_after_s=recheck_in_s)
    write = Update(POD_DISRUPTION_BUDGETS, objects.replaced(budget, status=status), subresource="status")
    return Plan((*notes, write), requeue_after_s=recheck_in_s)
