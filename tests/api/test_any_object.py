"""Whatever fits a kind's schema can be decoded, completed, validated and printed: nothing stumbles over what is absent or odd."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k8sfromscratch.api import schema
from k8sfromscratch.api.columns import cells, columns
from k8sfromscratch.api.defaults import set_defaults
from k8sfromscratch.api.registry import RESOURCES
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.api.schema_node import SchemaNode
from k8sfromscratch.api.validation import validate_create, validate_update

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DEPTH_MAX = 7

WORDS = st.sampled_from(
    ["", "a", "A b", "default", "None", "Always", "RollingUpdate", "In", "Exists", "ExternalName", "10.0.0.1", "a/b/c", "50%", "* * * * *", "x" * 300]
)
NUMBERS = st.sampled_from([0, 1, -1, 80, 2**31 - 1])
QUANTITIES = st.sampled_from(["0", "1", "-1", "1500m", "1Gi", "1e3"])


def objects(node: SchemaNode, depth: int = 0) -> st.SearchStrategy[Any]:
    if node.int_or_string:
        return st.one_of(NUMBERS, WORDS)
    match node.type, node.format:
        case "string", "date-time":
            return st.just("2026-01-01T00:00:00Z")
        case "string", "byte":
            return st.sampled_from(["", "e30=", "eA=="])
        case "string", "quantity":
            return QUANTITIES
        case "string", _:
            return WORDS
        case "integer" | "number", _:
            return NUMBERS
        case "boolean", _:
            return st.booleans()
        case "array", _ if node.items is not None and depth < DEPTH_MAX:
            return st.lists(st.deferred(lambda: objects(node.items, depth + 1)), max_size=2)  # type: ignore[arg-type]
        case "object", _ if node.is_struct and depth < DEPTH_MAX:
            return struct(node, depth)
        case "object", _ if node.additional is not None and depth < DEPTH_MAX:
            return st.dictionaries(WORDS, st.deferred(lambda: objects(node.additional, depth + 1)), max_size=2)  # type: ignore[arg-type]
        case "array", _:
            return st.just([])
        case _:
            return st.just({})


@st.composite
def struct(draw: st.DrawFn, node: SchemaNode, depth: int) -> dict[str, Any]:
    """Some of the fields, so that absence is as common as presence."""
    names = draw(st.lists(st.sampled_from(sorted(node.properties)), unique=True, max_size=6))
    return {name: draw(objects(node.properties[name], depth + 1)) for name in names if name not in ("apiVersion", "kind")}


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much], derandomize=True
)
@given(data=st.data())
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: f"{resource.group_resource}/{resource.version}")
def test_any_object(resource: Resource, data: st.DataObject) -> None:
    root = schema.field_schema(resource)
    drawn = [
        {**data.draw(struct(root, 0)), **{key: data.draw(objects(root.properties[key], 1)) for key in ("spec",) if key in root.properties}} for _ in range(2)
    ]
    made = []
    for raw in drawn:
        obj, warnings = schema.decode(resource, orjson.dumps(raw), field_validation="Strict")
        assert warnings == []
        set_defaults(resource, obj)
        completed, _ = schema.check(resource, obj, field_validation="Strict")
        again = orjson.loads(orjson.dumps(completed))
        set_defaults(resource, again)
        assert again == completed, "completing twice changes nothing"
        made.append(completed)
    new, old = made
    before = orjson.dumps([new, old])
    for cause in [*validate_create(resource, new), *(c for subresource in ("", "status", "resize") for c in validate_update(resource, new, old, subresource))]:
        assert cause.reason.startswith("FieldValue")
        assert cause.message
    new.setdefault("metadata", {})["name"] = "x"
    assert len(cells(resource, new, NOW)) == len(columns(resource))
    new["metadata"], old["metadata"] = {}, {}
    assert orjson.loads(before)[0].keys() - {"metadata"} == new.keys() - {"metadata"}, "validation changes nothing"
