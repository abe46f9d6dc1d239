"""PATCH in its three forms, and what patches may not do."""

import asyncio

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
JSON = {"content-type": "application/json-patch+json"}
MERGE = {"content-type": "application/merge-patch+json"}
STRATEGIC = {"content-type": "application/strategic-merge-patch+json"}


def deployment():
    containers = [{"name": "web", "image": "nginx:1"}, {"name": "log", "image": "fluent"}]
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}
    return {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template}}


def test_each_form_changes_the_object_in_its_way(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a", k="1", l="2"))
        merged = await api.json("PATCH", f"{CONFIG_MAPS}/a", {"data": {"k": None, "m": "3"}}, headers=MERGE, status=200)
        assert merged["data"] == {"l": "2", "m": "3"}
        operations = [{"op": "test", "path": "/data/l", "value": "2"}, {"op": "move", "from": "/data/l", "path": "/data/n"}]
        assert (await api.json("PATCH", f"{CONFIG_MAPS}/a", operations, headers=JSON, status=200))["data"] == {"m": "3", "n": "2"}
        await api.json("POST", DEPLOYMENTS, deployment(), status=201)
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:2"}]}}}}
        patched = await api.json("PATCH", f"{DEPLOYMENTS}/d", patch, headers=STRATEGIC, status=200)
        assert [(c["name"], c["image"]) for c in patched["spec"]["template"]["spec"]["containers"]] == [("web", "nginx:2"), ("log", "fluent")]
        assert patched["metadata"]["generation"] == 2

    with_api(main)


def test_a_patch_that_does_not_fit_is_refused_and_changes_nothing(with_api):
    async def main(api):
        created = await api.json("POST", CONFIG_MAPS, api.config_map("a", k="1"))
        failed = await api.json("PATCH", f"{CONFIG_MAPS}/a", [{"op": "test", "path": "/data/k", "value": "2"}], headers=JSON, status=422)
        assert failed["reason"] == "Invalid"
        await api.json("PATCH", f"{CONFIG_MAPS}/a", [{"op": "remove", "path": "/data/x"}], headers=JSON, status=422)
        assert await api.json("GET", f"{CONFIG_MAPS}/a") == created

    with_api(main)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, {}),
        (JSON, [{"op": "replace", "path": "", "value": 5}]),
        (JSON, b"["),
        (MERGE, []),
        (MERGE, {"metadata": {"name": "b"}}),
        (MERGE, {"metadata": {"namespace": "other"}}),
        (STRATEGIC, {"data": {"$patch": "sideways"}}),
        (STRATEGIC, "text"),
    ],
)
def test_malformed_patches_are_the_clients_fault(with_api, headers, body):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a", k="1"))
        refused = await api.json("PATCH", f"{CONFIG_MAPS}/a", body, headers=headers)
        assert refused["code"] == 400, refused

    with_api(main)


@pytest.mark.parametrize(
    ("headers", "body", "fields"),
    [
        (JSON, [{"op": "nonsense", "path": "/data"}], [None]),
        (JSON, [{"op": "add", "path": "data", "value": 1}], [None]),
        (JSON, [{"op": "add", "path": "/data"}], [None]),
        (JSON, [{"op": "replace", "path": "/data", "value": 5}], ["patch"]),
        (MERGE, {"data": 5}, ["patch"]),
        (MERGE, {"metadata": "x"}, ["patch"]),
        (MERGE, {"kind": "Secret"}, ["patch"]),
    ],
)
def test_patches_that_leave_no_object_of_the_kind_are_invalid(with_api, headers, body, fields):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a", k="1"))
        refused = await api.json("PATCH", f"{CONFIG_MAPS}/a", body, headers=headers, status=422)
        assert [cause.get("field") for cause in refused["details"]["causes"]] == fields

    with_api(main)


def test_only_patches_are_patches(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        refused = await api.json("PATCH", f"{CONFIG_MAPS}/a", {}, status=415)
        assert "application/strategic-merge-patch+json" in refused["message"]
        await api.json("PATCH", f"{CONFIG_MAPS}/missing", {}, headers=MERGE, status=404)

    with_api(main)


def test_concurrent_patches_are_all_applied(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        patches = [api.json("PATCH", f"{CONFIG_MAPS}/a", {"data": {f"k{index}": "v"}}, headers=MERGE, status=200) for index in range(30)]
        await asyncio.gather(*patches)
        assert len((await api.json("GET", f"{CONFIG_MAPS}/a"))["data"]) == 30

    with_api(main)


def test_a_patch_with_a_version_holds_it_to_that_version(with_api):
    async def main(api):
        created = await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        version = created["metadata"]["resourceVersion"]
        await api.json("PATCH", f"{CONFIG_MAPS}/a", {"data": {"k": "1"}, "metadata": {"resourceVersion": version}}, headers=MERGE, status=200)
        await api.json("PATCH", f"{CONFIG_MAPS}/a", {"data": {"k": "2"}, "metadata": {"resourceVersion": version}}, headers=MERGE, status=409)

    with_api(main)
