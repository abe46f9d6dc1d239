"""PATCH: which patch a content type means, and its application to the present object."""

from collections.abc import Callable
from typing import Any

from k8sfromscratch.api import errors, schema
from k8sfromscratch.components.apiserver import negotiation
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.entries import Object
from k8sfromscratch.core.patch.json_patch import apply_json_patch
from k8sfromscratch.core.patch.merge_patch import apply_merge_patch
from k8sfromscratch.core.patch.strategic import apply_strategic_patch

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

SCALE = ("autoscaling/v1", "Scale")

Patcher = Callable[[Object], Object]


def patcher(call: Call) -> Patcher:
    """The request's patch as a function of the present object.  Raises UnsupportedMediaType, BadRequest."""
    kind = negotiation.media_type(call.request)
    # A custom resource's schema does not say what a strategic patch would have to know.
    known = (JSON_PATCH, MERGE_PATCH) if call.served.custom is not None else (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)
    if kind not in known:
        supported = ", ".join((*known, APPLY_PATCH))
        raise errors.UnsupportedMediaType(f"the body of the request was in an unknown format - accepted media types include: {supported}")
    patch = negotiation.from_json(call.request.body)
    if kind == JSON_PATCH:
        return lambda obj: _an_object(apply_json_patch(obj, patch))
    if kind == MERGE_PATCH:
        return lambda obj: apply_merge_patch(obj, patch)
    kind_schema = schema.field_schema(SCALE if call.info.subresource == "scale" else call.served.resource)
    return lambda obj: apply_strategic_patch(obj, patch, kind_schema)


def _an_object(value: Any) -> Object:
    if not isinstance(value, dict):
        raise errors.BadRequest("the patch leaves no object")
    return value
