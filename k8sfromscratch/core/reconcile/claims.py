"""Which objects belong to a controller: by owner reference, and by selector where they have none yet.

An owned object that the selector no longer matches is released; an orphan that it matches is adopted.  Both are patches with the
object's resourceVersion, so whoever loses a race gets a conflict and plans again.  Before adopting, a live read confirms that the owner
still exists: a cache that lags could otherwise resurrect a deleted owner's claim and hand its children to the garbage collector.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import Confirm, Object, Patch, Step
from k8sfromscratch.core.selectors.labels import matches


@dataclass(frozen=True, slots=True)
class Claims:
    mine: list[Object]
    """Owned now, or owned once `steps` are done."""
    steps: tuple[Step, ...]


def claim(
    owner_resource: Resource, owner: Object, resource: Resource, candidates: Iterable[Object], *, adoptable: Callable[[Object], bool] = lambda obj: True
) -> Claims:
    """Sorts the `candidates` of `resource` (all of them in the owner's namespace) by the owner's `spec.selector`."""
    selector = objects.selector(owner)
    mine: list[Object] = []
    steps: list[Step] = []
    confirmed = False
    for obj in candidates:
        controller = objects.controller_of(obj)
        fits = matches(selector, objects.labels(obj))
        if controller is not None:
            if controller["uid"] != objects.uid(owner):
                continue
            if fits:
                mine.append(obj)
            elif not objects.deleting(owner):
                kept = [ref for ref in objects.owner_references(obj) if ref["uid"] != objects.uid(owner)]
                steps.append(_owners_patch(resource, obj, kept))
        elif fits and adoptable(obj) and not objects.deleting(owner) and not objects.deleting(obj):
            if not confirmed:
                steps.append(Confirm(owner_resource, objects.namespace(owner), objects.name(owner), objects.uid(owner)))
                confirmed = True
            steps.append(_owners_patch(resource, obj, [*objects.owner_references(obj), objects.controller_reference(owner_resource, owner)]))
            mine.append(obj)
    return Claims(mine, tuple(steps))


def _owners_patch(resource: Resource, obj: Object, references: list[Object]) -> Patch:
    metadata = obj["metadata"]
    patch = {"metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], "ownerReferences": references}}
    return Patch(resource, objects.namespace(obj), objects.name(obj), patch, ignore=frozenset({"NotFound"}))
