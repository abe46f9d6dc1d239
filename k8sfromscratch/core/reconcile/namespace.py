"""Emptying a namespace that is being deleted, then letting it go.

Pods go first and alone, since what they need (their Secrets, their service account) must outlive them; then everything else.  The
namespace says in its conditions what is still in the way.  When a live look has found nothing at all, the finalizer `kubernetes` is
taken off, and the server removes the namespace with the last one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.api.registry import NAMESPACES
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.reconcile import objects, times
from k8sfromscratch.core.reconcile.plan import NOTHING, Delete, DeleteCollection, Object, Plan, Step, Together, Update

FINALIZER = "kubernetes"
RETRY_S = 1.0
"""How soon to look again at content that is on its way out without a known end."""
RETRY_S_MAX = 15.0
"""Never wait longer than this for pods with long grace periods: most end early."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a live LIST has found of one resource in the namespace: at least the objects' metadata."""

    resource: Resource
    objects: Sequence[Object]


def plan(namespace: Object | None, contents: Sequence[Content], undiscovered: Sequence[str], now: datetime, *, settle_s: float) -> Plan:
    """`contents` is of all namespaced resources; `undiscovered` are the group versions that could not be asked, each with its error.

    `settle_s` must have passed since the deletion began before the finalizer goes: until then some other apiserver may not know yet
    that it must not create anything here.
    """
    if namespace is None or not objects.deleting(namespace):
        return NOTHING
    left = objects.spec(namespace).get("finalizers") or []
    if FINALIZER not in left:
        return NOTHING if left else Plan((Delete(NAMESPACES, None, objects.name(namespace), objects.uid(namespace)),))
    remaining = [content for content in contents if content.objects]
    if not remaining and not undiscovered:
        deleted_at = times.parse(namespace["metadata"]["deletionTimestamp"])
        settled_in_s = times.seconds_until(deleted_at + timedelta(seconds=settle_s), now)
        if settled_in_s > 0:
            return Plan(requeue_after_s=settled_in_s)
        spec = {**objects.spec(namespace), "finalizers": [finalizer for finalizer in left if finalizer != FINALIZER]}
        return Plan((Update(NAMESPACES, objects.replaced(namespace, spec=spec), subresource="finalize", ignore=frozenset({"NotFound"})),))

    pods_first = [content for content in remaining if content.resource.group_resource == "pods"]
    doomed = [content for content in pods_first or remaining if any(not objects.deleting(obj) for obj in content.objects)]
    deletions = tuple(DeleteCollection(content.resource, objects.name(namespace)) for content in doomed)

    def conclude(failures: tuple[str, ...]) -> tuple[Step, ...]:
        if deletions and not failures and not undiscovered:
            return ()  # what has just been deleted may be gone already: look again before complaining
        return _status(namespace, remaining, undiscovered, failures, now)

    return Plan((Together(deletions),) if deletions else (), conclude, requeue_after_s=0.0 if deletions else _patience_s(remaining, now))


def _patience_s(remaining: Sequence[Content], now: datetime) -> float:
    ends = [times.parse(obj["metadata"]["deletionTimestamp"]) for content in remaining for obj in content.objects if objects.deleting(obj)]
    latest_s = max((times.seconds_until(end, now) for end in ends), default=0.0)
    return min(max(latest_s / 2, RETRY_S), RETRY_S_MAX)


def _status(namespace: Object, remaining: Sequence[Content], undiscovered: Sequence[str], failures: Sequence[str], now: datetime) -> tuple[Step, ...]:
    """Conditions as upstream names them; True means trouble.  A namespace without trouble gets none that it does not already have."""
    finalizers: dict[str, int] = {}
    for content in remaining:
        for obj in content.objects:
            for finalizer in objects.finalizers(obj):
                finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
    counts = ", ".join(f"{content.resource.plural}.{content.resource.group} has {len(content.objects)} resource instances" for content in remaining)
    blockers = ", ".join(f"{finalizer} in {count} resource instances" for finalizer, count in sorted(finalizers.items()))
    judged = (
        (
            "NamespaceDeletionDiscoveryFailure",
            "Discovery failed for some groups, " + f"{len(undiscovered)} failing: " + ", ".join(undiscovered) if undiscovered else "",
            ("DiscoveryFailed", "ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "",
            ("GroupVersionParsingFailed", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            "Failed to delete all resource types, " + f"{len(failures)} remaining: " + ", ".join(failures) if failures else "",
            ("ContentDeletionFailed", "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            f"Some resources are remaining: {counts}" if remaining else "",
            ("SomeResourcesRemain", "ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            f"Some content in the namespace has finalizers remaining: {blockers}" if finalizers else "",
            ("SomeFinalizersRemain", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    )
    conditions: list[dict[str, Any]] = list(objects.status(namespace).get("conditions") or ())
    for kind, trouble, (bad, good, text) in judged:
        present = objects.find_condition(conditions, kind)
        status, reason, message = ("True", bad, trouble) if trouble else ("False", good, text)
        if present is None or (present["status"], present.get("reason"), present.get("message")) != (status, reason, message):
            wanted = {"type": kind, "status": status, "lastTransitionTime": times.text(now), "reason": reason, "message": message}
            conditions = objects.with_condition(conditions, wanted)
    status_wanted = {**objects.status(namespace), "phase": "Terminating", "conditions": conditions}
    if status_wanted == objects.status(namespace):
        return ()
    return (Update(NAMESPACES, objects.replaced(namespace, status=status_wanted), subresource="status", ignore=frozenset({"NotFound"})),)
