"""Structural OpenAPI schemas as types, and how property names are spelled in expressions.

Source: the table "Type checking" in Kubernetes' documentation of validation rules.  Properties whose names cannot be escaped into an
identifier, and those that `x-kubernetes-preserve-unknown-fields` lets through, are not reachable from expressions.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from k8sfromscratch.core.cel.types import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, CelType, Field, list_of, map_of, object_of

_KEYWORDS = frozenset(
    (
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
    )
)
_ESCAPABLE = re.compile(r"[A-Za-z_.\-/][A-Za-z0-9_.\-/]*")
_SPECIAL = re.compile(r"__|[.\-/]")
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_STRINGS = {"byte": BYTES, "duration": DURATION, "date": TIMESTAMP, "date-time": TIMESTAMP}
_METADATA = object_of("metadata", {"name": STRING, "generateName": STRING})


def escape_property(name: str) -> str | None:
    """`a-b` → `a__dash__b`, `in` → `__in__`; None for a name no identifier can spell.

    >>> escape_property("app.kubernetes.io/name"), escape_property("namespace"), escape_property("0")
    ('app__dot__kubernetes__dot__io__slash__name', '__namespace__', None)
    """
    if name in _KEYWORDS:
        return f"__{name}__"
    if _ESCAPABLE.fullmatch(name) is None:
        return None
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], name)


def schema_type(schema: Mapping[str, Any], name: str = "selfType", *, resource: bool = False) -> CelType:
    """The type of values that the schema admits.  `resource`: the root of a custom resource, which has apiVersion, kind and metadata besides."""
    type_ = _typed(schema, name, resource or bool(schema.get("x-kubernetes-embedded-resource")))
    return replace(type_, nullable=True) if schema.get("nullable") else type_


def _typed(schema: Mapping[str, Any], name: str, resource: bool) -> CelType:
    if schema.get("x-kubernetes-int-or-string"):
        return DYN
    match schema.get("type"):
        case "boolean":
            return BOOL
        case "integer":
            return INT
        case "number":
            return DOUBLE
        case "string":
            return _STRINGS.get(schema.get("format", ""), STRING)
        case "array":
            element = schema_type(schema.get("items") or {}, f"{name}.@idx")
            keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
            return replace(list_of(element), list_type=schema.get("x-kubernetes-list-type") or "atomic", map_keys=keys)
        case "object":
            return _object(schema, name, resource)
    return DYN


def _object(schema: Mapping[str, Any], name: str, resource: bool) -> CelType:
    extra = schema.get("additionalProperties")
    if extra:
        return map_of(STRING, schema_type(extra if isinstance(extra, Mapping) else {}, f"{name}.@elem"))
    fields: dict[str, Field] = {}
    if resource:
        fields = {"apiVersion": Field("apiVersion", STRING), "kind": Field("kind", STRING), "metadata": Field("metadata", _METADATA)}
    for key, inner in (schema.get("properties") or {}).items():
        escaped = escape_property(key)
        if escaped is None or (resource and key == "metadata"):
            continue
        fields[escaped] = Field(key, schema_type(inner, f"{name}.{escaped}"))
    return CelType("object", name=name, fields=fields)
