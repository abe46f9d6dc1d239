"""A request's body as an object of a custom kind.

Only its head is typed here: apiVersion, kind, metadata, by the built-in definition of ObjectMeta.  Unknown fields are pruned, wrong ones are left for
validation, which tells all of them at once.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson

from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.api.schema import OBJECT_META, STRICT_ERRORS_MAX, FieldValidation, Schema, check_kind, definition
from k8sfromscratch.api.schema_wording import decode_error, path
from k8sfromscratch.api.structural import Structural

Object = dict[str, Any]


def check(
    resource: Resource, value: Any, schema: Structural, *, doubled: Sequence[str] = (), field_validation: FieldValidation = "Warn"
) -> tuple[Object, list[str]]:
    """The object, not yet defaulted, and warnings to send back.  `value` is used up.  Raises BadRequest."""
    if not isinstance(value, dict):
        raise BadRequest(f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind; json parse error: not an object")
    if not value.get("kind"):
        raise BadRequest(f"Object 'Kind' is missing in '{orjson.dumps(value)[:1024].decode(errors='replace')}'")
    check_kind(value, resource.api_version, resource.kind)
    metadata = _metadata().check(value.get("metadata") or {})
    if metadata.problems:
        why = decode_error(_metadata().root, metadata.problems[0])
        raise BadRequest(f"{resource.kind} in version {_quoted(resource.version)} cannot be handled as a {resource.kind}: {why}")
    obj: Object = {**value, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata.value}
    unknown = [*(f"metadata.{path(location)}" for location in metadata.unknown), *schema.prune(obj)]
    strict = [f'unknown field "{where}"' for where in unknown[:STRICT_ERRORS_MAX]]
    strict += [f'duplicate field "{where}"' for where in doubled[: STRICT_ERRORS_MAX - len(strict)]]
    if strict and field_validation == "Strict":
        raise BadRequest(
            f"{resource.kind} in version {_quoted(resource.version)} cannot be handled as a {resource.kind}: strict decoding error: {', '.join(strict)}"
        )
    return obj, strict if field_validation == "Warn" else []


def _quoted(text: str) -> str:
    return f'"{text}"'


@cache
def _metadata() -> Schema:
    return Schema(definition(OBJECT_META))
