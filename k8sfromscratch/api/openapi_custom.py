"""Custom resources in the OpenAPI documents: the definitions of a version and of its list, from its structural schema.

OpenAPI v3 takes the schema as it is.  OpenAPI v2 has no words for nullable values, combinations and arbitrary JSON: there such places say less, so that a
client which checks by it never refuses what the server would take.  Source: apiextensions-apiserver's pkg/controller/openapi/builder.
"""

from collections.abc import Mapping
from typing import Any

from k8sfromscratch.api.resource import Resource

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"

_API_VERSION = {"type": "string", "description": "The version of the schema that this object is written in."}
_KIND = {"type": "string", "description": "What kind of object this is."}
_NOT_IN_V2 = frozenset({"allOf", "anyOf", "oneOf", "not", "nullable", "default", "x-kubernetes-validations", "example", "title"})
_SHAPE = frozenset({"type", "properties", "items", "additionalProperties", "required"})

Schema = dict[str, Any]


def definition_name(resource: Resource, kind: str) -> str:
    """`com.example.stable.v1.CronTab`: the group's parts in reverse."""
    return ".".join([*reversed(resource.group.split(".")), resource.version, kind])


def definitions(resource: Resource, schema: Mapping[str, Any], prefix: str, *, v3: bool) -> dict[str, Schema]:
    """`prefix` is what references begin with in the document."""
    name = definition_name(resource, resource.kind)
    described = dict(schema) if v3 else _without_v3(schema)
    metadata = {**_reference(prefix + OBJECT_META, v3=v3), "description": "What every object has: its name, labels, owners."}
    properties = {**described.get("properties", {}), "apiVersion": _API_VERSION, "kind": _KIND, "metadata": metadata}
    one = {**described, "type": "object", "properties": properties, **_kinds(resource, resource.kind)}
    many = {
        "type": "object",
        "description": f"{resource.list_kind} is a list of {resource.kind}.",
        "required": ["items"],
        "properties": {
            "apiVersion": _API_VERSION,
            "kind": _KIND,
            "metadata": {**_reference(prefix + LIST_META, v3=v3), "description": "What every list has."},
            "items": {"type": "array", "description": f"List of {resource.plural}.", "items": _reference(prefix + name, v3=v3)},
        },
        **_kinds(resource, resource.list_kind),
    }
    return {name: one, definition_name(resource, resource.list_kind): many}


def _kinds(resource: Resource, kind: str) -> Schema:
    return {"x-kubernetes-group-version-kind": [{"group": resource.group, "version": resource.version, "kind": kind}]}


def _reference(to: str, *, v3: bool) -> Schema:
    """Beside a reference OpenAPI v3.0 ignores all else, so it stands in an allOf."""
    return {"allOf": [{"$ref": to}]} if v3 else {"$ref": to}


def _without_v3(schema: Mapping[str, Any]) -> Schema:
    dropped = _NOT_IN_V2
    if schema.get("nullable") or schema.get("x-kubernetes-int-or-string"):
        dropped |= _SHAPE
    elif schema.get("x-kubernetes-preserve-unknown-fields"):
        dropped |= _SHAPE - {"type"}
    made: Schema = {}
    for key, value in schema.items():
        if key in dropped:
            continue
        match key:
            case "properties":
                made[key] = {name: _without_v3(one) for name, one in value.items()}
            case "items" | "additionalProperties" if isinstance(value, Mapping):
                made[key] = _without_v3(value)
            case _:
                made[key] = value
    return made
