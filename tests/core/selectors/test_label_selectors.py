"""Label selectors against upstream's syntax, and against a naive twin."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.core.selectors.labels import EVERYTHING, from_object, matches, parse

LABELS = {"app": "web", "tier": "front", "version": "7"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("app", True),
        ("!app", False),
        ("nothing", False),
        ("!nothing", True),
        ("app=web", True),
        ("app==web", True),
        ("app=db", False),
        ("app!=db", True),
        ("app!=web", False),
        ("nothing!=x", True),
        ("app in (web, db)", True),
        ("app in (db)", False),
        ("app notin (db)", True),
        ("app notin (web)", False),
        ("nothing notin (web)", True),
        ("version>6", True),
        ("version<7", False),
        ("app>1", False),
        ("app=web,tier=front", True),
        (" app = web , tier in (front) , !canary ", True),
        ("app=web,tier=back", False),
        ("app in (web,)", True),
        ("app=", False),
    ],
)
def test_every_syntax_of_kubectl(text: str, holds: bool) -> None:
    assert parse(text).matches(LABELS) is holds


def test_an_empty_value_is_not_an_absent_label() -> None:
    assert parse("app=").matches({"app": ""})
    assert parse("app in ()").matches({"app": ""})
    assert not parse("app=").matches({})


@pytest.mark.parametrize("text", ["=", "a b", "a in b", "a in (b", "a,,b", "a,", "!", "a=b=c", "a=(b)", "-a=b", "x/y/z=1", "a=b c", "a=-b", "a>x", "a" * 64])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="unable to parse requirement"):
        parse(text)


def test_objects_select_as_their_text() -> None:
    selector = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["front", "back"]},
            {"key": "version", "operator": "NotIn", "values": ["8"]},
            {"key": "app", "operator": "Exists"},
            {"key": "canary", "operator": "DoesNotExist"},
        ],
    }
    assert matches(selector, LABELS)
    assert not matches(selector, {**LABELS, "canary": "yes"})
    assert not matches(selector, {**LABELS, "version": "8"})


def test_no_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert not matches(None, LABELS)
    assert matches({}, LABELS)
    assert from_object(None) is None
    assert from_object({}) == EVERYTHING


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(BadRequest, match="not a valid label selector operator"):
        matches({"matchExpressions": [{"key": "a", "operator": "Near"}]}, {})


KEYS = st.sampled_from(["a", "b", "c.d/e"])
VALUES = st.sampled_from(["", "x", "y", "1"])
TERMS = st.one_of(
    st.tuples(KEYS, st.sampled_from(["=", "==", "!="]), st.lists(VALUES, min_size=1, max_size=1)),
    st.tuples(KEYS, st.sampled_from(["in", "notin"]), st.lists(VALUES, min_size=1, max_size=3)),
    st.tuples(KEYS, st.sampled_from(["exists", "!"]), st.just([])),
)
Term = tuple[str, str, list[str]]


def written(term: Term) -> str:
    key, operator, values = term
    match operator:
        case "exists":
            return key
        case "!":
            return f"!{key}"
        case "in" | "notin":
            return f"{key} {operator} ({','.join(values)})"
        case _:
            return f"{key}{operator}{values[0]}"


def naive(term: Term, labels: Mapping[str, str]) -> bool:
    key, operator, values = term
    if operator in ("exists", "!"):
        return (key in labels) == (operator == "exists")
    among = key in labels and labels[key] in values
    return among if operator in ("=", "==", "in") else not among


@given(st.lists(TERMS, max_size=4), st.dictionaries(KEYS, VALUES))
def test_as_the_naive_twin(terms: list[Term], labels: dict[str, str]) -> None:
    assert parse(",".join(written(term) for term in terms)).matches(labels) == all(naive(term, labels) for term in terms)
