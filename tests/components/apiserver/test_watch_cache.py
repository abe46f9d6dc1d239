"""The watch cache's log as watchers read it: woken in time, told once."""

import asyncio

import pytest

from k8sfromscratch.components.apiserver import cache as cache_module
from k8sfromscratch.components.apiserver.cache import Listener, ResourceCache
from k8sfromscratch.components.apiserver.entries import FieldsOf
from k8sfromscratch.process.clock import Env
from k8sfromscratch.testing.virtual import run_virtual

STORED = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%b"}}'


def new_cache() -> ResourceCache:
    return ResourceCache(FieldsOf({}))


def put(cache: ResourceCache, key: str, revision: int) -> None:
    cache.put(key, STORED % key.encode(), revision)
    cache.wake_soon()


def test_after_a_quiet_time_watchers_are_woken_at_once_and_in_a_storm_together():
    async def main(env: Env):
        loop, cache, count = asyncio.get_running_loop(), new_cache(), 100
        woken: list[list[float]] = [[] for _ in range(count)]

        async def watch(times: list[float]) -> None:
            listener = Listener(cache)
            while True:
                await listener.wait(loop.time() + 3600)
                times.append(loop.time())

        watching = [asyncio.create_task(watch(times)) for times in woken]
        await asyncio.sleep(1)
        began_s = loop.time()
        for revision in range(1, 11):
            put(cache, f"default/{revision}", revision)
            await asyncio.sleep(0.0001)
        await asyncio.sleep(1)
        rest_s = count * cache_module._TELLING_S
        assert all(times[0] == began_s and len(times) == 2 for times in woken), "the first event at once, the other nine together"
        assert all(began_s + rest_s <= times[1] <= began_s + rest_s + 0.001 for times in woken)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)

    run_virtual(main)


def test_a_listener_is_woken_when_its_time_is_over():
    async def main(env: Env):
        loop, cache = asyncio.get_running_loop(), new_cache()
        listener, began_s = Listener(cache), asyncio.get_running_loop().time()
        await listener.wait(began_s + 5)
        assert loop.time() == pytest.approx(began_s + 5)
        await listener.wait(began_s + 7)
        assert loop.time() == pytest.approx(began_s + 7)
        listener.close()
        assert not cache._listening

    run_virtual(main)


def test_watchers_that_are_as_far_are_told_the_same_bytes():
    async def main(env: Env):
        cache = new_cache()
        for revision, key in enumerate(("a/x", "b/y", "a/z"), start=1):
            put(cache, key, revision)
        one, other, late = cache.cursor_after(0), cache.cursor_after(0), cache.cursor_after(1)
        told = [cache.lines(cursor, len(cache.read(cursor)), "a") for cursor in (one, other)]
        assert told[0] is told[1] and told[0].count(b"\n") == 2 and b"b/y" not in told[0]
        assert cache.lines(late, len(cache.read(late)), None).count(b"\n") == 2
        put(cache, "a/new", 4)
        assert b"a/new" in cache.lines(one, len(cache.read(one)), "a") and b"a/z" not in cache.lines(one, 1, "a")

    run_virtual(main)
