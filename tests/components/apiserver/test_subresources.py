"""Scale, binding, eviction, ephemeral containers, approval."""

import pytest

from k8sfromscratch.components.apiserver.deletes import Deletes

PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
MERGE = {"content-type": "application/merge-patch+json"}


def pod(name="p", **spec):
    return {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


async def make_deployment(api):
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["b", "a"]}]}
    template["metadata"]["labels"]["tier"] = "front"
    await api.json("POST", DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": selector, "template": template}}, status=201)


def test_scale_is_one_number_of_a_workload(with_api):
    async def main(api):
        await make_deployment(api)
        scale = await api.json("GET", f"{DEPLOYMENTS}/d/scale", status=200)
        assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
        assert scale["spec"] == {"replicas": 2}
        assert scale["status"]["selector"] == "app=web,tier notin (a,b)"
        table = await api.json("GET", f"{DEPLOYMENTS}/d/scale", headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}, status=200)
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
        assert table["rows"][0]["cells"][:3] == ["d", 2, 0]
        scale["spec"]["replicas"] = 5
        assert (await api.json("PUT", f"{DEPLOYMENTS}/d/scale", scale, status=200))["spec"]["replicas"] == 5
        changed = await api.json("GET", f"{DEPLOYMENTS}/d")
        assert (changed["spec"]["replicas"], changed["metadata"]["generation"]) == (5, 2)
        await api.json("PUT", f"{DEPLOYMENTS}/d/scale", scale, status=409)
        assert (await api.json("PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 0}}, headers=MERGE, status=200))["spec"]["replicas"] == 0
        refused = await api.json("PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": -1}}, headers=MERGE, status=422)
        assert refused["details"]["causes"][0]["field"] == "spec.replicas"
        await api.json("GET", "/api/v1/namespaces/default/configmaps/a/scale", status=404)

    with_api(main)


def test_a_pod_is_bound_once(with_api):
    async def main(api):
        await api.json("POST", PODS, pod())
        answer = await api.json("POST", f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "n1"}, "metadata": {"annotations": {"a": "b"}}}, status=201)
        assert answer["status"] == "Success"
        bound = await api.json("GET", f"{PODS}/p")
        assert bound["spec"]["nodeName"] == "n1"
        assert bound["metadata"]["annotations"] == {"a": "b"}
        assert [(c["type"], c["status"]) for c in bound["status"]["conditions"]] == [("PodScheduled", "True")]
        refused = await api.json("POST", f"{PODS}/p/binding", {"target": {"name": "n2"}}, status=409)
        assert 'is already assigned to node "n1"' in refused["message"]
        await api.json("POST", PODS, pod("q"))
        await api.json("POST", "/api/v1/namespaces/default/bindings", {"metadata": {"name": "q"}, "target": {"name": "n2"}}, status=201)
        assert (await api.json("GET", f"{PODS}/q"))["spec"]["nodeName"] == "n2"

    with_api(main)


def test_a_gated_pod_is_not_bound(with_api):
    async def main(api):
        await api.json("POST", PODS, pod(schedulingGates=[{"name": "example.com/wait"}]), status=201)
        refused = await api.json("POST", f"{PODS}/p/binding", {"target": {"name": "n1"}}, status=409)
        assert "non-empty .spec.schedulingGates" in refused["message"]

    with_api(main)


@pytest.mark.parametrize("body", [{}, {"target": {}}, {"target": {"kind": "Pod", "name": "x"}}, {"target": "n1"}])
def test_a_binding_needs_a_node(with_api, body):
    async def main(api):
        await api.json("POST", PODS, pod())
        assert (await api.json("POST", f"{PODS}/p/binding", body))["code"] in (400, 422)

    with_api(main)


@pytest.mark.parametrize("annotations", [["x"], {"a": {"b": 1}}, "x"])
def test_a_binding_brings_a_pod_no_annotations_that_are_none(with_api, annotations):
    async def main(api):
        await api.json("POST", PODS, pod())
        await api.json("POST", f"{PODS}/p/binding", {"metadata": {"annotations": annotations}, "target": {"name": "n1"}}, status=400)
        assert "nodeName" not in (await api.json("GET", f"{PODS}/p"))["spec"]

    with_api(main)


async def running(api, name):
    await api.json("POST", PODS, pod(name))
    await api.json("POST", f"{PODS}/{name}/binding", {"target": {"name": "n1"}})
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await api.json("PATCH", f"{PODS}/{name}/status", {"status": status}, headers=MERGE, status=200)


async def budget(api, allowed):
    await api.json("POST", BUDGETS, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}, status=201)
    status = {"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1 + allowed, "desiredHealthy": 1, "expectedPods": 2}
    await api.json("PATCH", f"{BUDGETS}/b/status", {"status": status}, headers=MERGE, status=200)


def test_eviction_asks_the_budget_and_is_charged_to_it(with_api):
    async def main(api):
        for name in ("p", "q"):
            await running(api, name)
        await budget(api, allowed=1)
        await api.json("POST", f"{PODS}/p/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}, status=201)
        assert (await api.json("GET", f"{PODS}/p"))["metadata"]["deletionTimestamp"]
        charged = await api.json("GET", f"{BUDGETS}/b")
        assert charged["status"]["disruptionsAllowed"] == 0
        assert list(charged["status"]["disruptedPods"]) == ["p"]
        refused = await api.request("POST", f"{PODS}/q/eviction", {"apiVersion": "policy/v1", "kind": "Eviction"})
        assert refused.status == 429
        assert "Retry-After" not in refused.headers, "client libraries would sleep, and repeat by themselves"
        assert b"Cannot evict pod as it would violate the pod's disruption budget." in refused.body
        assert "deletionTimestamp" not in (await api.json("GET", f"{PODS}/q"))["metadata"]

    with_api(main)


def test_eviction_without_a_budget_is_a_delete(with_api):
    async def main(api):
        await running(api, "p")
        await api.json("POST", f"{PODS}/p/eviction", {"deleteOptions": {"gracePeriodSeconds": 0}}, status=201)
        await api.json("GET", f"{PODS}/p", status=404)

    with_api(main)


def test_a_pod_that_becomes_ready_while_its_eviction_is_judged_needs_the_budget_after_all(with_api, monkeypatch):
    async def main(api):
        await running(api, "p")
        unready = {"conditions": [{"type": "Ready", "status": "False"}]}
        await api.json("PATCH", f"{PODS}/p/status", {"status": unready}, headers=MERGE, status=200)
        await budget(api, allowed=0)
        delete_object, ready = Deletes.delete_object, [{"conditions": [{"type": "Ready", "status": "True"}]}]

        async def meanwhile(self, *given):
            if ready:
                await api.json("PATCH", f"{PODS}/p/status", {"status": ready.pop()}, headers=MERGE, status=200)
            return await delete_object(self, *given)

        monkeypatch.setattr(Deletes, "delete_object", meanwhile)
        await api.json("POST", f"{PODS}/p/eviction", {}, status=429)
        assert not ready and "deletionTimestamp" not in (await api.json("GET", f"{PODS}/p"))["metadata"]

    with_api(main)


def test_ephemeral_containers_are_added_through_their_subresource_alone(with_api):
    async def main(api):
        await running(api, "p")
        debug = [{"name": "debug", "image": "busybox"}]
        changed = await api.json(
            "PATCH", f"{PODS}/p/ephemeralcontainers", {"spec": {"ephemeralContainers": debug, "nodeName": "n9"}}, headers=MERGE, status=200
        )
        assert changed["spec"]["ephemeralContainers"][0]["name"] == "debug"
        assert changed["spec"]["nodeName"] == "n1"

    with_api(main)


def test_methods_that_a_subresource_has_not(with_api):
    async def main(api):
        await api.json("POST", PODS, pod())
        assert (await api.json("DELETE", f"{PODS}/p/status"))["code"] == 405
        assert (await api.json("GET", f"{PODS}/p/nonsense"))["code"] == 404
        assert (await api.json("POST", f"{PODS}/p/status", {}))["code"] == 405

    with_api(main)
