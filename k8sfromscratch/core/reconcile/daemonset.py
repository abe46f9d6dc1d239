"""DaemonSet: one pod on every node that it fits, replaced node by node when the template changes.

a node where it should run, without a pod     create one (the scheduler binds it)
… with a finished (Failed) pod                delete that, later again if it keeps failing
… with several                                keep the oldest of the present template
a node where it may not even go on            delete what is there
pods of an old template                       RollingUpdate: at most maxUnavailable nodes without a ready pod, or with maxSurge the
                                              new pod first and the old one away when that is ready; OnDelete: left alone
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.api.registry import DAEMON_SETS, PODS
from k8sfromscratch.core.reconcile import history as histories
from k8sfromscratch.core.reconcile import objects, times
from k8sfromscratch.core.reconcile.claims import claim
from k8sfromscratch.core.reconcile.daemon_nodes import daemon_pod, node_of, should_run
from k8sfromscratch.core.reconcile.plan import CREATED_NAME, ERROR_TEXT, NOTHING, Create, Delete, Emit, Object, Plan, Step, Together, Update, earliest

BURST_REPLICAS = 250
FAILED_POD_PAUSE_S = 10.0
"""A failed daemon pod is replaced no sooner than this after it was created, so that one that always fails does not spin."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One node, as far as this DaemonSet is concerned."""

    node: str
    wanted: bool
    pods: list[Object]
    """At most one of an old template, then at most one of the present one; terminating pods are not among them."""
    occupied: bool
    """Some pod is there, be it terminating: a successor would find its host ports taken."""


def plan(
    daemon_set: Object | None,
    candidates: Sequence[Object],
    revisions: Sequence[Object],
    revision_names: Collection[str],
    nodes: Sequence[Object],
    now: datetime,
) -> Plan:
    """`candidates`: pods that are its own or nobody's; `revisions`: its ControllerRevisions."""
    if daemon_set is None:
        return NOTHING
    selector = objects.spec(daemon_set).get("selector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return Plan((Emit(daemon_set, "Warning", "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required."),))
    if objects.deleting(daemon_set):
        return NOTHING
    history = histories.history(DAEMON_SETS, daemon_set, revisions, revision_names)
    if history.collided:
        collisions = objects.status(daemon_set).get("collisionCount", 0) + 1
        return Plan((_status_update(daemon_set, {**objects.status(daemon_set), "collisionCount": collisions}),))
    claims = claim(DAEMON_SETS, daemon_set, PODS, candidates)
    digest = histories.revision_hash(history.update)
    placements, doomed, retry_in_s = _placed(daemon_set, claims.mine, nodes, digest, now)
    missing = [placement.node for placement in placements if placement.wanted and not placement.occupied]
    if not doomed and not missing:
        missing, doomed = _rolled(daemon_set, placements, digest, now)
    steps: list[Step] = [*claims.steps, *history.steps]
    if missing:
        steps.append(Together(tuple(_creation(daemon_set, node, digest) for node in missing[:BURST_REPLICAS]), slow_start=True))
    if doomed:
        steps.append(Together(tuple(_deletion(daemon_set, pod) for pod in doomed[:BURST_REPLICAS])))
    steps += histories.surplus(daemon_set, history.others, {objects.labels(pod).get(histories.REVISION_HASH, "") for pod in claims.mine})
    status = _status(daemon_set, placements, digest, now)

    def conclude(failures: tuple[str, ...]) -> tuple[Step, ...]:
        return () if status == objects.status(daemon_set) else (_status_update(daemon_set, status),)

    min_ready_s = objects.spec(daemon_set).get("minReadySeconds", 0)
    waits = [left_s for pod in claims.mine if (left_s := objects.available_in_s(pod, min_ready_s, now)) is not None and left_s > 0]
    return Plan(tuple(steps), conclude, requeue_after_s=earliest(retry_in_s, *waits))


def _placed(
    daemon_set: Object, pods: Sequence[Object], nodes: Sequence[Object], digest: str, now: datetime
) -> tuple[list[Placement], list[Object], float | None]:
    """Every node's pods, those that must go whatever the rollout does, and when failed ones may be replaced."""
    by_node: dict[str, list[Object]] = {}
    for pod in objects.by_age(pods):
        by_node.setdefault(node_of(pod), []).append(pod)
    placements: list[Placement] = []
    doomed: list[Object] = []
    retry_in_s: float | None = None
    for node in sorted(nodes, key=objects.name):
        wanted, may_stay = should_run(daemon_set, node)
        every = by_node.pop(objects.name(node), [])
        here = [pod for pod in every if not objects.deleting(pod)]
        if not may_stay:
            doomed += here
            placements.append(Placement(objects.name(node), False, [], bool(every)))
            continue
        alive = []
        for pod in here:
            if objects.status(pod).get("phase") not in ("Failed", "Succeeded"):
                alive.append(pod)
                continue
            left_s = times.seconds_until(times.parse_or(objects.created_at(pod), now) + timedelta(seconds=FAILED_POD_PAUSE_S), now)
            if left_s <= 0:
                doomed.append(pod)
            else:
                retry_in_s = earliest(retry_in_s, left_s)
                alive.append(pod)  # holds its place until then
        current = [pod for pod in alive if _hash(pod) == digest]
        old = [pod for pod in alive if _hash(pod) != digest]
        doomed += current[1:] + old[1:]
        placements.append(Placement(objects.name(node), wanted, [*old[:1], *current[:1]], bool(every)))
    # What was meant for a node that is gone can never be bound; bound pods of such nodes are the pod garbage collector's.
    doomed += [pod for lost in by_node.values() for pod in lost if not objects.spec(pod).get("nodeName") and not objects.deleting(pod)]
    return placements, doomed, retry_in_s


def _rolled(daemon_set: Object, placements: Sequence[Placement], digest: str, now: datetime) -> tuple[list[str], list[Object]]:
    """(nodes that get a second pod, pods to delete): the next step from the old template to the present one."""
    strategy = objects.spec(daemon_set).get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return [], []
    rolling = strategy.get("rollingUpdate") or {}
    wanted = sum(placement.wanted for placement in placements)
    surge = objects.scaled(rolling.get("maxSurge", 0), wanted, round_up=True)
    unavailable = objects.scaled(rolling.get("maxUnavailable", 1), wanted, round_up=True)
    if not surge and not unavailable:
        unavailable = 1

    def ready(pod: Object) -> bool:
        return objects.pod_available(pod, objects.spec(daemon_set).get("minReadySeconds", 0), now)

    broken_old: list[Object] = []
    good_old: list[Object] = []
    replaced: list[Object] = []
    surging = lost = 0
    for placement in placements:
        old = [pod for pod in placement.pods if _hash(pod) != digest]
        new = [pod for pod in placement.pods if _hash(pod) == digest]
        lost += placement.wanted and not any(ready(pod) for pod in placement.pods)
        if not old:
            continue
        if new:
            surging += 1
            replaced += old if ready(new[0]) or not ready(old[0]) else []
        else:
            (good_old if ready(old[0]) else broken_old).append(old[0])
    if surge:
        # A broken old pod gets its successor at once: nothing is lost by it.
        room = max(surge - surging, 0)
        return [node_of(pod) for pod in broken_old] + [node_of(pod) for pod in good_old][:room], replaced
    return [], replaced + broken_old + good_old[: max(unavailable - lost, 0)]


def _hash(pod: Object) -> str:
    return objects.labels(pod).get(histories.REVISION_HASH, "")


def _creation(daemon_set: Object, node: str, digest: str) -> Create:
    done = Emit(daemon_set, "Normal", "SuccessfulCreate", f"Created pod: {CREATED_NAME}")
    failed = Emit(daemon_set, "Warning", "FailedCreate", f"Error creating: {ERROR_TEXT}")
    return Create(PODS, daemon_pod(daemon_set, node, digest), done, failed)


def _deletion(daemon_set: Object, pod: Object) -> Delete:
    if objects.status(pod).get("phase") == "Failed":
        text = f"Found failed daemon pod {objects.key(pod)} on node {node_of(pod)}, will try to kill it"
        done = Emit(daemon_set, "Warning", "FailedDaemonPod", text)
    else:
        done = Emit(daemon_set, "Normal", "SuccessfulDelete", f"Deleted pod: {CREATED_NAME}")
    failed = Emit(daemon_set, "Warning", "FailedDelete", f"Error deleting: {ERROR_TEXT}")
    return Delete(PODS, objects.namespace(pod), objects.name(pod), objects.uid(pod), done=done, failed=failed)


def _status(daemon_set: Object, placements: Sequence[Placement], digest: str, now: datetime) -> dict[str, Any]:
    min_ready_s = objects.spec(daemon_set).get("minReadySeconds", 0)
    desired = [placement for placement in placements if placement.wanted]
    newest = [placement.pods[-1] for placement in desired if placement.pods]
    available = sum(any(objects.pod_available(pod, min_ready_s, now) for pod in placement.pods) for placement in desired)
    status: dict[str, Any] = {
        "currentNumberScheduled": len(newest),
        "numberMisscheduled": sum(not placement.wanted and bool(placement.pods) for placement in placements),
        "desiredNumberScheduled": len(desired),
        "numberReady": sum(any(objects.pod_ready(pod) for pod in placement.pods) for placement in desired),
        "observedGeneration": daemon_set["metadata"].get("generation", 0),
    }
    optional = {
        "updatedNumberScheduled": sum(_hash(pod) == digest for pod in newest),
        "numberAvailable": available,
        "numberUnavailable": len(desired) - available,
        "collisionCount": objects.status(daemon_set).get("collisionCount"),
    }
    return status | {field: value for field, value in optional.items() if value}


def _status_update(daemon_set: Object, status: Mapping[str, Any]) -> Update:
    return Update(DAEMON_SETS, objects.replaced(daemon_set, status=dict(status)), subresource="status")
