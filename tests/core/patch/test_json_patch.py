"""RFC 6902: its own examples, and the refusals."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.api.errors import ApiError, BadRequest, Invalid, RequestEntityTooLarge
from k8sfromscratch.core.patch.json_patch import OPERATIONS_MAX, apply_json_patch
from k8sfromscratch.core.patch.values import same

# (document, patch, result), RFC 6902 Appendix A
EXAMPLES = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo", "foo": "bar"}),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    ({"foo": ["all", "grass", "cows", "eat"]}, [{"op": "move", "from": "/foo/1", "path": "/foo/3"}], {"foo": ["all", "cows", "eat", "grass"]}),
    ({"baz": "qux", "foo": ["a", 2, "c"]}, [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}], None),
    ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"grandchild": {}}}], {"foo": "bar", "child": {"grandchild": {}}}),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], None),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}], {"foo": ["bar", ["abc", "def"]]}),
    ({"a": 1}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": 1, "b": 1}),
    ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
]


@pytest.mark.parametrize(("document", "patch", "result"), EXAMPLES)
def test_examples_of_the_rfc(document, patch, result):
    before = json.dumps(document)
    assert apply_json_patch(document, patch) == (document if result is None else result)
    assert json.dumps(document) == before, "the given object is not changed"


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "test", "path": "/a", "value": True}],
        [{"op": "test", "path": "/a", "value": "1"}],
        [{"op": "remove", "path": "/x"}],
        [{"op": "replace", "path": "/x", "value": 1}],
        [{"op": "add", "path": "/x/y", "value": 1}],
        [{"op": "add", "path": "/l/4", "value": 1}],
        [{"op": "add", "path": "/l/01", "value": 1}],
        [{"op": "remove", "path": "/l/-"}],
        [{"op": "add", "path": "/a/b", "value": 1}],
        [{"op": "move", "from": "/m", "path": "/m/n"}],
        [{"op": "copy", "from": "/x", "path": "/y"}],
    ],
)
def test_what_does_not_fit_is_invalid(patch):
    with pytest.raises(Invalid) as caught:
        apply_json_patch({"a": 1, "l": [1, 2], "m": {"n": 1}}, patch)
    assert caught.value.details["causes"][0]["reason"] == "UnexpectedServerResponse"


@pytest.mark.parametrize(
    "patch",
    [
        None,
        {},
        "x",
    ],
)
def test_what_is_no_patch_is_a_bad_request(patch):
    with pytest.raises(BadRequest):
        apply_json_patch({"a": 1}, patch)


@pytest.mark.parametrize(
    "operation",
    [
        1,
        {},
        {"op": "jump", "path": "/a"},
        {"op": "add", "path": "a", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "copy", "path": "/a"},
    ],
)
def test_what_is_no_operation_is_invalid(operation):
    with pytest.raises(Invalid, match="rejected our request due to an error in our request"):
        apply_json_patch({"a": 1}, [operation])


def test_patches_cannot_grow_without_bound():
    with pytest.raises(RequestEntityTooLarge):
        apply_json_patch({}, [{"op": "test", "path": "", "value": {}}] * (OPERATIONS_MAX + 1))
    doubling = [{"op": "add", "path": "/a", "value": [1] * 10}] + [{"op": "copy", "from": "/a", "path": "/a/-"}] * 40
    with pytest.raises(RequestEntityTooLarge):
        apply_json_patch({}, doubling)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab~/", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/-0", max_size=2), inner, max_size=3),
)
POINTER = st.lists(st.sampled_from(["a", "b", "0", "1", "-", "~0", "~1", ""]), max_size=3).map(lambda parts: "".join("/" + part for part in parts))
OPERATION = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": POINTER, "from": POINTER, "value": JSON},
)


@given(st.dictionaries(st.text("ab~/", max_size=2), JSON, max_size=3), st.lists(OPERATION, max_size=5))
def test_any_patch_gives_json_or_an_api_error_and_leaves_its_inputs_alone(document, patch):
    before = json.dumps([document, patch])
    try:
        json.dumps(apply_json_patch(document, patch))
    except ApiError as error:
        assert error.http_code in (400, 422)
    assert json.dumps([document, patch]) == before


@given(st.dictionaries(st.text("ab", max_size=2), JSON), JSON)
def test_what_is_added_is_found_by_test(document, value):
    patch = [{"op": "add", "path": "/k", "value": value}, {"op": "test", "path": "/k", "value": value}]
    assert same(apply_json_patch(document, patch), {**document, "k": value})
