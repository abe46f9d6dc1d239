"""From client-side to server-side apply: `kubectl apply --server-side` on what `kubectl apply` has made.

A client-side apply keeps its manifest in an annotation, and its fields belong to an Update of a manager of its own.  Without more, the first
server-side apply of a changed manifest would conflict with the same person's own work.  So for the manager `kubectl` (another name opts out)

    a conflict does not count   on a field that the annotation states, and that still is as it states
    the annotation follows      where there is one, so that who goes back to client-side apply compares with what was applied last

Source: apimachinery/pkg/util/managedfields, lastAppliedManager and lastAppliedUpdater.
"""

from typing import Any

import orjson

from k8sfromscratch.api import json_body
from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.api.validation.metadata import ANNOTATIONS_BYTES_MAX
from k8sfromscratch.core.patch.field_tree import Tree, difference
from k8sfromscratch.core.patch.structured_merge import compare, fields_of

Object = dict[str, Any]

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MANAGER = "kubectl"


def unchanged_since(live: Object, schema: SchemaNode | None) -> Tree | None:
    """The fields that the last client-side apply stated and that nobody has changed since; None where there are none, or no such apply is known."""
    stated = _stated(live)
    if stated is None:
        return None
    left: Tree | None = fields_of(stated, schema)
    for differing in compare(stated, live, schema):
        if left is not None and differing is not None:
            left = difference(left, differing)
    return left


def noted(obj: Object, applied: Object) -> Object:
    """The object with `applied` as its last applied configuration, if it keeps one; without one where that would be too big to be stored."""
    annotations = obj["metadata"].get("annotations") or {}
    if not annotations.get(ANNOTATION):
        return obj
    metadata = {key: value for key, value in applied["metadata"].items() if key != "managedFields"}
    metadata["annotations"] = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != ANNOTATION}
    kept = {**annotations, ANNOTATION: orjson.dumps({**applied, "metadata": metadata}, option=orjson.OPT_SORT_KEYS).decode() + "\n"}
    if sum(len(key.encode()) + len(value.encode()) for key, value in kept.items()) > ANNOTATIONS_BYTES_MAX:
        del kept[ANNOTATION]
    return {**obj, "metadata": {**obj["metadata"], "annotations": kept}}


def _stated(live: Object) -> Object | None:
    """The annotation's manifest, where it is one of the live object's version."""
    text = (live["metadata"].get("annotations") or {}).get(ANNOTATION)
    if not text:
        return None
    try:
        value, _ = json_body.parse(text.encode())
    except BadRequest:
        return None
    return value if isinstance(value, dict) and value.get("apiVersion") == live["apiVersion"] else None
