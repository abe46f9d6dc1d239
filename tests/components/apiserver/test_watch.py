"""WATCH: where it starts, what it tells, how it ends."""

import asyncio

import pytest

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


def pod(name, **labels):
    return {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def test_events_follow_a_version_in_order(with_api):
    async def main(api):
        first = await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        async with api.watch(CONFIG_MAPS, resourceVersion=first["metadata"]["resourceVersion"]) as events:
            second = await api.json("POST", CONFIG_MAPS, api.config_map("b"))
            await api.json("PUT", f"{CONFIG_MAPS}/b", {**second, "data": {"k": "v"}})
            await api.json("DELETE", f"{CONFIG_MAPS}/b")
            told = [await events.next() for _ in range(3)]
        assert [event["type"] for event in told] == ["ADDED", "MODIFIED", "DELETED"]
        assert told[0]["object"] == second
        assert told[2]["object"]["data"] == {"k": "v"}
        versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in told]
        assert versions == sorted(set(versions)), "a deletion has a version of its own"

    with_api(main)


def test_without_a_version_a_watch_begins_with_what_is_there(with_api):
    async def main(api):
        for name in ("b", "a"):
            await api.json("POST", CONFIG_MAPS, api.config_map(name))
        for version in ({}, {"resourceVersion": "0"}):
            async with api.watch(CONFIG_MAPS, **version) as events:
                assert await events.take(2) == [("ADDED", "a"), ("ADDED", "b")]
                await api.json("POST", CONFIG_MAPS, api.config_map("c"))
                assert await events.take(1) == [("ADDED", "c")]
                await api.json("DELETE", f"{CONFIG_MAPS}/c")

    with_api(main)


def test_a_watch_of_one_namespace_or_name_is_told_nothing_else(with_api):
    async def main(api):
        async with api.watch("/api/v1/configmaps", fieldSelector="metadata.name=b") as by_name, api.watch(CONFIG_MAPS) as by_namespace:
            await api.json("POST", "/api/v1/namespaces/kube-system/configmaps", {"metadata": {"name": "a"}})
            await api.json("POST", "/api/v1/namespaces/kube-system/configmaps", {"metadata": {"name": "b"}})
            await api.json("POST", CONFIG_MAPS, api.config_map("b"))
            assert await by_name.take(2) == [("ADDED", "b"), ("ADDED", "b")]
            assert await by_namespace.take(1) == [("ADDED", "b")]

    with_api(main)


def test_entering_and_leaving_a_selector_are_additions_and_deletions(with_api):
    async def main(api):
        async with api.watch(PODS, labelSelector="app=web") as events:
            await api.json("POST", PODS, pod("p", app="db"), status=201)
            for labels in ({"app": "web"}, {"app": "web", "x": "y"}, {"app": "db"}):
                await api.json("PATCH", f"{PODS}/p", {"metadata": {"labels": labels}}, headers={"content-type": "application/merge-patch+json"}, status=200)
            await api.json("DELETE", f"{PODS}/p")
            told = [await events.next() for _ in range(3)]
            assert [event["type"] for event in told] == ["ADDED", "MODIFIED", "DELETED"]
            assert told[2]["object"]["metadata"]["labels"]["app"] == "web", "the state before it left"
            assert int(told[2]["object"]["metadata"]["resourceVersion"]) > int(told[1]["object"]["metadata"]["resourceVersion"])

    with_api(main)


def test_a_kubelet_sees_its_pods_when_they_are_bound(with_api):
    async def main(api):
        async with api.watch("/api/v1/pods", fieldSelector="spec.nodeName=n1") as events:
            await api.json("POST", PODS, pod("p"))
            await api.json("POST", f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "n1"}}, status=201)
            event = await events.next()
            assert (event["type"], event["object"]["spec"]["nodeName"]) == ("ADDED", "n1")

    with_api(main)


def test_too_old_a_version_is_told_as_an_error_event(with_api):
    async def main(api):
        cache = api.server.catalog.find("", "v1", "configmaps").cache
        first = await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        for entry in range(3):
            await api.json("POST", CONFIG_MAPS, api.config_map(f"b{entry}"))
        await api.json("GET", CONFIG_MAPS)
        cache.replace(cache.entries(), api.server.feed.revision)  # as after a lost watch: history is gone
        async with api.watch(CONFIG_MAPS, resourceVersion=first["metadata"]["resourceVersion"]) as events:
            told = await events.rest()
        assert [event["type"] for event in told] == ["ERROR"]
        assert told[0]["object"]["code"] == 410
        assert told[0]["object"]["reason"] == "Expired"

    with_api(main)


def test_initial_events_end_with_a_bookmark_that_says_so(with_api):
    async def main(api):
        await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
        async with api.watch(CONFIG_MAPS, **query) as events:
            assert await events.take(1) == [("ADDED", "a")]
            bookmark = await events.next()
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert bookmark["object"]["kind"] == "ConfigMap"
        refused = await api.json("GET", CONFIG_MAPS, watch="true", sendInitialEvents="true", status=422)
        assert "resourceVersionMatch" in refused["message"]

    with_api(main)


def test_a_watch_ends_at_its_timeout_with_a_bookmark_to_resume_from(with_api):
    async def main(api):
        async with api.watch(CONFIG_MAPS, timeoutSeconds="1", allowWatchBookmarks="true") as events:
            await api.json("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "other"}})
            told = await events.rest()
        assert [event["type"] for event in told] == ["BOOKMARK"]
        assert int(told[0]["object"]["metadata"]["resourceVersion"]) >= 1

    with_api(main)


def test_a_stopping_server_ends_its_watches(with_api):
    async def main(api):
        async with api.watch(CONFIG_MAPS) as events:
            ended = asyncio.ensure_future(events.rest())
            await asyncio.sleep(0)
            api.server.watches.stop(api.server.catalog.caches.values())
            assert await ended == []

    with_api(main)


def test_a_watcher_that_is_too_slow_is_ended_and_others_are_not(with_api):
    async def main(api):
        cache = api.server.catalog.find("", "v1", "configmaps").cache
        cache._window = 4
        slow_response = await api.request("GET", CONFIG_MAPS, watch="true", resourceVersion=str(api.server.feed.revision))
        slow = slow_response.body
        assert await anext(slow) == b""
        async with api.watch(CONFIG_MAPS) as quick:
            for index in range(20):
                await api.json("POST", CONFIG_MAPS, api.config_map(f"c{index:02}"))
                assert await quick.take(1) == [("ADDED", f"c{index:02}")]
            assert [chunk async for chunk in slow] == []

    with_api(main)


def test_a_quiet_watch_gets_a_bookmark_each_minute(with_api):
    async def main(api):
        async with api.watch(CONFIG_MAPS, allowWatchBookmarks="true") as events:
            await api.json("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "other"}})
            start = asyncio.get_running_loop().time()
            bookmark = await events.next()
            assert bookmark["type"] == "BOOKMARK"
            assert asyncio.get_running_loop().time() - start == pytest.approx(60, abs=1)
            version = bookmark["object"]["metadata"]["resourceVersion"]
        created = await api.json("POST", CONFIG_MAPS, api.config_map("a"))
        async with api.watch(CONFIG_MAPS, resourceVersion=version) as events:
            assert (await events.next())["object"] == created

    with_api(main)


def test_open_watches_are_in_the_metrics_and_closed_ones_are_not(with_api):
    async def main(api):
        async def open_watches():
            text = (await api.request("GET", "/metrics")).body.decode()
            return [line for line in text.splitlines() if line.startswith('apiserver_longrunning_requests{resource="configmaps",verb="WATCH"}')]

        async with api.watch("/api/v1/namespaces/default/configmaps") as events:
            await api.json("POST", "/api/v1/namespaces/default/configmaps", api.config_map("a"), status=201)
            await events.next()
            assert await open_watches() == ['apiserver_longrunning_requests{resource="configmaps",verb="WATCH"} 1.0']
        assert await open_watches() == ['apiserver_longrunning_requests{resource="configmaps",verb="WATCH"} 0.0']

    with_api(main)
