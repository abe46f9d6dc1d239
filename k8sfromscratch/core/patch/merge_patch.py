"""JSON merge patch, RFC 7386: maps are merged, null removes, everything else replaces."""

from typing import Any

from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.core.patch.values import copied


def merge(target: Any, patch: Any) -> Any:
    """The RFC's MergePatch, on copies."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def apply_merge_patch(obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Raises BadRequest where the patch is not an object: it would leave none."""
    if not isinstance(patch, dict):
        raise BadRequest("error decoding patch: a merge patch must be an object")
    return dict(merge(obj, patch))
