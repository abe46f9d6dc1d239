"""The published documents: complete, and with what kubectl looks for."""

from collections.abc import Iterator
from typing import Any

import pytest

from k8sfromscratch.api.openapi import openapi_v2, openapi_v3
from k8sfromscratch.api.registry import RESOURCES


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


@pytest.mark.parametrize("group_version", sorted({(r.group, r.version) for r in RESOURCES}), ids=lambda gv: "/".join(gv))
def test_each_document_is_complete(group_version: tuple[str, str]) -> None:
    document = openapi_v3(*group_version)
    schemas = document["components"]["schemas"]
    assert {ref.removeprefix("#/components/schemas/") for ref in references(document)} - set(schemas) == set()
    described = {kind["kind"] for schema in schemas.values() for kind in schema.get("x-kubernetes-group-version-kind", ())}
    assert {r.kind for r in RESOURCES if (r.group, r.version) == group_version} - described == set()


def test_kubectl_learns_that_the_server_validates_fields() -> None:
    patch = openapi_v3("apps", "v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]


def test_kubectl_can_explain() -> None:
    schemas = openapi_v3("", "v1")["components"]["schemas"]
    spec = schemas["io.k8s.api.core.v1.Pod"]["properties"]["spec"]
    assert spec["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]
    assert spec["description"]
    assert schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"] == "int-or-string"


def test_all_groups_in_one_document() -> None:
    document = openapi_v2()
    assert {ref.removeprefix("#/definitions/") for ref in references(document)} - set(document["definitions"]) == set()
    post = document["paths"]["/api/v1/namespaces/{namespace}/pods"]["post"]
    assert post["parameters"][-1]["schema"] == {"$ref": "#/definitions/io.k8s.api.core.v1.Pod"}


def test_an_unknown_version_has_no_document() -> None:
    with pytest.raises(KeyError):
        openapi_v3("apps", "v9")
