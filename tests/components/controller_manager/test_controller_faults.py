"""The controllers behind a bad connection: late caches, failing requests, a server that goes away.  They do not overshoot, and they arrive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest

from k8sfromscratch.api.registry import DEPLOYMENTS, PODS, REPLICA_SETS
from k8sfromscratch.client.transport import Reply, TransportError


class Late:
    """Watches show everything `delay_s` late; requests are served at once."""

    def __init__(self, inner, delay_s):
        self._inner, self._delay_s = inner, delay_s

    async def request(self, *args, **kwargs):
        return await self._inner.request(*args, **kwargs)

    @asynccontextmanager
    async def stream(self, *args, **kwargs):
        async with self._inner.stream(*args, **kwargs) as reply:
            yield replace(reply, chunks=self._later(reply.chunks))

    async def _later(self, chunks) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            await asyncio.sleep(self._delay_s)
            yield chunk

    async def close(self):
        await self._inner.close()


class Flaky(Late):
    """Some requests fail before they reach the server, some after it has done what they ask; watches break off."""

    def __init__(self, inner, rng):
        super().__init__(inner, 0.01)
        self._rng = rng

    async def request(self, method, path, **kwargs):
        dice = self._rng.random()
        if dice < 0.1:
            raise TransportError(f"{method} {path}: connection refused")
        if dice < 0.15:
            body = {"kind": "Status", "status": "Failure", "reason": "InternalError", "code": 500, "message": "no"}
            return Reply(500, {}, orjson.dumps(body))
        reply = await self._inner.request(method, path, **kwargs)
        if dice > 0.93:
            raise TransportError(f"{method} {path}: connection reset")
        return reply

    async def _later(self, chunks):
        async for chunk in chunks:
            if self._rng.random() < 0.05:
                raise TransportError("the watch broke off")
            yield chunk


async def available(cluster, count, image="i:1"):
    d = await cluster.get(DEPLOYMENTS, "web")
    pods = await cluster.ready_pods()
    images = {p["spec"]["containers"][0]["image"] for p in pods}
    return len(pods) == count == d["status"].get("availableReplicas", 0) == d["status"].get("updatedReplicas", 0) and images <= {image}


@pytest.mark.parametrize("delay_s", [0.5, 3.0])
def test_a_late_cache_makes_no_pod_too_many(play, make_workload, delay_s):
    async def story(cluster):
        made = set()
        await cluster.apply(REPLICA_SETS, "web", make_workload(5))
        for _ in range(400):
            made |= {p["metadata"]["name"] for p in await cluster.every(PODS)}
            await asyncio.sleep(0.1)
        assert len(made) == 5
        await cluster.client.delete(PODS, sorted(made)[0], "default")
        for _ in range(400):
            made |= {p["metadata"]["name"] for p in await cluster.every(PODS)}
            await asyncio.sleep(0.1)
        assert len(made) == 6
        await cluster.client.patch(REPLICA_SETS, "web", {"spec": {"replicas": 3}}, "default")
        await asyncio.sleep(40)
        assert len(await cluster.every(PODS)) == 3

    play(story, wrap=lambda inner, env: Late(inner, delay_s))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_failing_requests_delay_but_do_not_mislead(play, make_workload, seed):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(4))
        await cluster.until(lambda: available(cluster, 4), timeout_s=900)
        await cluster.client.patch(DEPLOYMENTS, "web", {"spec": {"template": make_workload(image="i:2")["template"]}}, "default")
        await cluster.until(lambda: available(cluster, 4, "i:2"), timeout_s=900)
        await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
        await cluster.until(lambda: nothing(cluster), timeout_s=900)

    async def nothing(cluster):
        return not await cluster.every(PODS) and not await cluster.every(REPLICA_SETS) and await cluster.get(DEPLOYMENTS, "web") is None

    play(story, seed=seed, wrap=lambda inner, env: Flaky(inner, env.rng))
