"""Custom resources in discovery and in the OpenAPI documents, and as rows of a table."""

from collections.abc import Callable
from typing import Any

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
