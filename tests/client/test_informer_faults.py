"""Informers whose server refuses, hangs or forgets: the store is right again as soon as it answers, and only differences are told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from k8sfromscratch.api.registry import CONFIG_MAPS
from k8sfromscratch.client import Client, DirectTransport, Informer, Informers
from k8sfromscratch.client.informer import BACKOFF_MAX_S
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.testing.virtual import run_virtual

HOUR_S = 3600


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}


@asynccontextmanager
async def following(client: Client, env: Env) -> AsyncIterator[tuple[Informer, list[str]]]:
    informers = Informers(client, env)
    informer = informers.get(CONFIG_MAPS, namespace="default")
    told: list[str] = []
    informer.add_handler(lambda old, new: told.append(f"{'-' if new is None else '+'}{(new or old or {})['metadata']['name']}"))
    running = asyncio.ensure_future(informers.run())
    try:
        yield informer, told
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("fault", ["refuse", "hang", "lose answers"])
def test_what_happened_meanwhile_is_told_once(virtually: Callable, fault: str) -> None:
    async def story(world: Any) -> None:
        await world.client.create(CONFIG_MAPS, config_map("stays"))
        await world.client.create(CONFIG_MAPS, config_map("goes"))
        async with following(world.distant, world.env) as (informer, told):
            await informer.wait_synced()
            told.clear()
            world.network.fault = fault
            await asyncio.sleep(HOUR_S)
            await world.client.delete(CONFIG_MAPS, "goes", "default")
            await world.client.create(CONFIG_MAPS, config_map("comes"))
            world.network.fault = None
            await asyncio.sleep(2 * BACKOFF_MAX_S + 700)
            assert sorted(told) == ["+comes", "-goes"]
            assert sorted(obj["metadata"]["name"] for obj in informer.store.list()) == ["comes", "stays"]

    virtually(story)


def test_a_server_that_is_away_is_asked_ever_less_often(virtually: Callable) -> None:
    async def story(world: Any) -> None:
        world.network.fault = "refuse"
        async with following(world.distant, world.env) as (informer, _):
            await asyncio.sleep(HOUR_S)
            lists = len(world.network.asked) / 5
            assert HOUR_S / (BACKOFF_MAX_S + 3) <= lists <= HOUR_S / (BACKOFF_MAX_S / 2 + 3) + 10
            world.network.fault = None
            async with asyncio.timeout(BACKOFF_MAX_S):
                await informer.wait_synced()

    virtually(story)


class Versions:
    """A server of one collection, whose watches do as the script says."""

    def __init__(self, *watches: list[bytes]) -> None:
        self.watches, self.asked = list(watches), []  # type: ignore[var-annotated]

    async def handle(self, request: Request) -> Response:
        version = request.arg("resourceVersion")
        if "watch" not in request.query:
            self.asked.append("list")
            items = [{"metadata": {"name": "a", "resourceVersion": "10"}}]
            return Response(200, orjson.dumps({"metadata": {"resourceVersion": "10"}, "items": items}))
        self.asked.append(f"watch from {version}")
        return Response(200, self._stream(self.watches.pop(0)))

    async def _stream(self, lines: list[bytes]) -> AsyncIterator[bytes]:
        for line in lines:
            await asyncio.sleep(10)
            yield line
        if not self.watches:
            await asyncio.sleep(1e6)


def line(kind: str, version: str, **fields: object) -> bytes:
    return orjson.dumps({"type": kind, "object": {"metadata": {"name": "a", "resourceVersion": version}, **fields}}) + b"\n"


def test_a_watch_goes_on_from_the_last_version_seen_and_a_list_is_made_only_when_that_is_gone() -> None:
    gone = orjson.dumps({"type": "ERROR", "object": {"kind": "Status", "reason": "Expired", "message": "too old", "code": 410}}) + b"\n"
    server = Versions([line("MODIFIED", "11")], [line("BOOKMARK", "15")], [b"{broken\n"], [gone], [])

    async def main(env: Env) -> None:
        async with following(Client(DirectTransport(server.handle, None)), env) as (informer, told):
            await asyncio.sleep(200)
            assert server.asked == ["list", "watch from 10", "watch from 11", "watch from 15", "watch from 15", "list", "watch from 10"]
            assert told == ["+a", "+a", "+a"]
            found = informer.store.get("a")
            assert found is not None and (found["kind"], found["metadata"]["resourceVersion"]) == ("ConfigMap", "10")

    run_virtual(main)


def test_an_object_made_again_under_its_name_is_told_as_gone_and_new() -> None:
    server = Versions(
        [line("MODIFIED", "11") + orjson.dumps({"type": "MODIFIED", "object": {"metadata": {"name": "a", "uid": "2", "resourceVersion": "12"}}}) + b"\n"], []
    )

    async def main(env: Env) -> None:
        async with following(Client(DirectTransport(server.handle, None)), env) as (_, told):
            await asyncio.sleep(60)
            assert told == ["+a", "+a", "-a", "+a"]

    run_virtual(main)
