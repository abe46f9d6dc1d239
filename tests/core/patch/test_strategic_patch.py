"""Strategic merge patch: each directive, the order of merged lists, and a naive twin."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.api.errors import ApiError, BadRequest
from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.core.patch.strategic import apply_strategic_patch

_ITEM = {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}}}
_SCHEMA = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": _ITEM, "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name"},
        "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-patch-strategy": "merge"},
        "atomic": {"type": "array", "items": _ITEM},
        "struct": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
        "union": {"type": "object", "x-kubernetes-patch-strategy": "retainKeys", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
        "whole": {"type": "object", "x-kubernetes-patch-strategy": "replace", "properties": {"a": {"type": "string"}}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def unresolved(name):
    raise KeyError(name)


SCHEMA = SchemaNode(_SCHEMA, unresolved)


def named(*names, **values):
    return [{"name": name, **values} for name in names]


# (what it shows, live object, patch, result)
CASES = [
    ("maps merge", {"map": {"a": "1", "b": "2"}}, {"map": {"b": "3", "c": "4"}}, {"map": {"a": "1", "b": "3", "c": "4"}}),
    ("null removes", {"map": {"a": "1", "b": "2"}}, {"map": {"a": None}}, {"map": {"b": "2"}}),
    ("null of what is not there is nothing", {"map": {}}, {"map": {"a": None}, "struct": {"a": None}}, {"map": {}, "struct": {}}),
    ("a map is replaced", {"struct": {"a": "1", "b": "2"}}, {"struct": {"$patch": "replace", "b": "3"}}, {"struct": {"b": "3"}}),
    ("a map is emptied", {"struct": {"a": "1"}}, {"struct": {"$patch": "delete"}}, {"struct": {}}),
    ("a map whose strategy is replace", {"whole": {"a": "1", "x": "2"}}, {"whole": {"a": "3"}}, {"whole": {"a": "3"}}),
    (
        "items merge by key",
        {"items": [{"name": "a", "value": "1"}]},
        {"items": [{"name": "a", "tags": ["t"]}]},
        {"items": [{"name": "a", "value": "1", "tags": ["t"]}]},
    ),
    ("new items come first, as upstream has it", {"items": named("a", "b")}, {"items": named("c")}, {"items": named("c", "a", "b")}),
    ("the patch's order holds for what it names", {"items": named("a", "b", "c")}, {"items": named("c", "a")}, {"items": named("b", "c", "a")}),
    ("an item is deleted", {"items": named("a", "b")}, {"items": [{"name": "a", "$patch": "delete"}]}, {"items": named("b")}),
    ("deleting what is not there", {"items": named("a")}, {"items": [{"name": "x", "$patch": "delete"}]}, {"items": named("a")}),
    ("the list is replaced", {"items": named("a", "b")}, {"items": [{"$patch": "replace"}, {"name": "c"}]}, {"items": named("c")}),
    ("an atomic list is replaced", {"atomic": named("a", "b")}, {"atomic": named("c")}, {"atomic": named("c")}),
    ("a list of what the schema does not know is replaced", {"x": [1]}, {"x": [2]}, {"x": [2]}),
    ("primitives merge without doubles", {"set": ["a", "b"]}, {"set": ["b", "c"]}, {"set": ["a", "b", "c"]}),
    ("primitives are deleted", {"set": ["a", "b", "c"]}, {"$deleteFromPrimitiveList/set": ["a", "x"]}, {"set": ["b", "c"]}),
    (
        "primitives are deleted, added and ordered",
        {"set": ["a", "b", "c"]},
        {"$deleteFromPrimitiveList/set": ["a"], "$setElementOrder/set": ["d", "c", "b"], "set": ["d"]},
        {"set": ["d", "c", "b"]},
    ),
    (
        "items are ordered",
        {"items": named("a", "b", "c")},
        {"$setElementOrder/items": named("c", "a"), "items": [{"name": "a", "value": "1"}]},
        {"items": [{"name": "b"}, {"name": "c"}, {"name": "a", "value": "1"}]},
    ),
    ("an order alone reorders", {"items": named("a", "b")}, {"$setElementOrder/items": named("b", "a")}, {"items": named("b", "a")}),
    ("an order of a list that is nowhere", {"map": {}}, {"$setElementOrder/items": named("b", "a")}, {"map": {}}),
    (
        "a removed item leaves with its order",
        {"items": named("a", "b", "c")},
        {"$setElementOrder/items": named("a", "c"), "items": [{"name": "b", "$patch": "delete"}]},
        {"items": named("a", "c")},
    ),
    ("keys are retained", {"union": {"a": "1", "x": "9"}}, {"union": {"$retainKeys": ["b"], "b": "2"}}, {"union": {"b": "2"}}),
    (
        "a new list has no directives",
        {},
        {"items": [{"name": "a"}, {"name": "b", "$patch": "delete"}], "$setElementOrder/items": named("a", "b")},
        {"items": named("a")},
    ),
    ("a new value has no nulls", {}, {"struct": {"a": None, "b": "1"}}, {"struct": {"b": "1"}}),
    ("a value of another type replaces", {"map": "text"}, {"map": {"a": "1"}}, {"map": {"a": "1"}}),
]


@pytest.mark.parametrize(("live", "patch", "result"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_directives(live, patch, result):
    before = json.dumps([live, patch])
    assert apply_strategic_patch(live, patch, SCHEMA) == result
    assert json.dumps([live, patch]) == before


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"struct": {"$patch": "merge"}},
        {"struct": {"$patch": 5}},
        {"items": [{"name": "a", "$patch": "merge"}]},
        {"items": [{"value": "no key"}]},
        {"items": [{"$patch": "delete"}]},
        {"items": ["text"]},
        {"set": [["list"]]},
        {"$setElementOrder/items": "x"},
        {"$setElementOrder/items": [{"name": "b"}], "items": [{"name": "c"}]},
        {"$deleteFromPrimitiveList/set": "a"},
        {"union": {"$retainKeys": "a"}},
        {"union": {"$retainKeys": ["a"], "b": "1"}},
    ],
)
def test_malformed_patches(patch):
    live = {"items": named("a", "b"), "set": ["a"], "struct": {"a": "1"}, "union": {"a": "1"}}
    with pytest.raises(BadRequest):
        apply_strategic_patch(live, patch, SCHEMA)


NAMES = st.lists(st.sampled_from("abcdef"), unique=True, max_size=6)
ITEMS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("123"), st.booleans()), unique_by=lambda item: item[0], max_size=6)


@given(ITEMS, ITEMS)
def test_merging_by_key_agrees_with_a_dict(live, patch):
    """The naive twin: two dicts by name."""
    merged = apply_strategic_patch(
        {"items": [{"name": name, "value": value} for name, value, _ in live]},
        {"items": [{"name": name, "$patch": "delete"} if gone else {"name": name, "value": value} for name, value, gone in patch]},
        SCHEMA,
    )
    expected = {name: value for name, value, _ in live}
    for name, value, gone in patch:
        expected.pop(name, None) if gone else expected.__setitem__(name, value)
    assert {item["name"]: item["value"] for item in merged["items"]} == expected
    order = [item["name"] for item in merged["items"]]
    kept = [name for name, _, gone in patch if not gone]
    assert [name for name in order if name in kept] == kept, "what the patch names is in its order"
    others = [name for name, _, _ in live if name in expected and name not in kept]
    assert [name for name in order if name in others] == others, "the rest stays in the server's order"


@given(NAMES, NAMES)
def test_an_order_alone_changes_no_content(live, order):
    result = apply_strategic_patch({"items": named(*live)}, {"$setElementOrder/items": named(*order)}, SCHEMA)
    assert sorted(item["name"] for item in result["items"]) == sorted(live)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["a", "b", "replace", "delete"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "items",
                    "set",
                    "struct",
                    "union",
                    "map",
                    "name",
                    "value",
                    "$patch",
                    "$retainKeys",
                    "$setElementOrder/items",
                    "$setElementOrder/set",
                    "$deleteFromPrimitiveList/set",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["items", "set", "struct", "map"]), ANY), ANY)
def test_any_patch_gives_json_or_a_bad_request(live, patch):
    before = json.dumps([live, patch])
    try:
        result = apply_strategic_patch(live, patch, SCHEMA)
    except ApiError as error:
        assert error.http_code == 400
    else:
        json.dumps(result)
    assert json.dumps([live, patch]) == before
