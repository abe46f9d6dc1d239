"""ControllerRevisions: the numbered pod templates of a DaemonSet or StatefulSet, which `kubectl rollout history` and `undo` read.

A revision's data is the patch that brings its template back.  As with Deployments the highest number is the present template; going back
to an older one gives that revision a new number instead of making another object.
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.api.registry import CONTROLLER_REVISIONS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.hashing import compute_hash
from k8sfromscratch.core.reconcile.plan import Create, Delete, Object, Patch, Step

REVISION_HASH = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class History:
    update: Object
    """The revision of the present template: an existing one, or the one that `steps` creates."""
    others: list[Object]
    """All others, lowest number first."""
    steps: tuple[Step, ...]
    collided: bool = False
    """A stranger has the name that the new revision should get: count it into the hash, and plan again."""


def revision_hash(revision: Object) -> str:
    return objects.labels(revision).get(REVISION_HASH, "")


def template_patch(owner: Object) -> dict[str, Any]:
    template = copy.deepcopy(objects.spec(owner).get("template") or {})
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def template_of(revision: Object) -> dict[str, Any]:
    template: dict[str, Any] = copy.deepcopy(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


def history(resource: Resource, owner: Object, revisions: Sequence[Object], namesakes: Collection[str]) -> History:
    """`revisions`: the owner's; `namesakes`: names of all ControllerRevisions in its namespace."""
    data = template_patch(owner)
    ordered = sorted(revisions, key=lambda one: (one["revision"], objects.created_at(one)))
    present = next((one for one in reversed(ordered) if one["data"] == data), None)
    number = max((one["revision"] for one in ordered if one is not present), default=0) + 1
    others = [one for one in ordered if one is not present]
    if present is not None:
        if present["revision"] >= number:
            return History(present, others, ())
        renumber = {"metadata": {"uid": objects.uid(present)}, "revision": number}
        step = Patch(CONTROLLER_REVISIONS, objects.namespace(present), objects.name(present), renumber)
        return History({**present, "revision": number}, others, (step,))
    digest = compute_hash(data, objects.status(owner).get("collisionCount"))
    name = f"{objects.name(owner)}-{digest}"
    metadata = {
        "name": name,
        "namespace": objects.namespace(owner),
        "labels": {**((objects.spec(owner)["template"].get("metadata") or {}).get("labels") or {}), REVISION_HASH: digest},
        "annotations": {k: v for k, v in objects.annotations(owner).items() if k != "kubectl.kubernetes.io/last-applied-configuration"},
        "ownerReferences": [objects.controller_reference(resource, owner)],
    }
    made = {"apiVersion": CONTROLLER_REVISIONS.api_version, "kind": "ControllerRevision", "metadata": metadata, "data": data, "revision": number}
    return History(made, others, (Create(CONTROLLER_REVISIONS, made),), collided=name in namesakes)


def surplus(owner: Object, others: Sequence[Object], in_use: Collection[str]) -> tuple[Step, ...]:
    """Deletes the lowest revisions beyond `revisionHistoryLimit` that no pod has any more."""
    limit = objects.spec(owner).get("revisionHistoryLimit", 10)
    unused = [one for one in others if revision_hash(one) not in in_use]
    doomed = unused[: max(len(unused) - limit, 0)]
    return tuple(Delete(CONTROLLER_REVISIONS, objects.namespace(one), objects.name(one), objects.uid(one)) for one in doomed)
