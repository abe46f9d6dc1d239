"""One served version of a CustomResourceDefinition, as the verbs need it.  Pure.

    versions_of(definition)      the resources that an established definition has, with their schemas, columns, scale paths

Conversion between versions is the strategy None: only the apiVersion differs.  A webhook would come in `CustomVersion.from_stored`.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import orjson

from k8sfromscratch.api import schema
from k8sfromscratch.api.columns.custom import CustomColumns
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.jsonpath import field_names
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.api.structural import Structural
from k8sfromscratch.components.apiserver.entries import FieldsOf
from k8sfromscratch.components.apiserver.scale import ScalePaths
from k8sfromscratch.core.custom_rules import Rules

Object = dict[str, Any]

ESTABLISHED, NAMES_ACCEPTED, TERMINATING = "Established", "NamesAccepted", "Terminating"


class CustomVersion:
    def __init__(self, resource: Resource, stored: Resource, raw: Mapping[str, Any], *, terminating: bool) -> None:
        """`raw` is one of spec.versions."""
        self.resource = resource
        self.stored = stored
        self.raw = raw
        self.terminating = terminating
        self.schema = Structural((raw.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"})
        self.scale = _scale_paths((raw.get("subresources") or {}).get("scale"))
        self.deprecation = _deprecation(resource, raw)
        self.selectable = tuple(one["jsonPath"].removeprefix(".") for one in raw.get("selectableFields") or ())

    @cached_property
    def columns(self) -> CustomColumns:
        return CustomColumns(self.raw.get("additionalPrinterColumns") or ())

    @cached_property
    def node(self) -> SchemaNode:
        """What server-side apply walks."""
        return self.schema.node(schema.definition, schema.OBJECT_META)

    @cached_property
    def rules(self) -> Rules:
        return Rules(self.schema.raw)

    def faults(self, obj: Object, old: Object | None) -> list[Cause]:
        """Rules are asked of an object that is otherwise right: they may rely on it."""
        return self.schema.faults(obj, old) or self.rules.faults(obj, old)

    def from_stored(self, obj: Object) -> Object:
        """An object of any version of the definition as this one: pruned and defaulted."""
        obj = {**obj, "apiVersion": self.resource.api_version}
        self.schema.prune(obj)
        self.schema.default(obj)
        return obj

    def read_stored(self, stored: bytes) -> bytes:
        """`from_stored` of bytes; the same bytes where nothing differs."""
        return orjson.dumps(self.from_stored(orjson.loads(stored)))


def condition(definition: Object, kind: str) -> Object | None:
    return next((one for one in (definition.get("status") or {}).get("conditions") or () if one["type"] == kind), None)


def holds(definition: Object, kind: str) -> bool:
    found = condition(definition, kind)
    return found is not None and found["status"] == "True"


def stored_resource(definition: Object) -> Resource:
    """The version in which objects are kept, served or not."""
    version = next(one for one in definition["spec"]["versions"] if one["storage"])
    return _resource(definition, version)


def versions_of(definition: Object) -> tuple[list[CustomVersion], CustomVersion]:
    """(the served versions, the stored one)"""
    stored = stored_resource(definition)
    terminating = holds(definition, TERMINATING)
    made = [
        CustomVersion(resource, stored if resource.version == stored.version else replace(resource, version=stored.version), one, terminating=terminating)
        for one in definition["spec"]["versions"]
        if (resource := stored if one["storage"] else _resource(definition, one))
    ]
    of_store = next(one for one in made if one.resource is stored)
    return [one for one in made if one.raw.get("served")], of_store


def fields_of(definition: Object) -> FieldsOf:
    """What field selectors may name in any version."""
    paths: dict[str, tuple[tuple[str, ...], str]] = {name: (tuple(name.split(".")), "") for name in ("metadata.name", "metadata.namespace")}
    for version in definition["spec"]["versions"]:
        for one in version.get("selectableFields") or ():
            fields = field_names(one["jsonPath"])
            if fields:
                paths[one["jsonPath"].removeprefix(".")] = (fields, "")
    return FieldsOf(paths)


def _resource(definition: Object, version: Object) -> Resource:
    spec = definition["spec"]
    names = (definition.get("status") or {}).get("acceptedNames") or spec["names"]
    return Resource(
        spec["group"],
        version["name"],
        names["kind"],
        names["plural"],
        spec["scope"] == "Namespaced",
        names.get("singular", ""),
        tuple(names.get("shortNames") or ()),
        tuple(names.get("categories") or ()),
        tuple(name for name in ("scale", "status") if (version.get("subresources") or {}).get(name) is not None),
        listed_as=names.get("listKind", ""),
        custom=True,
    )


def _scale_paths(raw: Mapping[str, Any] | None) -> ScalePaths | None:
    if raw is None:
        return None
    selector = raw.get("labelSelectorPath")
    return ScalePaths(
        field_names(raw["specReplicasPath"]) or (),
        field_names(raw["statusReplicasPath"]) or (),
        field_names(selector) if selector else None,
    )


def _deprecation(resource: Resource, raw: Mapping[str, Any]) -> str:
    if not raw.get("deprecated"):
        return ""
    return raw.get("deprecationWarning") or f"{resource.api_version} {resource.kind} is deprecated"
