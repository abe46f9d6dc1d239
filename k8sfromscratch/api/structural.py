"""A CustomResourceDefinition's schema at work on its objects: pruning, defaults, checks.

    schema = Structural(openapi_v3_schema)
    schema.prune(obj)                 takes away what the schema does not know; returns the paths, for Strict and Warn
    schema.default(obj)               fills in what it has defaults for
    schema.faults(obj, old)           causes in upstream's words; what `old` had already is let pass (KEP-4008)

Built-in kinds are decoded by `api.schema`, whose errors are those of Go's decoder.  Custom ones are JSON first and typed afterwards: each wrong
value is a cause of its own, with the words of upstream's OpenAPI validator.  So this is a second engine, over the same kind of schema.
What a schema itself may be is `structural_rules`', single values are `structural_values`'.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from typing import Any

from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.api.structural_values import Checker

Object = dict[str, Any]

META_FIELDS = frozenset({"apiVersion", "kind", "metadata"})
UNKNOWN_MAX = 100
"""More unknown fields than these tell nobody anything; upstream stops at the same number."""

_NONE: Mapping[str, Any] = {}


class Structural:
    """`raw` is an openAPIV3Schema that `structural_rules` has passed."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw

    def prune(self, obj: Object) -> list[str]:
        """Changes `obj`; the paths of what was taken away, in its order."""
        unknown: list[str] = []
        _prune(self.raw, obj, "", unknown, is_resource=True)
        return unknown

    def default(self, obj: Object) -> None:
        """Changes `obj`."""
        if self.has_defaults:
            _default(self.raw, obj)

    @cached_property
    def has_defaults(self) -> bool:
        return _has_defaults(self.raw)

    def faults(self, obj: Object, old: Object | None = None) -> list[Cause]:
        return self._checker.check(obj, old)

    @cached_property
    def _checker(self) -> Checker:
        return Checker(self.raw)

    def node(self, resolve: Any, object_meta: str) -> SchemaNode:
        """The tree that server-side apply walks, with what every object has."""
        common = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"$ref": object_meta}}
        return SchemaNode({**self.raw, "properties": {**self.raw.get("properties", {}), **common}}, resolve)


def pruned_paths(raw: Mapping[str, Any], value: Any, *, is_resource: bool = False) -> list[str]:
    """What pruning would take away of a value of the schema; the value stays."""
    unknown: list[str] = []
    _prune(raw, deepcopy(value), "", unknown, is_resource=is_resource)
    return unknown


def _prune(schema: Mapping[str, Any], value: Any, path: str, unknown: list[str], *, is_resource: bool = False) -> None:
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, Mapping):
            for index, item in enumerate(value):
                _prune(items, item, f"{path}[{index}]", unknown)
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            for index, item in enumerate(value):
                _prune(_NONE, item, f"{path}[{index}]", unknown)
        return
    if not isinstance(value, dict):
        return
    is_resource = is_resource or bool(schema.get("x-kubernetes-embedded-resource"))
    properties, additional = schema.get("properties") or _NONE, schema.get("additionalProperties")
    preserved = schema.get("x-kubernetes-preserve-unknown-fields") or additional is True
    for name in list(value):
        if is_resource and name in META_FIELDS:
            continue
        child = properties.get(name)
        if child is None and isinstance(additional, Mapping):
            child = additional
        if child is not None:
            _prune(child, value[name], f"{path}.{name}" if path else name, unknown)
        elif not preserved:
            if len(unknown) < UNKNOWN_MAX:
                unknown.append(f"{path}.{name}" if path else name)
            del value[name]


def _default(schema: Mapping[str, Any], value: Any) -> None:
    if isinstance(value, dict):
        properties, additional = schema.get("properties") or _NONE, schema.get("additionalProperties")
        for name, child in properties.items():
            if child.get("default") is not None and (name not in value or (value[name] is None and not child.get("nullable"))):
                value[name] = deepcopy(child["default"])
        for name, one in value.items():
            below = properties.get(name) or additional
            if isinstance(below, Mapping):
                if one is None and isinstance(additional, Mapping) and name not in properties and _replaces_null(below):
                    value[name] = deepcopy(below["default"])
                _default(below, value[name])
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, Mapping):
            for index, one in enumerate(value):
                if one is None and _replaces_null(items):
                    value[index] = deepcopy(items["default"])
                _default(items, value[index])


def _replaces_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("default") is not None and not schema.get("nullable")


def _has_defaults(schema: Mapping[str, Any]) -> bool:
    if schema.get("default") is not None:
        return True
    below = [*(schema.get("properties") or _NONE).values(), schema.get("items"), schema.get("additionalProperties")]
    return any(_has_defaults(one) for one in below if isinstance(one, Mapping))
