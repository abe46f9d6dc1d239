"""The same engine with a CustomResourceDefinition's schema."""

from typing import Any

import pytest

from k8sfromscratch.api.schema import Schema, custom_resource_schema
from k8sfromscratch.api.schema_compile import UnsupportedSchema

SCHEMA = custom_resource_schema(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1, "maximum": 9},
                    "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
                    "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
                    "ratio": {"type": "number"},
                    "port": {"x-kubernetes-int-or-string": True},
                    "note": {"type": "string", "nullable": True},
                    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"known": {"type": "integer"}}},
                    "inner": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
                    "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                    "nested": {"type": "object", "default": {}, "properties": {"deep": {"type": "integer", "default": 7}}},
                },
            }
        },
    }
)


def faults(spec: dict[str, Any]) -> list[tuple[str, str]]:
    return [(".".join(map(str, problem["loc"])), problem["type"]) for problem in SCHEMA.check({"spec": spec}).problems]


def test_defaults_are_filled_in_and_unknown_fields_pruned() -> None:
    checked = SCHEMA.check({"metadata": {"name": "x", "creationTimestamp": None}, "spec": {"size": 1, "extra": 2}, "zoo": 3})
    assert checked.value == {"metadata": {"name": "x"}, "spec": {"size": 1, "mode": "a", "nested": {"deep": 7}}}
    assert checked.unknown == (("spec", "extra"), ("zoo",))


def test_defaults_are_not_shared_between_objects() -> None:
    first = SCHEMA.check({"spec": {"size": 1}}).value
    first["spec"]["nested"]["deep"] = 8
    assert SCHEMA.check({"spec": {"size": 1}}).value["spec"]["nested"] == {"deep": 7}


def test_nulls() -> None:
    assert SCHEMA.check({"spec": {"size": 1, "mode": None, "note": None}}).value["spec"] == {"size": 1, "mode": "a", "note": None, "nested": {"deep": 7}}
    assert faults({"size": None}) == [("spec.size", "int_type")]


def test_preserved_fields_are_kept_but_known_ones_checked() -> None:
    spec = {"size": 1, "open": {"known": 1, "other": {"x": None}}, "inner": {"apiVersion": "v1", "kind": "Pod", "any": [1]}}
    kept = SCHEMA.check({"spec": spec}).value["spec"]
    assert (kept["open"], kept["inner"]) == (spec["open"], spec["inner"])
    assert faults({"size": 1, "open": {"known": "1"}}) == [("spec.open.known", "int_type")]
    assert faults({"size": 1, "inner": {"kind": "Pod"}}) == [("spec.inner.apiVersion", "missing")]


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({}, "spec.size"),
        ({"size": 0}, "spec.size"),
        ({"size": 10}, "spec.size"),
        ({"size": "1"}, "spec.size"),
        ({"size": True}, "spec.size"),
        ({"size": 1.0}, "spec.size"),
        ({"size": 1, "mode": "c"}, "spec.mode"),
        ({"size": 1, "name": "Ab"}, "spec.name"),
        ({"size": 1, "name": "abcd"}, "spec.name"),
        ({"size": 1, "ratio": "1"}, "spec.ratio"),
        ({"size": 1, "port": 1.5}, "spec.port"),
        ({"size": 1, "tags": {"a": 1}}, "spec.tags.a"),
    ],
)
def test_values_are_checked(spec: dict[str, Any], where: str) -> None:
    assert [path for path, _ in faults(spec)] == [where]


def test_numbers_keep_their_form() -> None:
    value = SCHEMA.check({"spec": {"size": 1, "ratio": 2, "port": "5%"}}).value["spec"]
    assert type(value["ratio"]) is int
    assert value["port"] == "5%"
    assert Schema.compile({"type": "number", "minimum": 1}).check(2).value.__class__ is int


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf", "not", "x-kubernetes-validations"])
def test_what_is_not_checked_is_refused(keyword: str) -> None:
    with pytest.raises(UnsupportedSchema, match=keyword):
        Schema.compile({"type": "object", "properties": {"a": {"type": "string", keyword: []}}})
