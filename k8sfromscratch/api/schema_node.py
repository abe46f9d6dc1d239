"""A schema as a tree to walk: what is at this path, and how are lists of it merged?

    field_schema(DEPLOYMENTS).properties["spec"].properties["template"] … .properties["containers"].list_map_keys  →  ("name",)

Both sources become this: the packed definitions of built-in kinds and the structural schemas of CustomResourceDefinitions.  Children
are made on first use, so that a schema may refer to itself (JSONSchemaProps) and unused parts cost nothing.  Checking is
`schema_compile`'s, merging `core.patch`'s.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

Resolver = Callable[[str], "SchemaNode"]
"""The node of a definition by its name; raises KeyError for an unknown one."""

_NONE: Mapping[str, Any] = {}


class SchemaNode:
    """One place of a schema.  `ref` is the definition it came from, empty for an inline one."""

    def __init__(self, raw: Mapping[str, Any], resolve: Resolver, ref: str = "") -> None:
        self.raw = raw
        self.ref = ref
        self._resolve = resolve

    @property
    def type(self) -> str:
        """`object`, `array`, `string`, `integer`, `number`, `boolean`; empty where anything goes."""
        return self.raw.get("type", "")

    @property
    def format(self) -> str:
        """`int32`, `date-time`, `byte`, `quantity`, …"""
        return self.raw.get("format", "")

    @property
    def go_type(self) -> str:
        """The name by which upstream's messages call it: `Container`."""
        return self.ref.rsplit(".", 1)[-1]

    @cached_property
    def properties(self) -> Mapping[str, "SchemaNode"]:
        return {name: self._child(of) for name, of in self.raw.get("properties", _NONE).items()}

    @cached_property
    def items(self) -> "SchemaNode | None":
        return self._child(self.raw["items"]) if "items" in self.raw else None

    @cached_property
    def additional(self) -> "SchemaNode | None":
        """The values of a map; None where there is none, or where they are not described."""
        of = self.raw.get("additionalProperties")
        return self._child(of) if isinstance(of, Mapping) else None

    @property
    def free_form(self) -> bool:
        """Whether fields that are not described are kept."""
        return bool(self.raw.get("x-kubernetes-preserve-unknown-fields")) or self.raw.get("additionalProperties") is True

    @property
    def is_struct(self) -> bool:
        """An object with named fields, not a map and not free-form JSON."""
        return "properties" in self.raw

    @property
    def int_or_string(self) -> bool:
        return bool(self.raw.get("x-kubernetes-int-or-string"))

    @property
    def patch_merge_key(self) -> str:
        return self.raw.get("x-kubernetes-patch-merge-key", "")

    @property
    def patch_strategy(self) -> tuple[str, ...]:
        """Any of `merge`, `replace`, `retainKeys`."""
        return tuple(name for name in self.raw.get("x-kubernetes-patch-strategy", "").split(",") if name)

    @property
    def list_type(self) -> str:
        """`atomic`, `set` or `map`; empty, which means atomic, where the schema is silent."""
        return self.raw.get("x-kubernetes-list-type", "")

    @property
    def list_map_keys(self) -> tuple[str, ...]:
        return tuple(self.raw.get("x-kubernetes-list-map-keys", ()))

    @property
    def map_type(self) -> str:
        """`atomic` or `granular`; empty, which means granular, where the schema is silent."""
        return self.raw.get("x-kubernetes-map-type", "")

    def child(self, step: str | int) -> "SchemaNode | None":
        """The node of a field or a map's value (a string), or of a list's item (a number); None where nothing is described."""
        if isinstance(step, int):
            return self.items
        return self.properties.get(step) or self.additional

    def _child(self, raw: Mapping[str, Any]) -> "SchemaNode":
        ref = raw.get("$ref")
        if ref is None:
            return SchemaNode(raw, self._resolve)
        definition = self._resolve(ref)
        if len(raw) == 1:
            return definition
        # What stands beside a reference (a patch strategy, a map type) holds for this place only.
        return SchemaNode({**definition.raw, **{key: value for key, value in raw.items() if key != "$ref"}}, self._resolve, definition.ref)
