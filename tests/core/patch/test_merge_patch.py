"""RFC 7386: its table of examples, and a naive twin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.core.patch.merge_patch import apply_merge_patch, merge

EXAMPLES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), EXAMPLES)
def test_examples_of_the_rfc(target, patch, result):
    assert merge(target, patch) == result


def test_an_object_stays_one():
    for patch in ([], "x", None, 5):
        with pytest.raises(BadRequest):
            apply_merge_patch({}, patch)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=1),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner),
)


def paths(value, path=()):
    """Every leaf: the naive twin works on a flat map of them."""
    if isinstance(value, dict) and value:
        return {leaf: of for key, inner in value.items() for leaf, of in paths(inner, (*path, key)).items()}
    return {path: value}


@given(st.dictionaries(st.sampled_from("abc"), JSON), st.dictionaries(st.sampled_from("abc"), JSON))
def test_each_leaf_of_the_patch_decides_its_own_path(target, patch):
    result = paths(merge(target, patch))
    for path, value in paths(patch).items():
        if value is None:
            assert not any(leaf[: len(path)] == path for leaf in result)
        elif value != {}:
            assert result[path] == value
    touched = {path[:depth] for path in paths(patch) for depth in range(1, len(path) + 1)}
    for path, value in paths(target).items():
        if not any(path[:depth] in touched for depth in range(1, len(path) + 1)) and path:
            assert result[path] == value


@given(JSON, JSON)
def test_applying_twice_is_applying_once(target, patch):
    assert merge(merge(target, patch), patch) == merge(target, patch)
