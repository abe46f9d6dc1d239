"""Defaults against a table of pairs (defaults.yaml), each as upstream shows it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from k8sfromscratch.api.defaults import DEFAULTS, set_defaults
from k8sfromscratch.api.schema import check, schema_of

CASES: list[dict[str, Any]] = list(yaml.safe_load_all((Path(__file__).parent / "defaults.yaml").read_text()))


def completed(given: dict[str, Any]) -> dict[str, Any]:
    kind = (given["apiVersion"], given["kind"])
    obj, warnings = check(kind, given)
    assert warnings == []
    set_defaults(kind, obj)
    return obj


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_as_upstream(case: dict[str, Any]) -> None:
    obj = completed(case["given"])
    assert {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")} == case["expected"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_completing_twice_changes_nothing(case: dict[str, Any]) -> None:
    once = completed(case["given"])
    assert completed(once) == once


@pytest.mark.parametrize("kind", sorted(DEFAULTS), ids=lambda kind: kind[1])
def test_what_is_filled_in_fits_the_schema(kind: tuple[str, str]) -> None:
    obj: dict[str, Any] = {"metadata": {"name": "x"}}
    set_defaults(kind, obj)
    checked = schema_of(kind).check(obj)
    assert (checked.value, checked.unknown, checked.problems) == (obj, (), ())


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
        ("nginx:latest@sha256:00", "Always"),
    ],
)
def test_pull_policy_by_tag(image: str, policy: str) -> None:
    obj = completed({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", "image": image}]}})
    assert obj["spec"]["containers"][0]["imagePullPolicy"] == policy
