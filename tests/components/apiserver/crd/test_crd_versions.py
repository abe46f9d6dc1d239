"""Several versions of one resource, definitions that change, and apiservers that come later or stand beside."""

from collections.abc import Callable
from typing import Any

import orjson

from k8sfromscratch.core.mvcc.types import RangeOp
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.virtual import run_virtual

Run = Callable[..., None]
Make = Callable[..., Any]
Api = Any
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/crontabs.stable.example.com"
CRONTABS = "/apis/stable.example.com/{}/namespaces/default/crontabs"
V1, V2 = CRONTABS.format("v1"), CRONTABS.format("v2")
MERGE = {"content-type": "application/merge-patch+json"}


def with_v2(definition: dict[str, Any], *, stored: str) -> dict[str, Any]:
    """v2 has another default, and no `cronSpec`."""
    first = definition["spec"]["versions"][0]
    second = orjson.loads(orjson.dumps(first))
    spec = second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["cronSpec"]
    spec["zone"] = {"type": "string", "default": "UTC"}
    second["name"] = "v2"
    definition["spec"]["versions"] = [first, second]
    for version in definition["spec"]["versions"]:
        version["storage"] = version["name"] == stored
    return definition


async def _settled(api: Api, path: str, body: Any = None, **more: Any) -> Any:
    """An apiserver's own watch brings a changed definition a turn later."""
    await api.server.feed.caught_up()
    return await api.json("GET" if body is None else "POST", path, body, **more)


def test_versions_share_one_store(with_api: Run, definition: Make, establish: Make, crontab: Make) -> None:
    async def test(api: Api) -> None:
        await establish(api, with_v2(definition(), stored="v1"))
        group = await api.json("GET", "/apis/stable.example.com", status=200)
        assert [one["version"] for one in group["versions"]] == ["v2", "v1"]
        async with api.watch(V2) as events:
            await api.json("POST", V1, crontab(cronSpec="* * * * *"), status=201)
            seen = (await events.next())["object"]
        assert (seen["apiVersion"], seen["spec"]) == ("stable.example.com/v2", {"image": "busybox", "zone": "UTC"})
        assert (await api.json("GET", V2, status=200))["items"][0] == seen
        changed = await api.json("PATCH", f"{V2}/a", {"spec": {"replicas": 3}}, headers=MERGE, status=200)
        assert changed["apiVersion"] == "stable.example.com/v2"
        assert (await api.json("GET", f"{V1}/a", status=200))["spec"]["replicas"] == 3
        raw = await api.storage.range(_stored("a"))
        assert orjson.loads(raw.kvs[0].value)["apiVersion"] == "stable.example.com/v1"

    with_api(test)


def _stored(name: str) -> RangeOp:
    return RangeOp(f"/registry/stable.example.com/crontabs/default/{name}".encode())


def test_the_storage_version_moves(with_api: Run, definition: Make, establish: Make, crontab: Make) -> None:
    async def test(api: Api) -> None:
        made = await establish(api, with_v2(definition(), stored="v1"))
        await api.json("POST", V1, crontab(), status=201)
        async with api.watch(V1) as events:
            moved = {**made, "spec": with_v2(made, stored="v2")["spec"]}
            moved["spec"]["versions"] = moved["spec"]["versions"][:2]
            after = await api.json("PUT", DEFINITION, moved, status=200)
            assert after["status"]["storedVersions"] == ["v1", "v2"]
            # The schema may have changed: watchers list again.
            assert len(await events.rest()) == 1
        assert (await _settled(api, f"{V2}/a", status=200))["spec"] == {"image": "busybox", "zone": "UTC"}
        # Whatever is written moves along, even by a patch that says nothing.
        await api.json("PATCH", f"{V1}/a", {"spec": {"replicas": 2}}, headers=MERGE, status=200)
        raw = await api.storage.range(_stored("a"))
        assert orjson.loads(raw.kvs[0].value)["apiVersion"] == "stable.example.com/v2"
        refused = await api.json("PATCH", DEFINITION, {"spec": {"versions": [after["spec"]["versions"][1]]}}, headers=MERGE, status=422)
        assert refused["details"]["causes"][0]["field"] == "status.storedVersions[0]"

    with_api(test)


def test_a_new_default_shows_on_old_objects(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        await api.json("POST", V1, crontab(), status=201)
        definition = await api.json("GET", DEFINITION)
        spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        spec["suspend"] = {"type": "boolean", "default": False}
        spec["replicas"]["default"] = 7
        await api.json("PUT", DEFINITION, definition, status=200)
        assert (await _settled(api, f"{V1}/a"))["spec"] == {"image": "busybox", "replicas": 7, "suspend": False}
        listed = await api.json("GET", V1, limit="1", status=200)
        assert listed["items"][0]["spec"]["suspend"] is False

    with_crontabs(test)


def test_a_stricter_schema_lets_what_is_there_pass(with_crontabs: Run, crontab: Make) -> None:
    async def test(api: Api) -> None:
        await api.json("POST", V1, crontab(replicas=9, cronSpec="old"), status=201)
        definition = await api.json("GET", DEFINITION)
        spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        spec["replicas"]["maximum"] = 3
        await api.json("PUT", DEFINITION, definition, status=200)
        await api.server.feed.caught_up()
        await api.json("PATCH", f"{V1}/a", {"spec": {"cronSpec": "new"}}, headers=MERGE, status=200)
        await api.json("PATCH", f"{V1}/a", {"spec": {"replicas": 8}}, headers=MERGE, status=422)

    with_crontabs(test)


def test_apiservers_follow_one_store(api_server: Make, definition: Make, establish: Make, crontab: Make) -> None:
    async def main(env: Env) -> None:
        storage = LocalStorage.memory(env)
        async with api_server(env, storage) as one, api_server(env, storage) as other:
            await establish(one, definition())
            await one.json("POST", V1, crontab(), status=201)
            await other.server.feed.caught_up()
            assert (await other.json("GET", f"{V1}/a", status=200))["spec"] == {"image": "busybox"}
            async with other.watch(V1) as events:
                await one.json("DELETE", DEFINITION, status=200)
                assert [event["type"] for event in await events.rest()] == ["ADDED", "DELETED"]
            await other.json("GET", V1, status=404)

    run_virtual(main)


def test_an_apiserver_that_starts_later_knows_all(api_server: Make, definition: Make, establish: Make, crontab: Make) -> None:
    async def main(env: Env) -> None:
        storage = LocalStorage.memory(env)
        async with api_server(env, storage) as first:
            await establish(first, definition())
            await first.json("POST", V1, crontab(), status=201)
            async with api_server(env, storage) as later:
                assert [one["metadata"]["name"] for one in (await later.json("GET", V1, status=200))["items"]] == ["a"]
                async with later.watch(V1) as events:
                    await events.take(1)
                    await first.json("POST", V1, crontab("b"), status=201)
                    assert await events.take(1) == [("ADDED", "b")]

    run_virtual(main)


def test_names_are_given_to_the_first(with_api: Run, definition: Make, establish: Make) -> None:
    async def test(api: Api) -> None:
        await establish(api, definition())
        second = definition()
        second["metadata"]["name"] = "others.stable.example.com"
        second["spec"]["names"] = {"plural": "others", "kind": "CronTab", "shortNames": ["ct"]}
        await api.json("POST", DEFINITION.rpartition("/")[0], second, status=201)
        path = f"{DEFINITION.rpartition('/')[0]}/others.stable.example.com"
        async with api.watch(DEFINITION.rpartition("/")[0], fieldSelector="metadata.name=others.stable.example.com") as events:
            while not (seen := (await events.next())["object"])["status"].get("conditions"):
                pass
        conditions = {one["type"]: (one["status"], one["reason"], one["message"]) for one in seen["status"]["conditions"]}
        assert conditions["NamesAccepted"] == ("False", "ListKindConflict", '"CronTabList" is already in use')
        assert conditions["Established"] == ("False", "NotAccepted", "not all names are accepted")
        await api.json("GET", "/apis/stable.example.com/v1/others", status=404)
        await api.json("DELETE", DEFINITION, status=200)
        async with api.watch(DEFINITION.rpartition("/")[0], fieldSelector="metadata.name=others.stable.example.com") as events:
            while (await events.next())["object"]["status"]["conditions"][1]["status"] != "True":
                pass
        await _settled(api, "/apis/stable.example.com/v1/others", status=200)
        assert (await api.json("GET", path))["status"]["acceptedNames"]["kind"] == "CronTab"

    with_api(test)
