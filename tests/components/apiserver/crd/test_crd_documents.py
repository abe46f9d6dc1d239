"""Custom resources in discovery and in the OpenAPI documents, and as rows of a table."""

import gzip
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from k8sfromscratch.api import openapi

Run = Callable[..., None]
Make = Callable[..., Any]
Api = Any
CRONTABS = "/apis/stable.example.com/v1/namespaces/default/crontabs"
NAME = "com.example.stable.v1.CronTab"


def test_openapi_v3_holds_the_schema(with_crontabs: Run) -> None:
    async def test(api: Api) -> None:
        paths = (await api.json("GET", "/openapi/v3", status=200))["paths"]
        document = await api.json("GET", paths["apis/stable.example.com/v1"]["serverRelativeURL"].partition("?")[0], status=200)
        schemas = document["components"]["schemas"]
        assert schemas[NAME]["properties"]["spec"]["properties"]["replicas"] == {"type": "integer", "minimum": 1, "maximum": 10}
        assert schemas[NAME]["x-kubernetes-group-version-kind"] == [{"group": "stable.example.com", "version": "v1", "kind": "CronTab"}]
        assert schemas[f"{NAME}List"]["properties"]["items"]["items"] == {"allOf": [{"$ref": f"#/components/schemas/{NAME}"}]}
        assert "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" in schemas
        post = document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs"]["post"]
        assert post["requestBody"]["content"]["*/*"]["schema"] == {"$ref": f"#/components/schemas/{NAME}"}

    with_crontabs(test)


def test_openapi_v2_says_less_where_it_has_no_words(with_crontabs: Run) -> None:
    async def test(api: Api) -> None:
        document = await api.json("GET", "/openapi/v2", status=200)
        spec = document["definitions"][NAME]["properties"]["spec"]["properties"]
        assert spec["ports"]["items"]["properties"]["port"] == {"x-kubernetes-int-or-string": True}
        assert spec["image"] == {"type": "string"}
        patch = document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"]
        assert "application/strategic-merge-patch+json" not in patch["consumes"]
        accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        assert NAME.encode() in (await api.request("GET", "/openapi/v2", headers={"accept": accept})).body

    with_crontabs(test)


def test_a_document_is_made_once_until_its_custom_resources_change(
    with_crontabs: Run, definition: Make, establish: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real_v2, real_v3 = openapi.openapi_v2, openapi.openapi_v3
    monkeypatch.setattr(openapi, "openapi_v2", lambda customs: made.append("v2") or real_v2(customs))
    monkeypatch.setattr(openapi, "openapi_v3", lambda group, version, customs: made.append(f"{group}/{version}") or real_v3(group, version, customs))

    async def ask(api: Api) -> list[str]:
        made.clear()
        await api.json("GET", "/openapi/v3", status=200)
        for path in ("v2", "v3/apis/apps/v1", "v3/apis/stable.example.com/v1"):
            await api.json("GET", f"/openapi/{path}", status=200)
        return made.copy()

    async def test(api: Api) -> None:
        first = await ask(api)
        assert len(first) == len(set(first)) > 20 and {"v2", "apps/v1", "stable.example.com/v1"} <= set(first)
        assert await ask(api) == []
        other = definition()
        other["metadata"]["name"] = "crontabs.other.example.com"
        other["spec"]["group"] = "other.example.com"
        await establish(api, other)
        assert sorted(await ask(api)) == ["other.example.com/v1", "stable.example.com/v1", "v2"]

    with_crontabs(test)


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_document_is_compressed_where_that_is_asked_for(with_crontabs: Run, encoding: str) -> None:
    async def test(api: Api) -> None:
        answer = await api.request("GET", "/openapi/v3/apis/stable.example.com/v1", headers={"accept-encoding": encoding})
        assert answer.headers.get("Content-Encoding", "identity") == encoding and answer.headers["Vary"] == "Accept, Accept-Encoding"
        body = gzip.decompress(answer.body) if encoding == "gzip" else answer.body
        assert answer.headers["ETag"] == f'"{hashlib.sha256(body).hexdigest().upper()}"' and NAME.encode() in body

    with_crontabs(test)


def test_aggregated_discovery_has_subresources(with_crontabs: Run) -> None:
    async def test(api: Api) -> None:
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        groups = (await api.json("GET", "/apis", headers={"accept": accept}))["items"]
        version = next(one for one in groups if one["metadata"]["name"] == "stable.example.com")["versions"][0]
        assert version["resources"][0]["categories"] == ["all"]
        assert [one["subresource"] for one in version["resources"][0]["subresources"]] == ["scale", "status"]
        assert version["resources"][0]["subresources"][0]["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}

    with_crontabs(test, subresources=SUBRESOURCES)


SUBRESOURCES = {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}
COLUMNS = [
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "description": "wanted"},
    {"name": "Port", "type": "string", "jsonPath": '.spec.ports[?(@.name=="http")].port', "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


def test_rows_have_the_columns_of_the_definition(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        await api.json("POST", CRONTABS, crontab("a", replicas=3, ports=[{"name": "x", "port": 1}, {"name": "http", "port": 80}]), status=201)
        await api.json("POST", CRONTABS, crontab("b"), status=201)
        table = await api.json("GET", CRONTABS, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}, status=200)
        assert [(one["name"], one["type"], one["priority"]) for one in table["columnDefinitions"]] == [
            ("Name", "string", 0), ("Replicas", "integer", 0), ("Port", "string", 1), ("Age", "date", 0)
        ]  # fmt: skip
        assert [row["cells"] for row in table["rows"]] == [["a", 3, "80", "0s"], ["b", None, None, "0s"]]

    with_crontabs(test, additionalPrinterColumns=COLUMNS)
