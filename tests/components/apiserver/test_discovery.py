"""What is served: discovery in both forms, OpenAPI, version, health, metrics."""

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList,application/json;q=0.9"


def test_the_legacy_documents_agree_with_each_other(with_api):
    async def main(api):
        assert (await api.json("GET", "/api", status=200))["versions"] == ["v1"]
        groups = await api.json("GET", "/apis", status=200)
        assert [group["name"] for group in groups["groups"]][:2] == ["apiregistration.k8s.io", "apps"]
        for group in groups["groups"]:
            alone = await api.json("GET", f"/apis/{group['name']}", status=200)
            assert alone == {"kind": "APIGroup", "apiVersion": "v1", **group}
            for version in group["versions"]:
                listed = await api.json("GET", f"/apis/{version['groupVersion']}", status=200)
                assert listed["groupVersion"] == version["groupVersion"]
                assert listed["resources"]
        autoscaling = next(group for group in groups["groups"] if group["name"] == "autoscaling")
        assert autoscaling["preferredVersion"]["version"] == "v2"

    with_api(main)


def test_the_aggregated_form_says_the_same(with_api):
    async def main(api):
        for form in ("v2", "v2beta1"):
            response = await api.request("GET", "/apis", headers={"accept": AGGREGATED.format(form)})
            assert response.content_type == f"application/json;g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList"
            aggregated = await api.json("GET", "/apis", headers={"accept": AGGREGATED.format(form)})
            for group in aggregated["items"]:
                for version in group["versions"]:
                    legacy = await api.json("GET", f"/apis/{group['metadata']['name']}/{version['version']}")
                    flat = {(r["name"], r["kind"], tuple(r["verbs"])) for r in legacy["resources"]}
                    nested = {(r["resource"], r["responseKind"]["kind"], tuple(r["verbs"])) for r in version["resources"]}
                    nested |= {
                        (f"{r['resource']}/{s['subresource']}", s["responseKind"]["kind"], tuple(s["verbs"]))
                        for r in version["resources"]
                        for s in r.get("subresources", ())
                    }
                    assert flat == nested
        core = await api.json("GET", "/api", headers={"accept": AGGREGATED.format("v2")})
        pods = next(r for r in core["items"][0]["versions"][0]["resources"] if r["resource"] == "pods")
        assert pods["shortNames"] == ["po"]
        assert pods["scope"] == "Namespaced"

    with_api(main)


def test_discovery_is_not_sent_twice(with_api):
    async def main(api):
        accept = {"accept": AGGREGATED.format("v2")}
        first = await api.request("GET", "/apis", headers=accept)
        again = await api.request("GET", "/apis", headers={**accept, "if-none-match": first.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")

    with_api(main)


def test_openapi_v3_has_a_document_a_group_version_named_by_its_hash(with_api):
    async def main(api):
        index = await api.json("GET", "/openapi/v3", status=200)
        assert {"api/v1", "apis/apps/v1", "apis/autoscaling/v1", "apis/autoscaling/v2"} <= set(index["paths"])
        path, _, digest = index["paths"]["apis/apps/v1"]["serverRelativeURL"].partition("?hash=")
        document = await api.request("GET", path, hash=digest)
        assert "immutable" in document.headers["Cache-Control"]
        assert document.headers["ETag"] == f'"{digest}"'
        content = await api.json("GET", path)
        assert "io.k8s.api.apps.v1.Deployment" in content["components"]["schemas"]
        assert (await api.request("GET", path, headers={"if-none-match": f'"{digest}"'})).status == 304

    with_api(main)


def test_openapi_v2_is_json_and_protobuf_for_old_clients(with_api):
    async def main(api):
        document = await api.json("GET", "/openapi/v2", status=200)
        assert document["swagger"] == "2.0"
        assert "io.k8s.api.core.v1.Pod" in document["definitions"]
        wanted = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        protobuf = await api.request("GET", "/openapi/v2", headers={"accept": wanted})
        assert (protobuf.status, protobuf.content_type) == (200, wanted.replace("@", "."))
        assert protobuf.body.startswith(b"\x0a\x032.0"), "swagger: 2.0 is the first field; kubectl 1.27 reads the rest in tests/kubectl"
        assert (await api.request("GET", "/openapi/v2", headers={"accept": "text/html"})).status == 406

    with_api(main)


def test_version_health_and_metrics(with_api):
    async def main(api):
        assert (await api.json("GET", "/version"))["gitVersion"].startswith("v1.35")
        for path in ("/livez", "/readyz", "/healthz"):
            assert (await api.request("GET", path)).body == b"ok"
        verbose = await api.request("GET", "/readyz", verbose="")
        assert b"[+]poststarthook/rbac/bootstrap-roles ok" in verbose.body
        assert (await api.request("GET", "/readyz/etcd")).status == 200
        metrics = (await api.request("GET", "/metrics")).body
        assert b'apiserver_request_total{code="200",component="apiserver",group="",resource="",scope="cluster",subresource="",verb="GET",version=""}' in metrics
        assert b'apiserver_storage_objects{resource="namespaces"} 4.0' in metrics
        api.server.stopping = True
        assert (await api.request("GET", "/readyz")).status == 500
        assert (await api.request("GET", "/livez")).status == 200

    with_api(main)


def test_made_up_resources_do_not_become_labels_of_metrics(with_api):
    async def main(api):
        await api.request("GET", "/apis/evil.example/v1/things")
        assert b"evil" not in (await api.request("GET", "/metrics")).body

    with_api(main)


def test_events_are_one_object_in_two_groups(with_api):
    async def main(api):
        core, group = "/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"
        about = {"kind": "Pod", "namespace": "default", "name": "p"}
        await api.json(
            "POST",
            core,
            {"metadata": {"name": "e"}, "involvedObject": about, "message": "hello", "reason": "Because", "type": "Normal", "count": 2},
            status=201,
        )
        seen = await api.json("GET", f"{group}/e", status=200)
        assert (seen["apiVersion"], seen["note"], seen["regarding"], seen["deprecatedCount"]) == ("events.k8s.io/v1", "hello", about, 2)
        assert [item["note"] for item in (await api.json("GET", group))["items"]] == ["hello"]
        async with api.watch(group) as events:
            assert (await events.next())["object"]["note"] == "hello"
        selected = await api.json("GET", core, fieldSelector="involvedObject.name=p,type=Normal")
        assert len(selected["items"]) == 1

    with_api(main)


def test_autoscalers_are_one_object_in_two_versions(with_api):
    async def main(api):
        v1, v2 = (f"/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers" for version in ("v1", "v2"))
        spec = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}
        await api.json("POST", v1, {"metadata": {"name": "h"}, "spec": spec}, status=201)
        target = {"type": "Utilization", "averageUtilization": 70}
        assert (await api.json("GET", f"{v2}/h", status=200))["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
        assert (await api.json("GET", f"{v1}/h", status=200))["spec"]["targetCPUUtilizationPercentage"] == 70

    with_api(main)
