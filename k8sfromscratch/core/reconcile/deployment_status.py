"""A Deployment's status: counts, and the conditions Progressing, Available and ReplicaFailure with upstream's reasons.

Progressing is a small state machine over its reason.  Any growth of updated, ready or available pods is progress and moves
`lastUpdateTime`; when that has not moved for `progressDeadlineSeconds` the condition turns False.  Reaching the goal ends the watch until
the template changes again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.core.reconcile import deployment_sizes as sizing
from k8sfromscratch.core.reconcile import objects, times
from k8sfromscratch.core.reconcile.objects import Condition
from k8sfromscratch.core.reconcile.plan import Object

NO_DEADLINE_S = 2**31 - 1
"""The value of progressDeadlineSeconds that means none (MaxInt32)."""

NEW_REPLICA_SET = "NewReplicaSetCreated"
FOUND_NEW_REPLICA_SET = "FoundNewReplicaSet"
CREATE_ERROR = "ReplicaSetCreateError"
UPDATED = "ReplicaSetUpdated"
COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"

_COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")


def deadline_s(deployment: Object) -> int | None:
    value = objects.spec(deployment).get("progressDeadlineSeconds", 600)
    return None if value == NO_DEADLINE_S else value


def set_condition(conditions: Sequence[Condition], kind: str, status: str, reason: str, message: str, now: datetime) -> list[Condition]:
    """Unlike `objects.with_condition`, changes nothing at all while status and reason stay: lastUpdateTime is when they last changed."""
    present = objects.find_condition(conditions, kind)
    if present is not None and present["status"] == status and present.get("reason") == reason:
        return list(conditions)
    return objects.with_condition(conditions, new_condition(kind, status, reason, message, now))


def new_condition(kind: str, status: str, reason: str, message: str, now: datetime) -> Condition:
    moment = times.text(now)
    return {"type": kind, "status": status, "lastUpdateTime": moment, "lastTransitionTime": moment, "reason": reason, "message": message}


def pause_conditions(deployment: Object, now: datetime) -> list[Condition]:
    """The present conditions, with a pause or its end noted.  A rollout that timed out stays so."""
    conditions: list[Condition] = list(objects.status(deployment).get("conditions") or ())
    progressing = objects.find_condition(conditions, "Progressing")
    if deadline_s(deployment) is None or (progressing is not None and progressing.get("reason") == TIMED_OUT):
        return conditions
    was_paused = progressing is not None and progressing.get("reason") == PAUSED
    is_paused = bool(objects.spec(deployment).get("paused"))
    if is_paused and not was_paused:
        return set_condition(conditions, "Progressing", "Unknown", PAUSED, "Deployment is paused", now)
    if was_paused and not is_paused:
        return set_condition(conditions, "Progressing", "Unknown", RESUMED, "Deployment is resumed", now)
    return conditions


def counted(deployment: Object, conditions: Sequence[Condition], new: Object | None, olds: Sequence[Object], now: datetime) -> dict[str, Any]:
    """The status from what the sets report, with Available judged and the other conditions as given."""
    sets = [*olds, new] if new is not None else list(olds)
    replicas = sum(objects.status(one).get("replicas", 0) for one in sets)
    available = sum(objects.status(one).get("availableReplicas", 0) for one in sets)
    values = (
        replicas,
        objects.status(new).get("replicas", 0) if new is not None else 0,
        sum(objects.status(one).get("readyReplicas", 0) for one in sets),
        available,
        max(replicas - available, 0),
    )
    status: dict[str, Any] = {"observedGeneration": deployment["metadata"].get("generation", 0)}
    status |= {field: value for field, value in zip(_COUNTS, values, strict=True) if value}
    if collisions := objects.status(deployment).get("collisionCount"):
        status["collisionCount"] = collisions
    if available >= sizing.bounds(deployment).min_available:
        conditions = set_condition(conditions, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    else:
        conditions = set_condition(conditions, "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now)
    if conditions:
        status["conditions"] = list(conditions)
    return status


def rolled_out(deployment: Object, status: dict[str, Any], new: Object | None, olds: Sequence[Object], now: datetime) -> dict[str, Any]:
    """`counted`'s status with Progressing and ReplicaFailure judged too."""
    conditions: list[Condition] = status.get("conditions", [])
    before = objects.find_condition(conditions, "Progressing")
    limit_s = deadline_s(deployment)
    settled = before is not None and before.get("reason") == COMPLETE and status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if limit_s is None:
        conditions = objects.without_condition(conditions, "Progressing")
    elif not settled:
        what = f'ReplicaSet "{objects.name(new)}"' if new is not None else f'Deployment "{objects.name(deployment)}"'
        if complete(deployment, status):
            conditions = set_condition(conditions, "Progressing", "True", COMPLETE, f"{what} has successfully progressed.", now)
        elif _progressed(objects.status(deployment), status):
            # Replaced even if it reads the same: the deadline counts from its lastUpdateTime.
            moved = new_condition("Progressing", "True", UPDATED, f"{what} is progressing.", now)
            conditions = objects.with_condition(conditions, moved)
        elif timed_out(before, limit_s, now):
            conditions = set_condition(conditions, "Progressing", "False", TIMED_OUT, f"{what} has timed out progressing.", now)
    failures = [failure for one in ([new] if new is not None else []) + list(olds) if (failure := objects.condition(one, "ReplicaFailure"))]
    if failures:
        first = failures[0]
        conditions = set_condition(conditions, "ReplicaFailure", first["status"], first.get("reason", ""), first.get("message", ""), now)
    else:
        conditions = objects.without_condition(conditions, "ReplicaFailure")
    return {**status, "conditions": conditions}


def complete(deployment: Object, status: dict[str, Any]) -> bool:
    """All pods are of the new template and available, and none of the old are left."""
    wanted = objects.spec(deployment).get("replicas", 1)
    counts_fit = all(status.get(field, 0) == wanted for field in ("updatedReplicas", "replicas", "availableReplicas"))
    return counts_fit and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)


def _progressed(before: dict[str, Any], after: dict[str, Any]) -> bool:
    def old_pods(status: dict[str, Any]) -> int:
        return status.get("replicas", 0) - status.get("updatedReplicas", 0)

    grown = any(after.get(field, 0) > before.get(field, 0) for field in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return grown or old_pods(after) < old_pods(before)


def timed_out(progressing: Condition | None, limit_s: int, now: datetime) -> bool:
    if progressing is None or progressing.get("reason") == COMPLETE:
        return False
    return progressing.get("reason") == TIMED_OUT or deadline_at(progressing, limit_s) < now


def deadline_at(progressing: Condition, limit_s: int) -> datetime:
    return times.parse(progressing["lastUpdateTime"]) + timedelta(seconds=limit_s)


def seconds_to_deadline(deployment: Object, status: dict[str, Any], now: datetime) -> float | None:
    """When to look again because nothing may happen until then; None where no deadline is running."""
    limit_s = deadline_s(deployment)
    progressing = objects.find_condition(status.get("conditions", ()), "Progressing")
    if limit_s is None or progressing is None or progressing.get("reason") in (TIMED_OUT, COMPLETE, PAUSED) or complete(deployment, status):
        return None
    return max(times.seconds_until(deadline_at(progressing, limit_s), now) + 1, 1.0)
