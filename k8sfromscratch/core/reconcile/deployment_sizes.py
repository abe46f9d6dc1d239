"""How many replicas each ReplicaSet of a Deployment should have.

Two promises bound a rolling update at every step: never more than `replicas + maxSurge` pods asked for, and never an available pod
given up while fewer than `replicas - maxUnavailable` would remain.  A step therefore grows the new set into the surge, or shrinks old
sets by what is available beyond the minimum, unhealthy pods first.  A Deployment that is resized in the middle of a rollout
spreads the difference over its sets in proportion to their sizes, so that a bad new version does not get all the growth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import Object

DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"

Sizes = dict[str, int]
"""ReplicaSet uid -> its new `spec.replicas`; a set that is not in it stays as it is."""


@dataclass(frozen=True, slots=True)
class Bounds:
    replicas: int
    max_surge: int
    max_unavailable: int

    @property
    def max_total(self) -> int:
        return self.replicas + self.max_surge

    @property
    def min_available(self) -> int:
        return self.replicas - self.max_unavailable


def bounds(deployment: Object) -> Bounds:
    """The Deployment's numbers, percentages resolved.  Surge rounds up, unavailability down; both 0 would never move, so that one pod may then be missing."""
    spec = objects.spec(deployment)
    replicas = spec.get("replicas", 1)
    if is_recreate(deployment):
        return Bounds(replicas, 0, 0)
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = objects.scaled(rolling.get("maxSurge", "25%"), replicas, round_up=True)
    unavailable = objects.scaled(rolling.get("maxUnavailable", "25%"), replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(replicas, surge, min(unavailable, replicas))


def is_recreate(deployment: Object) -> bool:
    return (objects.spec(deployment).get("strategy") or {}).get("type") == "Recreate"


def size(replica_set: Object) -> int:
    return objects.spec(replica_set).get("replicas", 1)


def available(replica_set: Object) -> int:
    """What can be counted on: pods that the set has been told to delete, but has not yet, are as good as gone."""
    return min(objects.status(replica_set).get("availableReplicas", 0), size(replica_set))


def total(replica_sets: Sequence[Object]) -> int:
    return sum(size(replica_set) for replica_set in replica_sets)


def active(replica_sets: Sequence[Object]) -> list[Object]:
    return [replica_set for replica_set in replica_sets if size(replica_set) > 0]


def new_set_size(limit: Bounds, current: int, all_sets_total: int, *, recreate: bool = False) -> int:
    """The new set's size now: as near to the goal as the surge allows, at once down to it."""
    if recreate or current >= limit.replicas:
        return limit.replicas
    room = max(limit.max_total - all_sets_total, 0)
    return current + min(room, limit.replicas - current)


def old_set_sizes(limit: Bounds, new: Object, olds: Sequence[Object]) -> Sizes:
    """Which old sets give up how many.  Pods that are not available go first, and need only keep the total above the minimum as
    the spec counts it; what is available shrinks only by what the status shows beyond the minimum."""
    unavailable_new = size(new) - available(new)
    spare = size(new) + total(olds) - limit.min_available - unavailable_new
    if spare <= 0:
        return {}
    sizes = {objects.uid(old): size(old) for old in olds}
    for old in objects.by_age(active(olds)):
        unhealthy = min(spare, size(old) - available(old))
        if unhealthy > 0:
            sizes[objects.uid(old)] -= unhealthy
            spare -= unhealthy
    beyond = available(new) + sum(available(old) for old in olds) - limit.min_available
    for old in objects.by_age(olds):
        step = min(beyond, sizes[objects.uid(old)])
        if step > 0:
            sizes[objects.uid(old)] -= step
            beyond -= step
    return {objects.uid(old): sizes[objects.uid(old)] for old in olds if sizes[objects.uid(old)] != size(old)}


def is_scaling_event(deployment: Object, replica_sets: Sequence[Object]) -> bool:
    """The Deployment's size has changed since its active sets were last sized."""
    wanted = objects.spec(deployment).get("replicas", 1)
    seen = (_annotated(replica_set, DESIRED_REPLICAS) for replica_set in active(replica_sets))
    return any(value is not None and value != wanted for value in seen)


def scaled_sizes(deployment: Object, limit: Bounds, new: Object | None, olds: Sequence[Object]) -> Sizes:
    """Sizes after a resize (or while paused), without moving the rollout on."""
    sole = _active_or_latest(new, olds)
    if sole is not None:
        return {objects.uid(sole): limit.replicas}
    if new is not None and _saturated(new, limit):
        return {objects.uid(old): 0 for old in active(olds)}
    running = active([*olds, new] if new is not None else olds)
    if is_recreate(deployment):
        return {objects.uid(one): size(one) for one in running}
    return _proportional(deployment, limit, running)


def _active_or_latest(new: Object | None, olds: Sequence[Object]) -> Object | None:
    """The one set that holds the pods, or would: None when several do."""
    every = [*olds, new] if new is not None else list(olds)
    running = active(every)
    if len(running) > 1:
        return None
    if running:
        return running[0]
    return new if new is not None else (objects.by_age(olds)[-1] if olds else None)


def _saturated(new: Object, limit: Bounds) -> bool:
    return size(new) == limit.replicas == available(new) and _annotated(new, DESIRED_REPLICAS) == limit.replicas


def _proportional(deployment: Object, limit: Bounds, sets: Sequence[Object]) -> Sizes:
    """Largest sets first; each gets its rounded share, and the first one takes what rounding left over."""
    allowed = limit.max_total if limit.replicas > 0 else 0
    to_add = allowed - total(sets)
    newest_first = list(reversed(objects.by_age(sets)))
    ordered = sorted(newest_first if to_add > 0 else reversed(newest_first), key=size, reverse=True)
    sizes: Sizes = {}
    added = 0
    for replica_set in ordered:
        share = _share(deployment, limit, replica_set)
        left = to_add - added
        step = 0 if to_add == 0 else (min(share, left) if to_add > 0 else max(share, left))
        sizes[objects.uid(replica_set)] = size(replica_set) + step
        added += step
    if ordered and to_add:
        first = objects.uid(ordered[0])
        sizes[first] = max(sizes[first] + to_add - added, 0)
    return sizes


def _share(deployment: Object, limit: Bounds, replica_set: Object) -> int:
    """By how much this set would change if it kept its fraction of the Deployment's largest total."""
    if limit.replicas == 0:
        return -size(replica_set)
    before = _annotated(replica_set, MAX_REPLICAS) or objects.status(deployment).get("replicas", 0) or limit.max_total
    return (2 * size(replica_set) * limit.max_total + before) // (2 * before) - size(replica_set)


def _annotated(replica_set: Object, annotation: str) -> int | None:
    text = objects.annotations(replica_set).get(annotation, "")
    return int(text) if text.isascii() and text.isdigit() else None


def size_annotations(limit: Bounds) -> Mapping[str, str]:
    """What a set is told of the Deployment it was sized for."""
    return {DESIRED_REPLICAS: str(limit.replicas), MAX_REPLICAS: str(limit.max_total)}
