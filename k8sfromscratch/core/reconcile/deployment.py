"""Deployment: one ReplicaSet per pod template, and the way from one to the next.

What a plan does is chosen by the first of these that fits; each ends in a status, and the next plan goes on from there.

    the selector selects everything   warn, do nothing
    being deleted                     status
    paused, or resized                size the existing sets in proportion, create none
    no set for the template           create it (Recreate: only when no pod of the old ones is left)
    RollingUpdate                     grow the new set into the surge, else shrink the old ones by what is to spare
    Recreate                          old ones to 0, then the new one to full size

The sizes are `deployment_sizes`, the history is `deployment_revisions`, the conditions are `deployment_status`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from k8sfromscratch.api.registry import DEPLOYMENTS, REPLICA_SETS
from k8sfromscratch.core.reconcile import deployment_revisions as revisions
from k8sfromscratch.core.reconcile import deployment_sizes as sizing
from k8sfromscratch.core.reconcile import deployment_status as statuses
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.claims import claim
from k8sfromscratch.core.reconcile.plan import ERROR_TEXT, NOTHING, Create, Delete, Emit, Object, Patch, Plan, Step, Together, Update


def plan(
    deployment: Object | None, candidates: Sequence[Object], namesake: Object | None, pods_of: Callable[[Object], Sequence[Object]], now: datetime
) -> Plan:
    """`candidates`: ReplicaSets that are the Deployment's, or nobody's; `namesake`: whichever has the name that the new one would get;
    `pods_of(replica_set)` is asked for a Recreate only, which must not start while an old pod still runs."""
    if deployment is None:
        return NOTHING
    selector = objects.spec(deployment).get("selector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return _selects_all(deployment)
    claims = claim(DEPLOYMENTS, deployment, REPLICA_SETS, candidates)
    new, olds = revisions.split(deployment, claims.mine)
    conditions = statuses.pause_conditions(deployment, now)
    if objects.deleting(deployment):
        return _ended(deployment, claims.steps, statuses.counted(deployment, conditions, new, olds, now), None, now)

    limit = sizing.bounds(deployment)
    paused = bool(objects.spec(deployment).get("paused"))
    if paused or sizing.is_scaling_event(deployment, claims.mine):
        steps = _resized(deployment, new, olds, sizing.scaled_sizes(deployment, limit, new, olds), limit)
        if paused:
            steps += _cleaned_up(deployment, olds)
        return _ended(deployment, (*claims.steps, *steps), statuses.counted(deployment, conditions, new, olds, now), new, now)

    recreate = sizing.is_recreate(deployment)
    draining = recreate and (any(sizing.size(old) for old in olds) or _old_pods_run(new, olds, pods_of))
    if new is None and not draining:
        return _created(deployment, claims.steps, olds, namesake, conditions, now)
    sizes: sizing.Sizes
    if draining:
        sizes = {objects.uid(old): 0 for old in olds if sizing.size(old)}
    else:
        assert new is not None  # it was created otherwise
        sizes = _rolling_sizes(limit, new, olds, recreate)
    if new is not None and objects.find_condition(conditions, "Progressing") is None:
        found = f'Found new replica set "{objects.name(new)}"'
        conditions = statuses.set_condition(conditions, "Progressing", "True", statuses.FOUND_NEW_REPLICA_SET, found, now)
    status = statuses.rolled_out(deployment, statuses.counted(deployment, conditions, new, olds, now), new, olds, now)
    steps = _resized(deployment, new, olds, sizes, limit)
    if not sizes and statuses.complete(deployment, status):
        steps += _cleaned_up(deployment, olds)
    return _ended(deployment, (*claims.steps, *steps), status, new, now)


def _rolling_sizes(limit: sizing.Bounds, new: Object, olds: Sequence[Object], recreate: bool) -> sizing.Sizes:
    """One direction a step: up if there is room, else down."""
    wanted = sizing.new_set_size(limit, sizing.size(new), sizing.size(new) + sizing.total(olds), recreate=recreate)
    if wanted != sizing.size(new):
        return {objects.uid(new): wanted}
    return {} if recreate else sizing.old_set_sizes(limit, new, olds)


def _old_pods_run(new: Object | None, olds: Sequence[Object], pods_of: Callable[[Object], Sequence[Object]]) -> bool:
    return any(objects.status(pod).get("phase") not in ("Failed", "Succeeded") for old in olds if old is not new for pod in pods_of(old))


def _selects_all(deployment: Object) -> Plan:
    warning = Emit(deployment, "Warning", "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
    generation = deployment["metadata"].get("generation", 0)
    if objects.status(deployment).get("observedGeneration", 0) >= generation:
        return Plan((warning,))
    return Plan((warning, _status_update(deployment, {**objects.status(deployment), "observedGeneration": generation})))


def _created(
    deployment: Object, before: tuple[Step, ...], olds: Sequence[Object], namesake: Object | None, conditions: list[objects.Condition], now: datetime
) -> Plan:
    """Creates the set of the present template.  A stranger that has its name already is a hash collision: count it and try another name."""
    limit = sizing.bounds(deployment)
    wanted = revisions.new_set(deployment, olds, limit)
    name = objects.name(wanted)
    if namesake is not None:
        collisions = objects.status(deployment).get("collisionCount", 0) + 1
        return Plan((*before, _status_update(deployment, {**objects.status(deployment), "collisionCount": collisions})))
    failed = Emit(deployment, "Warning", statuses.CREATE_ERROR, f'Failed to create new replica set "{name}": {ERROR_TEXT}')
    done = Emit(deployment, "Normal", "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {sizing.size(wanted)}")
    create = Create(REPLICA_SETS, wanted, done if sizing.size(wanted) else None, failed)
    revision = objects.annotations(wanted)[revisions.REVISION]

    def conclude(failures: tuple[str, ...]) -> tuple[Step, ...]:
        if failures:
            text = f'Failed to create new replica set "{name}": {failures[0]}'
            noted = statuses.set_condition(conditions, "Progressing", "False", statuses.CREATE_ERROR, text, now)
        else:
            noted = statuses.set_condition(conditions, "Progressing", "True", statuses.NEW_REPLICA_SET, f'Created new replica set "{name}"', now)
        if statuses.deadline_s(deployment) is None:
            noted = conditions
        status = statuses.counted(deployment, noted, None, olds, now)
        return _closing(deployment, status, None if failures else revision)

    return Plan((*before, create), conclude)


def _resized(deployment: Object, new: Object | None, olds: Sequence[Object], sizes: sizing.Sizes, limit: sizing.Bounds) -> tuple[Step, ...]:
    """The updates that bring the sets to `sizes`, and the new set's annotations and minReadySeconds up to date."""
    steps: list[Step] = []
    for one in [*olds, new] if new is not None else olds:
        annotations = revisions.new_set_annotations(deployment, one, olds) if one is new else objects.annotations(one)
        spec = objects.spec(one)
        if objects.uid(one) in sizes:
            annotations = {**annotations, **sizing.size_annotations(limit)}
            spec = {**spec, "replicas": sizes[objects.uid(one)]}
        if one is new and spec.get("minReadySeconds", 0) != objects.spec(deployment).get("minReadySeconds", 0):
            spec = {**spec, "minReadySeconds": objects.spec(deployment).get("minReadySeconds", 0)}
        if spec == objects.spec(one) and annotations == objects.annotations(one):
            continue
        changed = objects.replaced(one, spec=spec)
        changed["metadata"]["annotations"] = annotations
        steps.append(Update(REPLICA_SETS, changed, done=_scaling_event(deployment, one, sizing.size(changed))))
    return tuple(steps)


def _scaling_event(deployment: Object, replica_set: Object, after: int) -> Emit | None:
    before = sizing.size(replica_set)
    if before == after:
        return None
    direction = "up" if after > before else "down"
    return Emit(deployment, "Normal", "ScalingReplicaSet", f"Scaled {direction} replica set {objects.name(replica_set)} from {before} to {after}")


def _cleaned_up(deployment: Object, olds: Sequence[Object]) -> tuple[Step, ...]:
    surplus = revisions.surplus(deployment, olds)
    if not surplus:
        return ()
    return (Together(tuple(Delete(REPLICA_SETS, objects.namespace(old), objects.name(old), objects.uid(old)) for old in surplus)),)


def _ended(deployment: Object, steps: tuple[Step, ...], status: dict[str, Any], new: Object | None, now: datetime) -> Plan:
    """Steps, then the status.  The Deployment takes the revision that its new set has, or gets with this plan."""
    updated = next((s.object for s in steps if isinstance(s, Update) and new is not None and objects.uid(s.object) == objects.uid(new)), new)
    revision = objects.annotations(updated).get(revisions.REVISION) if updated is not None else None

    def conclude(failures: tuple[str, ...]) -> tuple[Step, ...]:
        return _closing(deployment, status, None if failures else revision)

    return Plan(steps, conclude, requeue_after_s=statuses.seconds_to_deadline(deployment, status, now))


def _closing(deployment: Object, status: Mapping[str, Any], revision: str | None) -> tuple[Step, ...]:
    """The status update first: it carries the resourceVersion that was observed, which the annotation's patch then changes."""
    steps: list[Step] = []
    if status != objects.status(deployment):
        steps.append(_status_update(deployment, status))
    if revision is not None and objects.annotations(deployment).get(revisions.REVISION) != revision:
        patch = {"metadata": {"uid": objects.uid(deployment), "annotations": {revisions.REVISION: revision}}}
        steps.append(Patch(DEPLOYMENTS, objects.namespace(deployment), objects.name(deployment), patch))
    return tuple(steps)


def _status_update(deployment: Object, status: Mapping[str, Any]) -> Update:
    return Update(DEPLOYMENTS, objects.replaced(deployment, status=dict(status)), subresource="status")
