"""The engine of custom resources: pruning, defaults, checks; paths into objects; and Hypothesis against what must always hold."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.api.columns.custom import CustomColumns
from k8sfromscratch.api.jsonpath import PathError, compile_path, field_names
from k8sfromscratch.api.structural import Structural
from k8sfromscratch.api.structural_formats import is_of_format
from k8sfromscratch.api.structural_rules import schema_faults

STRING = {"type": "string"}


def of(spec: dict[str, Any]) -> Structural:
    return Structural({"type": "object", "properties": {"spec": spec}})


def faults(spec: dict[str, Any], value: Any, old: Any = None) -> list[tuple[str, str]]:
    before = None if old is None else {"spec": old}
    return [(cause.field, cause.message) for cause in of(spec).faults({"spec": value}, before)]


def test_pruning() -> None:
    schema = of(
        {
            "type": "object",
            "properties": {
                "known": {"type": "array", "items": {"type": "object", "properties": {"a": STRING}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": STRING}}},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"shut": {"type": "object"}}},
                "pod": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}},
            },
        }
    )
    spec = {
        "known": [{"a": "1", "b": 2}],
        "map": {"k": {"a": "1", "b": 2}},
        "open": {"any": {"thing": 1}, "shut": {"x": 1}},
        "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"x": 1}, "y": 1},
        "extra": 1,
    }
    obj = {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"}, "spec": spec, "zoo": 1}
    assert schema.prune(obj) == ["spec.known[0].b", "spec.map.k.b", "spec.open.shut.x", "spec.pod.spec.x", "spec.pod.y", "spec.extra", "zoo"]
    assert obj["spec"] == {
        "known": [{"a": "1"}],
        "map": {"k": {"a": "1"}},
        "open": {"any": {"thing": 1}, "shut": {}},
        "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}},
    }


def test_defaults() -> None:
    schema = of(
        {
            "type": "object",
            "default": {},
            "properties": {
                "mode": {"type": "string", "default": "a"},
                "note": {"type": "string", "nullable": True, "default": "x"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}},
                "deep": {"type": "object", "default": {"x": 1}, "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 2}}},
            },
        }
    )
    first: dict[str, Any] = {}
    schema.default(first)
    assert first == {"spec": {"mode": "a", "note": "x", "deep": {"x": 1, "y": 2}}}
    first["spec"]["deep"]["x"] = 9  # a default is nobody's to change
    second: dict[str, Any] = {"spec": {"mode": None, "note": None, "list": [{}, {"n": 5}]}}
    schema.default(second)
    assert second == {"spec": {"mode": "a", "note": None, "list": [{"n": 1}, {"n": 5}], "deep": {"x": 1, "y": 2}}}


VALUES: list[tuple[dict[str, Any], Any, list[tuple[str, str]]]] = [
    ({"type": "integer"}, 1.0, []),
    ({"type": "integer"}, 1.5, [("spec", 'Invalid value: "number": spec in body must be of type integer: "number"')]),
    ({"type": "integer"}, True, [("spec", 'Invalid value: "boolean": spec in body must be of type integer: "boolean"')]),
    ({"type": "number"}, 1, []),
    ({"type": "string"}, None, [("spec", 'Invalid value: "null": spec in body must be of type string: "null"')]),
    ({"type": "string", "nullable": True}, None, []),
    ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 1, [("spec", "Invalid value: 1: spec in body should be greater than 1")]),
    ({"type": "number", "multipleOf": 0.5}, 0.7, [("spec", "Invalid value: 0.7: spec in body should be a multiple of 0.5")]),
    ({"type": "string", "maxLength": 2}, "äöü", [("spec", "Too long: may not be more than 2 bytes")]),
    ({"type": "string", "minLength": 2}, "a", [("spec", 'Invalid value: "a": spec in body should be at least 2 chars long')]),
    ({"type": "string", "pattern": "^a+$"}, "b", [("spec", "Invalid value: \"b\": spec in body should match '^a+$'")]),
    ({"type": "string", "enum": ["a", "b"]}, "c", [("spec", 'Unsupported value: "c": supported values: "a", "b"')]),
    ({"type": "integer", "enum": [1, 2]}, 3, [("spec", 'Unsupported value: 3: supported values: "1", "2"')]),
    ({"type": "array", "items": STRING, "maxItems": 1}, ["a", "b"], [("spec", "Too many: 2: must have at most 1 item")]),
    ({"type": "array", "items": STRING, "x-kubernetes-list-type": "set"}, ["a", "a"], [("spec[1]", 'Duplicate value: "a"')]),
    ({"type": "object", "minProperties": 1}, {}, [("spec", "Invalid value: 0: spec in body should have at least 1 properties")]),
    ({"type": "string", "format": "date-time"}, "now", [("spec", 'Invalid value: "now": spec in body must be of type date-time: "now"')]),
    ({"type": "integer", "format": "int32"}, 2**31, [("spec", "Invalid value: 2147483648: Checked value must be of type integer with format int32")]),
    ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^1$"}, 5, []),
    ({"type": "string", "not": {"enum": ["x"]}}, "x", [("<nil>", 'Invalid value: "": "spec" must not validate the schema (not)')]),
    (
        {"type": "string", "allOf": [{"minLength": 2}, {"pattern": "^b"}]},
        "ba",
        [],
    ),
    (
        {"type": "string", "anyOf": [{"minLength": 3}, {"pattern": "^b"}]},
        "a",
        [
            ("<nil>", 'Invalid value: "": "spec" must validate at least one schema (anyOf)'),
            ("spec", 'Invalid value: "a": spec in body should be at least 3 chars long'),
        ],
    ),
]


@pytest.mark.parametrize(("schema", "value", "wanted"), VALUES)
def test_values(schema: dict[str, Any], value: Any, wanted: list[tuple[str, str]]) -> None:
    assert faults(schema, value) == wanted


def test_what_was_wrong_before_may_stay() -> None:
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "properties": {"name": STRING, "port": {"type": "integer", "maximum": 10}}},
    }
    old = [{"name": "a", "port": 99}, {"name": "b", "port": 1}]
    assert faults(ports, [{"name": "b", "port": 2}, {"name": "a", "port": 99}], old) == []
    assert [field for field, _ in faults(ports, [{"name": "a", "port": 98}], old)] == ["spec[0].port"]
    assert [field for field, _ in faults({**ports, "x-kubernetes-list-type": "atomic"}, [{"name": "a", "port": 99}], old)] == ["spec[0].port"]


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("duration", "1h30m", "soon"),
        ("ipv4", "10.0.0.1", "::1"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.1"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("byte", "aGk=", "?"),
        ("email", "a@example.com", "a"),
        ("uri", "https://example.com/", "/x"),
    ],
)
def test_formats(form: str, good: str, bad: str) -> None:
    assert (is_of_format(form, good), is_of_format(form, bad), is_of_format("no-such-format", bad)) == (True, False, True)


OBJECT = {
    "spec": {"a": 1, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "e.x/y": 3, "on": True},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.a", [1]),
        ("{.spec.a}", [1]),
        (".spec.none.below", []),
        (".spec.list[*].n", ["x", "y"]),
        (".spec.list[-1].v", [2]),
        (".spec.list[0:1].n", ["x"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".spec.list[?(@.v>1)].n", ["y"]),
        (".spec.list[?(@.v!=1)].n", ["y"]),
        (".spec.e\\.x/y", [3]),
        (".spec['e.x/y']", [3]),
        ("..n", ["x", "y"]),
    ],
)
def test_paths(path: str, found: list[Any]) -> None:
    assert compile_path(path).find(OBJECT) == found


@pytest.mark.parametrize("path", [".spec[", ".a]b", ".spec[?(@.x=b)]", ".a[x]", ".a b"])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(PathError):
        compile_path(path)


def test_names_of_simple_paths() -> None:
    assert field_names(".spec['a b'].c") == ("spec", "a b", "c")
    assert field_names(".spec.list[0]") is field_names("spec") is field_names("") is None


def test_cells_are_of_their_type() -> None:
    columns = CustomColumns(
        [
            {"name": kind, "type": kind, "jsonPath": path}
            for kind, path in (
                ("integer", ".spec.a"),
                ("integer", ".spec.on"),
                ("string", ".spec.on"),
                ("boolean", ".spec.on"),
                ("date", ".spec.a"),
                ("string", ".spec.list[0]"),
            )
        ]
    )
    now = datetime(2024, 1, 1, tzinfo=UTC)
    assert columns.cells({"metadata": {"name": "x"}, **OBJECT}, now) == ["x", 1, None, "true", True, None, '{"n":"x","v":1}']


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abcs"), below, max_size=3),
    max_leaves=12,
)
LEAVES = st.sampled_from([STRING, {"type": "integer", "default": 3}, {"type": "boolean", "nullable": True}, {"x-kubernetes-int-or-string": True}])
SCHEMAS = st.recursive(
    LEAVES,
    lambda below: st.one_of(
        st.builds(lambda p: {"type": "object", "properties": p}, st.dictionaries(st.sampled_from("abcs"), below, max_size=3)),
        st.builds(lambda i: {"type": "array", "items": i}, below),
        st.builds(lambda a: {"type": "object", "additionalProperties": a}, below),
    ),
    max_leaves=8,
)


@given(SCHEMAS, JSON)
def test_pruned_and_defaulted_is_pruned_and_defaulted(spec: dict[str, Any], value: Any) -> None:
    """Twice is the same as once; what an object without faults becomes has none; nothing that anyone sends makes the engine fail."""
    schema = of(spec)
    assert schema_faults(schema.raw, "s") == []
    obj = {"spec": value}
    schema.prune(obj)
    schema.default(obj)
    again = {"spec": obj["spec"]} if "spec" in obj else {}
    assert schema.prune(again) == []
    schema.default(again)
    assert again == obj
    schema.faults(obj)
    assert schema.faults(obj, obj) == []
