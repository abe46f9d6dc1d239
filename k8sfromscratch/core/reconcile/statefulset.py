"""StatefulSet: pods with names that last, made in order, replaced from the last to the first.

    ordinal    0        1        2        3
               ready    ready    missing  …          OrderedReady makes 2 now, and 3 when 2 is ready; Parallel makes both
    scale to 2:                  delete 3 first, then 2
    new template, partition 1:   replace 3, 2, 1 one after the other, each when the one before is ready; 0 keeps the old template

A pod is one of two revisions: `status.currentRevision` until the rollout is through, `status.updateRevision` after.  A pod that vanishes below
the partition comes back as what it was.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from k8sfromscratch.api.registry import PODS, STATEFUL_SETS
from k8sfromscratch.core.reconcile import history as histories
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.claims import claim
from k8sfromscratch.core.reconcile.history import REVISION_HASH, History
from k8sfromscratch.core.reconcile.plan import ERROR_TEXT, NOTHING, Delete, Emit, Object, Plan, Step, Update, earliest
from k8sfromscratch.core.reconcile.stateful_identity import creation, first_ordinal, ordinal, pod_of, released_claims


def plan(
    stateful_set: Object | None,
    candidates: Sequence[Object],
    claims: Mapping[str, Object],
    revisions: Sequence[Object],
    revision_names: Collection[str],
    now: datetime,
) -> Plan:
    """`candidates`: pods that are its own or nobody's; `claims`: PersistentVolumeClaims of its namespace, by name; `revisions`: its own."""
    if stateful_set is None or objects.deleting(stateful_set):
        return NOTHING
    history = histories.history(STATEFUL_SETS, stateful_set, revisions, revision_names)
    if history.collided:
        collisions = objects.status(stateful_set).get("collisionCount", 0) + 1
        return Plan((_status_update(stateful_set, {**objects.status(stateful_set), "collisionCount": collisions}),))
    claimed = claim(STATEFUL_SETS, stateful_set, PODS, candidates, adoptable=lambda pod: ordinal(stateful_set, pod) is not None)
    pods = {index: pod for pod in claimed.mine if (index := ordinal(stateful_set, pod)) is not None}
    update_name = objects.name(history.update)
    current = next((one for one in history.others if objects.name(one) == objects.status(stateful_set).get("currentRevision")), history.update)
    steps = (*claimed.steps, *history.steps, *_next_steps(stateful_set, pods, claims, history, current, now))
    in_use = {objects.labels(pod).get(REVISION_HASH, "") for pod in pods.values()} | {objects.name(current)}
    idle = [one for one in history.others if objects.name(one) not in in_use]
    cleanup = () if any(not isinstance(step, Emit) for step in steps) else histories.surplus(stateful_set, idle, ())
    status = _status(stateful_set, pods, objects.name(current), update_name, now)

    def conclude(failures: tuple[str, ...]) -> tuple[Step, ...]:
        return () if status == objects.status(stateful_set) else (_status_update(stateful_set, status),)

    min_ready_s = objects.spec(stateful_set).get("minReadySeconds", 0)
    waits = [left_s for pod in pods.values() if (left_s := objects.available_in_s(pod, min_ready_s, now)) is not None and left_s > 0]
    return Plan((*steps, *cleanup), conclude, requeue_after_s=earliest(*waits))


def _next_steps(stateful_set: Object, pods: Mapping[int, Object], claims: Mapping[str, Object], history: History, current: Object, now: datetime) -> list[Step]:
    """What may be done now: one pod's worth if order matters, everything that is missing or too much if it does not."""
    spec = objects.spec(stateful_set)
    ordered = spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    start = first_ordinal(stateful_set)
    wanted = range(start, start + spec.get("replicas", 1))
    min_ready_s = spec.get("minReadySeconds", 0)
    steps: list[Step] = []
    for index in wanted:
        pod = pods.get(index)
        if pod is None:
            steps += creation(stateful_set, index, _pod(stateful_set, index, history, current), claims)
        elif objects.status(pod).get("phase") in ("Failed", "Succeeded"):
            steps += [] if objects.deleting(pod) else [_recreated(stateful_set, pod)]
        elif not objects.deleting(pod) and objects.pod_available(pod, min_ready_s, now):
            continue
        if ordered:
            return steps
    condemned = sorted((index for index in pods if index not in wanted), reverse=True)
    unhealthy = [index for index in condemned if not _healthy(pods[index])]
    for index in condemned:
        pod = pods[index]
        if ordered and not _healthy(pod) and index != unhealthy[-1]:
            return steps
        if not objects.deleting(pod):
            steps += [*released_claims(stateful_set, index, pod, claims), _deleted(stateful_set, pod)]
        if ordered:
            return steps
    if steps or (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return steps
    return _replaced(stateful_set, pods, wanted, objects.name(history.update), now)


def _replaced(stateful_set: Object, pods: Mapping[int, Object], wanted: range, update_name: str, now: datetime) -> list[Step]:
    """From the last ordinal down to the partition: old pods away, as many at once as may be unavailable."""
    spec = objects.spec(stateful_set)
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    budget = max(objects.scaled(rolling.get("maxUnavailable", 1), len(wanted), round_up=False), 1)
    steps: list[Step] = []
    for index in reversed(wanted[rolling.get("partition", 0) :]):
        if budget == 0:
            break
        pod = pods.get(index)
        updated = pod is not None and objects.labels(pod).get(REVISION_HASH) == update_name
        if pod is not None and updated and objects.pod_available(pod, spec.get("minReadySeconds", 0), now):
            continue
        budget -= 1
        if pod is not None and not updated and not objects.deleting(pod):
            steps.append(_deleted(stateful_set, pod))
    return steps


def _pod(stateful_set: Object, index: int, history: History, current: Object) -> Object:
    """Below the partition a pod is of the current revision, at and above it of the update revision."""
    rolling = (objects.spec(stateful_set).get("updateStrategy") or {}).get("rollingUpdate") or {}
    revision = history.update
    if index < first_ordinal(stateful_set) + rolling.get("partition", 0):
        revision = current
    return pod_of(stateful_set, index, objects.name(revision), histories.template_of(revision))


def _healthy(pod: Object) -> bool:
    return objects.pod_ready(pod) and not objects.deleting(pod)


def _deleted(stateful_set: Object, pod: Object) -> Delete:
    text = f"Pod {objects.name(pod)} in StatefulSet {objects.name(stateful_set)}"
    done = Emit(stateful_set, "Normal", "SuccessfulDelete", f"delete {text} successful")
    failed = Emit(stateful_set, "Warning", "FailedDelete", f"delete {text} failed error: {ERROR_TEXT}")
    return Delete(PODS, objects.namespace(pod), objects.name(pod), objects.uid(pod), done=done, failed=failed)


def _recreated(stateful_set: Object, pod: Object) -> Delete:
    text = f"StatefulSet {objects.key(stateful_set)} is recreating failed Pod {objects.name(pod)}"
    done = Emit(stateful_set, "Warning", "RecreatingFailedPod", text)
    return Delete(PODS, objects.namespace(pod), objects.name(pod), objects.uid(pod), done=done)


def _status(stateful_set: Object, pods: Mapping[int, Object], current_name: str, update_name: str, now: datetime) -> dict[str, Any]:
    spec = objects.spec(stateful_set)
    alive = [pod for pod in pods.values() if objects.status(pod).get("phase") not in ("Failed", "Succeeded")]
    settled = [pod for pod in alive if not objects.deleting(pod)]
    ready = sum(objects.pod_ready(pod) for pod in alive)
    updated = sum(objects.labels(pod).get(REVISION_HASH) == update_name for pod in settled)
    on_delete = (spec.get("updateStrategy") or {}).get("type") == "OnDelete"
    if updated == ready == len(alive) == spec.get("replicas", 1) and not on_delete:
        current_name = update_name
    counts = {
        "readyReplicas": ready,
        "currentReplicas": sum(objects.labels(pod).get(REVISION_HASH) == current_name for pod in settled),
        "updatedReplicas": updated,
        "collisionCount": objects.status(stateful_set).get("collisionCount", 0),
    }
    return {
        "observedGeneration": stateful_set["metadata"].get("generation", 0),
        "replicas": len(alive),
        "availableReplicas": sum(objects.pod_available(pod, spec.get("minReadySeconds", 0), now) for pod in alive),
        **{field: value for field, value in counts.items() if value},
        "currentRevision": current_name,
        "updateRevision": update_name,
    }


def _status_update(stateful_set: Object, status: Mapping[str, Any]) -> Update:
    return Update(STATEFUL_SETS, objects.replaced(stateful_set, status=dict(status)), subresource="status")
