"""Which ReplicaSet is a Deployment's new one, and the numbered history that the others form.

The new set is the one whose pod template equals the Deployment's.  Rolling back is nothing special: an old template patched into the
Deployment makes an old set the new one, and its revision moves to the end of the history.

    revision annotation:  a=1  b=2  c=3(new)   -- undo to a -->   b=2  c=3  a=4(new, revision-history "1")
"""

import copy
from collections.abc import Sequence
from typing import Any

from k8sfromscratch.api.registry import DEPLOYMENTS, REPLICA_SETS
from k8sfromscratch.core.reconcile import deployment_sizes as sizing
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.hashing import compute_hash
from k8sfromscratch.core.reconcile.plan import Object

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
TEMPLATE_HASH = "pod-template-hash"
REVISION_HISTORY_CHARS_MAX = 2000
"""Room for the annotation that lists earlier revisions; the oldest are dropped.  Upstream's number."""

_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        sizing.DESIRED_REPLICAS,
        sizing.MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    }
)


def plain_template(template: dict[str, Any]) -> dict[str, Any]:
    """The template without its hash label and without empty metadata, so that it compares by what it means."""
    metadata = {field: value for field, value in (template.get("metadata") or {}).items() if value}
    labels = {label: value for label, value in (metadata.get("labels") or {}).items() if label != TEMPLATE_HASH}
    metadata.pop("labels", None)
    if labels:
        metadata["labels"] = labels
    return {"metadata": metadata, "spec": template.get("spec") or {}}


def split(deployment: Object, replica_sets: Sequence[Object]) -> tuple[Object | None, list[Object]]:
    """The new set, if it exists, and all the others, oldest first.  Of several with the template the oldest counts."""
    wanted = plain_template(objects.spec(deployment)["template"])
    ordered = objects.by_age(replica_sets)
    new = next((one for one in ordered if plain_template(objects.spec(one)["template"]) == wanted), None)
    return new, [one for one in ordered if one is not new]


def revision(replica_set: Object) -> int:
    text = objects.annotations(replica_set).get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def next_revision(olds: Sequence[Object]) -> int:
    return max((revision(old) for old in olds), default=0) + 1


def new_set_name(deployment: Object) -> str:
    return f"{objects.name(deployment)}-{_template_hash(deployment)}"


def _template_hash(deployment: Object) -> str:
    return compute_hash(plain_template(objects.spec(deployment)["template"]), objects.status(deployment).get("collisionCount"))


def new_set(deployment: Object, olds: Sequence[Object], limit: sizing.Bounds) -> Object:
    """The ReplicaSet to create for the Deployment's present template, already as large as the surge allows."""
    spec = objects.spec(deployment)
    label = {TEMPLATE_HASH: _template_hash(deployment)}
    template = copy.deepcopy(plain_template(spec["template"]))
    template["metadata"]["labels"] = {**template["metadata"].get("labels", {}), **label}
    selector = copy.deepcopy(spec.get("selector") or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), **label}
    metadata = {
        "name": new_set_name(deployment),
        "namespace": objects.namespace(deployment),
        "labels": dict(template["metadata"]["labels"]),
        "annotations": {**_copied_annotations(deployment), REVISION: str(next_revision(olds)), **sizing.size_annotations(limit)},
        "ownerReferences": [objects.controller_reference(DEPLOYMENTS, deployment)],
    }
    replicas = sizing.new_set_size(limit, 0, sizing.total(olds), recreate=sizing.is_recreate(deployment))
    set_spec: dict[str, Any] = {"replicas": replicas, "selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        set_spec["minReadySeconds"] = spec["minReadySeconds"]
    return {"apiVersion": REPLICA_SETS.api_version, "kind": REPLICA_SETS.kind, "metadata": metadata, "spec": set_spec}


def _copied_annotations(deployment: Object) -> dict[str, str]:
    return {annotation: value for annotation, value in objects.annotations(deployment).items() if annotation not in _NOT_COPIED}


def new_set_annotations(deployment: Object, new: Object, olds: Sequence[Object]) -> dict[str, str]:
    """The annotations that an existing new set should have: the Deployment's, and a revision after all others."""
    annotations = {**objects.annotations(new), **_copied_annotations(deployment)}
    current, wanted = revision(new), next_revision(olds)
    if current < wanted:
        if REVISION in annotations:
            history = [*filter(None, annotations.get(REVISION_HISTORY, "").split(",")), annotations[REVISION]]
            while len(",".join(history)) > REVISION_HISTORY_CHARS_MAX:
                history.pop(0)
            annotations[REVISION_HISTORY] = ",".join(history)
        annotations[REVISION] = str(wanted)
    return annotations


def surplus(deployment: Object, olds: Sequence[Object]) -> list[Object]:
    """Old sets beyond `revisionHistoryLimit`, the lowest revisions first, that hold nothing any more."""
    limit = objects.spec(deployment).get("revisionHistoryLimit", 10)
    kept = [old for old in olds if not objects.deleting(old)]
    candidates = sorted(kept, key=lambda old: (revision(old), objects.created_at(old)))[: max(len(kept) - limit, 0)]
    return [old for old in candidates if sizing.size(old) == 0 and objects.status(old).get("replicas", 0) == 0 and _observed(old)]


def _observed(replica_set: Object) -> bool:
    return objects.status(replica_set).get("observedGeneration", 0) >= replica_set["metadata"].get("generation", 0)
