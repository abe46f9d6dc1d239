"""ReplicaSet, and its older relative ReplicationController: as many active pods as `spec.replicas`.

Claim the pods, create what is missing (slow start) or delete what is too much (`pod_ranking`), report.  The status counts the pods that
were seen, not those this plan makes: the next plan counts them.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from k8sfromscratch.api.registry import PODS, REPLICA_SETS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.reconcile import objects, times
from k8sfromscratch.core.reconcile.claims import claim
from k8sfromscratch.core.reconcile.plan import CREATED_NAME, ERROR_TEXT, NOTHING, Create, Delete, Emit, Object, Plan, Step, Together, Update, Write, earliest
from k8sfromscratch.core.reconcile.pod_ranking import pods_to_delete
from k8sfromscratch.core.selectors.labels import matches

BURST_REPLICAS = 500
"""The most pods one plan creates or deletes: a bound on what is in flight before the next look.  Upstream's number."""


def plan(replica_set: Object | None, candidates: Sequence[Object], related: Sequence[Object], now: datetime, *, resource: Resource = REPLICA_SETS) -> Plan:
    """`candidates`: pods that are the set's, or nobody's; `related`: active pods of all sets with the same controller, this one's too."""
    if replica_set is None:
        return NOTHING
    claims = claim(resource, replica_set, PODS, [pod for pod in candidates if objects.pod_active(pod)])
    active = claims.mine
    missing = objects.spec(replica_set).get("replicas", 1) - len(active)
    changes: tuple[Step, ...] = ()
    if not objects.deleting(replica_set) and missing > 0:
        changes = (Together(_creations(resource, replica_set, min(missing, BURST_REPLICAS)), slow_start=True),)
    elif not objects.deleting(replica_set) and missing < 0:
        changes = (Together(_deletions(replica_set, active, related, min(-missing, BURST_REPLICAS), now)),)

    def conclude(failures: tuple[str, ...]) -> tuple[Step, ...]:
        status = status_of(replica_set, active, missing, failures, now)
        if status == objects.status(replica_set):
            return ()
        return (Update(resource, objects.replaced(replica_set, status=status), subresource="status"),)

    min_ready_s = objects.spec(replica_set).get("minReadySeconds", 0)
    waits = [left_s for pod in active if (left_s := objects.available_in_s(pod, min_ready_s, now)) is not None and left_s > 0]
    return Plan((*claims.steps, *changes), conclude, requeue_after_s=earliest(*waits))


def _creations(resource: Resource, replica_set: Object, count: int) -> tuple[Write, ...]:
    pod = objects.pod_from_template(objects.spec(replica_set).get("template") or {}, resource, replica_set)
    done = Emit(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {CREATED_NAME}")
    failed = Emit(replica_set, "Warning", "FailedCreate", f"Error creating: {ERROR_TEXT}")
    return tuple(Create(PODS, pod, done, failed) for _ in range(count))


def _deletions(replica_set: Object, active: Sequence[Object], related: Sequence[Object], count: int, now: datetime) -> tuple[Write, ...]:
    done = Emit(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {CREATED_NAME}")
    failed = Emit(replica_set, "Warning", "FailedDelete", f"Error deleting: {ERROR_TEXT}")
    return tuple(
        Delete(PODS, objects.namespace(pod), objects.name(pod), objects.uid(pod), done=done, failed=failed)
        for pod in pods_to_delete(active, related, count, now)
    )


def status_of(replica_set: Object, active: Sequence[Object], missing: int, failures: Sequence[str], now: datetime) -> dict[str, Any]:
    """ReplicaSetStatus, with zero counters left out as the API leaves them out."""
    spec = objects.spec(replica_set)
    selector = {"matchLabels": ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}}
    min_ready_s = spec.get("minReadySeconds", 0)
    counts = {
        "fullyLabeledReplicas": sum(matches(selector, objects.labels(pod)) for pod in active),
        "readyReplicas": sum(objects.pod_ready(pod) for pod in active),
        "availableReplicas": sum(objects.pod_available(pod, min_ready_s, now) for pod in active),
    }
    status: dict[str, Any] = {"replicas": len(active), **{field: count for field, count in counts.items() if count}}
    status["observedGeneration"] = replica_set["metadata"].get("generation", 0)
    conditions = objects.status(replica_set).get("conditions") or ()
    reason = "FailedCreate" if missing > 0 else "FailedDelete"
    present = objects.find_condition(conditions, "ReplicaFailure")
    if not (failures and missing):
        conditions = objects.without_condition(conditions, "ReplicaFailure")
    elif present is None or present.get("reason") != reason:
        # Said once: messages differ at each try (they name the pod), and each write of the status would wake this very key again.
        failure = {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": failures[0], "lastTransitionTime": times.text(now)}
        conditions = objects.with_condition(conditions, failure)
    if conditions:
        status["conditions"] = list(conditions)
    return status
