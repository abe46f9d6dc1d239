"""What one rule allows, and which rules cover which: a table after upstream's, and a search for holes against a naive twin."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.authz.rules import Rule, covers, uncovered
from k8sfromscratch.core.authz.types import Attributes, UserInfo

ANN = UserInfo("ann")


def rule(verbs: str, group: str = "", resources: str = "", names: str = "", urls: str = "") -> Rule:
    obj = {"verbs": verbs.split(), "resources": resources.split(), "resourceNames": names.split(), "nonResourceURLs": urls.split()}
    return Rule.of({**obj, "apiGroups": group.split(",") if resources else []})


def asks(verb: str, resource: str, *, group: str = "", name: str = "") -> Attributes:
    plural, _, subresource = resource.partition("/")
    return Attributes(ANN, verb, "default", group, "v1", plural, subresource, name)


@pytest.mark.parametrize(
    ("one", "request_", "allowed"),
    [
        (rule("get", "", "pods"), asks("get", "pods"), True),
        (rule("get", "", "pods"), asks("list", "pods"), False),
        (rule("get", "", "pods"), asks("get", "pods", group="apps"), False),
        (rule("*", "*", "*"), asks("anything", "pods/exec", group="apps"), True),
        (rule("get", "", "pods"), asks("get", "pods/log"), False),
        (rule("get", "", "pods/log"), asks("get", "pods/log"), True),
        (rule("get", "", "pods/log"), asks("get", "pods"), False),
        (rule("update", "*", "*/scale"), asks("update", "deployments/scale", group="apps"), True),
        (rule("update", "*", "*/scale"), asks("update", "deployments", group="apps"), False),
        (rule("get", "", "pods/*"), asks("get", "pods/log"), False),
        (rule("get", "", "secrets", "a b"), asks("get", "secrets", name="b"), True),
        (rule("get", "", "secrets", "a b"), asks("get", "secrets", name="c"), False),
        (rule("list", "", "secrets", "a"), asks("list", "secrets"), False),
    ],
)
def test_resources(one: Rule, request_: Attributes, allowed: bool) -> None:
    assert one.allows(request_) is allowed


@pytest.mark.parametrize(
    ("urls", "path", "allowed"),
    [
        ("/healthz", "/healthz", True),
        ("/healthz", "/healthz/etcd", False),
        ("/healthz/*", "/healthz/etcd", True),
        ("/healthz/*", "/healthz", False),
        ("*", "/anything", True),
        ("/api*", "/apis/apps", True),
    ],
)
def test_paths(urls: str, path: str, allowed: bool) -> None:
    assert rule("get", urls=urls).allows(Attributes(ANN, "get", path=path)) is allowed
    assert not rule("get", "*", "*").allows(Attributes(ANN, "get", path=path))


@pytest.mark.parametrize(
    ("held", "wanted", "covered"),
    [
        ([rule("get list", "", "pods")], [rule("get", "", "pods")], True),
        ([rule("get", "", "pods"), rule("list", "", "pods")], [rule("get list", "", "pods")], True),
        ([rule("get", "", "pods")], [rule("get", "", "pods", "a")], True),
        ([rule("get", "", "pods", "a")], [rule("get", "", "pods")], False),
        ([rule("get", "", "pods", "a"), rule("get", "", "pods", "b")], [rule("get", "", "pods", "a b")], True),
        ([rule("*", "*", "*")], [rule("get", "apps", "deployments/scale")], True),
        ([rule("get", "", "pods")], [rule("*", "", "pods")], False),
        ([rule("get", "*", "*/scale")], [rule("get", "apps", "deployments/scale")], True),
        ([rule("get", urls="/a/*")], [rule("get", urls="/a/b /a/c")], True),
        ([rule("get", urls="/a/*")], [rule("get", urls="/a")], False),
        ([rule("*", "*", "*")], [rule("get", urls="/a")], False),
        ([], [], True),
    ],
)
def test_cover(held: list[Rule], wanted: list[Rule], covered: bool) -> None:
    assert covers(held, wanted) is covered


def test_what_is_missing_is_named_one_by_one() -> None:
    missing = uncovered([rule("get", "", "pods")], [rule("get delete", "", "pods secrets")])
    assert {(next(iter(m.verbs)), next(iter(m.resources))) for m in missing} == {("delete", "pods"), ("get", "secrets"), ("delete", "secrets")}


VERBS, GROUPS, RESOURCES, NAMES = ["get", "list"], ["", "apps"], ["pods", "pods/log"], ["a", "b"]


def some(values: list[str], *, at_least: int = 1) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=at_least, max_size=2)


rules = st.builds(
    lambda v, g, r, n: Rule.of({"verbs": v, "apiGroups": g, "resources": r, "resourceNames": n}),
    some([*VERBS, "*"]),
    some([*GROUPS, "*"]),
    some([*RESOURCES, "*", "*/log"]),
    some(NAMES, at_least=0),
)


@given(st.lists(rules, max_size=3), st.lists(rules, max_size=2))
def test_covered_rules_never_allow_more(held: list[Rule], wanted: list[Rule]) -> None:
    """The promise behind the escalation check: whatever a covered rule allows, the holder could do already."""
    if not covers(held, wanted):
        return
    for verb, group, resource, name in itertools.product([*VERBS, "delete"], [*GROUPS, "batch"], [*RESOURCES, "jobs", "jobs/log"], [*NAMES, "c", ""]):
        request = asks(verb, resource, group=group, name=name)
        if any(r.allows(request) for r in wanted):
            assert any(r.allows(request) for r in held)
