"""What a CustomResourceDefinition may not say, in upstream's words and at upstream's paths."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

Run = Callable[..., None]
Make = Callable[..., Any]
Api = Any
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA = "spec.versions[0].schema.openAPIV3Schema"
SPEC = f"{SCHEMA}.properties[spec]"
STRING = {"type": "string"}


def refused(run: Run, definition: dict[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    async def test(api: Api) -> None:
        answer = await api.json("POST", DEFINITIONS, definition, status=422)
        assert answer["details"]["kind"] == "CustomResourceDefinition"
        found.extend((one["field"], one["message"]) for one in answer["details"]["causes"])

    run(test)
    return found


SPECS: list[tuple[dict[str, Any], str, str]] = [
    ({"properties": {"a": STRING}}, f"{SPEC}.type", "Required value: must not be empty for specified object fields"),
    ({"type": "text"}, f"{SPEC}.type", 'Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"'),
    ({"type": "array"}, f"{SPEC}.items", "Required value: must be specified"),
    (
        {"type": "array", "items": STRING, "uniqueItems": True},
        f"{SPEC}.uniqueItems",
        "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
    ),
    (
        {"type": "object", "properties": {"a": STRING}, "additionalProperties": STRING},
        f"{SPEC}.additionalProperties",
        "Forbidden: additionalProperties and properties are mutual exclusive",
    ),
    ({"type": "object", "$ref": "#/definitions/x"}, f"{SPEC}.$ref", "Forbidden: $ref is not supported"),
    ({"type": "string", "x-kubernetes-int-or-string": True}, f"{SPEC}.type", 'Invalid value: "string": must be empty if x-kubernetes-int-or-string is true'),
    (
        {"type": "object", "x-kubernetes-embedded-resource": True},
        f"{SPEC}.properties",
        "Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
    ),
    (
        {"type": "object", "x-kubernetes-list-type": "set"},
        f"{SPEC}.type",
        'Invalid value: "object": must be array if x-kubernetes-list-type is specified',
    ),
    (
        {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"},
        f"{SPEC}.x-kubernetes-list-map-keys",
        "Required value: must not be empty if x-kubernetes-list-type is map",
    ),
    (
        {
            "type": "array",
            "items": {"type": "object", "properties": {"name": STRING}},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
        f"{SPEC}.items.properties[name].default",
        "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
    ),
    ({"type": "integer", "default": "x"}, f"{SPEC}.default", 'Invalid value: "string":  in body must be of type integer: "string"'),
    ({"type": "object", "default": {"a": 1}}, f"{SPEC}.default", 'Invalid value: {"a":1}: must not have unknown fields'),
    ({"type": "object", "anyOf": [{"type": "object"}]}, f"{SPEC}.anyOf[0].type", "Forbidden: must be empty to be structural"),
    (
        {"type": "object", "oneOf": [{"properties": {"a": {"minLength": 1}}}]},
        f"{SPEC}.properties[a]",
        f"Required value: because it is defined in {SPEC}.oneOf[0].properties[a]",
    ),
    (
        {"type": "string", "pattern": "["},
        f"{SPEC}.pattern",
        'Invalid value: "[": must be a valid regular expression, but isn\'t: error: unclosed character class',
    ),
    (
        {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 'a'"}]},
        f"{SPEC}.x-kubernetes-validations[0].rule",
        "Invalid value: \"self > 'a'\": compilation failed: ERROR: <input>:1:6: found no matching overload for '_>_' applied to '(int, string)'\\n"
        " | self > 'a'\\n | .....^",
    ),
    (
        {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > oldSelf"}]}},
        f"{SPEC}.items.x-kubernetes-validations[0].rule",
        f'Invalid value: "self > oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within {SPEC}.items.x-kubernetes-validations[0]',
    ),
]


@pytest.mark.parametrize(("spec", "field", "message"), SPECS)
def test_schemas_that_are_not_structural(with_api: Run, definition: Make, spec: dict[str, Any], field: str, message: str) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    assert refused(with_api, definition(schema=schema)) == [(field, message.replace("\\n", "\n"))]


def changed(definition: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copy = orjson.loads(orjson.dumps(definition))
    at, *steps = copy, *path.split(".")
    for step in steps[:-1]:
        at = at[int(step)] if step.isdigit() else at[step]
    at[steps[-1]] = value
    return copy  # type: ignore[no-any-return]


FIELDS: list[tuple[str, Any, str, str]] = [
    ("metadata.name", "x.stable.example.com", "metadata.name", 'Invalid value: "x.stable.example.com": must be spec.names.plural+"."+spec.group'),
    ("spec.scope", "Galaxy", "spec.scope", 'Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"'),
    ("spec.versions.0.storage", False, "spec.versions", 'Invalid value: ["v1"]: must have exactly one version marked as storage version'),
    ("spec.versions.0.schema", None, "spec.versions[0].schema.openAPIV3Schema", "Required value: schemas are required"),
    ("spec.names.listKind", "CronTab", "spec.names.listKind", 'Invalid value: "CronTab": kind and listKind may not be the same'),
    ("spec.conversion", {"strategy": "Webhook"}, "spec.conversion.strategy", 'Unsupported value: "Webhook": supported values: "None"'),
    (
        "spec.preserveUnknownFields",
        True,
        "spec.preserveUnknownFields",
        "Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
    ),
    (
        "spec.versions.0.subresources",
        {"scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".spec.replicas"}},
        "spec.versions[0].subresources.scale.statusReplicasPath",
        'Invalid value: ".spec.replicas": should be a json path under .status',
    ),
    (
        "spec.versions.0.additionalPrinterColumns",
        [{"name": "A", "type": "text", "jsonPath": ".spec.a"}],
        "spec.versions[0].additionalPrinterColumns[0].type",
        'Invalid value: "text": must be one of boolean,date,integer,number,string',
    ),
    (
        "spec.versions.0.additionalPrinterColumns",
        [{"name": "A", "type": "string", "jsonPath": ".spec["}],
        "spec.versions[0].additionalPrinterColumns[0].jsonPath",
        'Invalid value: ".spec[": unterminated array',
    ),
    (
        "spec.versions.0.selectableFields",
        [{"jsonPath": ".spec.nothing"}],
        "spec.versions[0].selectableFields[0].jsonPath",
        'Invalid value: ".spec.nothing": does not exist in the schema',
    ),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), FIELDS)
def test_fields_of_a_definition(with_api: Run, definition: Make, path: str, value: Any, field: str, message: str) -> None:
    assert refused(with_api, changed(definition(), path, value)) == [(field, message)]


def test_what_an_update_may_not_change(with_crontabs: Run) -> None:
    async def test(api: Api) -> None:
        path = f"{DEFINITIONS}/crontabs.stable.example.com"
        definition = await api.json("GET", path)
        answer = await api.json("PUT", path, changed(changed(definition, "spec.scope", "Cluster"), "spec.names.kind", "Other"), status=422)
        assert [one["field"] for one in answer["details"]["causes"]] == ["spec.scope", "spec.names.kind"]
        emptied = await api.json("PUT", f"{path}/status", changed(definition, "status.storedVersions", []), status=422)
        assert emptied["details"]["causes"][0]["field"] == "status.storedVersions"

    with_crontabs(test)


def test_protected_groups_need_approval(with_api: Run, definition: Make) -> None:
    made = changed(changed(definition(), "spec.group", "batch.k8s.io"), "metadata.name", "crontabs.batch.k8s.io")
    assert refused(with_api, made)[0][0] == "metadata.annotations[api-approved.kubernetes.io]"
