import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from k8sfromscratch.api.registry import CONFIG_MAPS, EVENTS, NODES
from k8sfromscratch.client import Client, EventRecorder

ABOUT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default", "uid": "u1"}}


@asynccontextmanager
async def recording(client: Client, world: Any, **options: str) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(client, "tester", world.env, **options)
    running = asyncio.ensure_future(recorder.run())
    try:
        yield recorder
    finally:
        running.cancel()
        await asyncio.wait([running])


async def written(world: Any) -> list[dict[str, Any]]:
    return list((await world.client.list(EVENTS, "default"))["items"])


def test_what_is_said_again_becomes_a_count(virtually: Callable) -> None:
    async def story(world: Any) -> None:
        about = await world.client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}})
        async with recording(world.client, world, host="here") as recorder:
            for _ in range(3):
                recorder.event(about, "Warning", "Failed", "it broke")
                await asyncio.sleep(10)
            recorder.event(about, "Normal", "Mended", "it works")
            await asyncio.sleep(1)
        shown = {e["reason"]: e for e in await written(world)}
        failed = shown["Failed"]
        assert (failed["type"], failed["count"], failed["message"]) == ("Warning", 3, "it broke")
        assert (failed["firstTimestamp"], failed["lastTimestamp"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:00:20Z")
        assert failed["source"] == {"component": "tester", "host": "here"} and failed["reportingComponent"] == "tester"
        assert failed["involvedObject"]["uid"] == about["metadata"]["uid"] and failed["involvedObject"]["kind"] == "ConfigMap"
        assert shown["Mended"]["count"] == 1

    virtually(story)


def test_an_event_that_has_expired_is_said_anew(virtually: Callable) -> None:
    async def story(world: Any) -> None:
        async with recording(world.client, world) as recorder:
            recorder.event(ABOUT, "Normal", "Seen", "x")
            await asyncio.sleep(1)
            await world.client.delete(EVENTS, (await written(world))[0]["metadata"]["name"], "default")
            recorder.event(ABOUT, "Normal", "Seen", "x")
            await asyncio.sleep(1)
        assert [e["count"] for e in await written(world)] == [1]

    virtually(story)


@pytest.mark.parametrize("fault", ["refuse", "lose answers"])
def test_a_server_that_is_away_for_a_while_loses_none_and_the_times_are_those_of_the_happening(virtually: Callable, fault: str) -> None:
    async def story(world: Any) -> None:
        async with recording(world.distant, world) as recorder:
            world.network.fault = fault
            recorder.event(ABOUT, "Normal", "First", "x")
            await asyncio.sleep(30)
            recorder.event(ABOUT, "Normal", "Second", "x")
            await asyncio.sleep(30)
            world.network.fault = None
            await asyncio.sleep(30)
            assert recorder.dropped == 0
        assert {e["reason"]: (e["count"], e["firstTimestamp"]) for e in await written(world)} == {
            "First": (1, "2026-01-01T00:00:00Z"),
            "Second": (1, "2026-01-01T00:00:30Z"),
        }

    virtually(story)


def test_recording_never_blocks_and_counts_what_it_drops(virtually: Callable) -> None:
    async def story(world: Any) -> None:
        world.network.fault = "hang"
        async with recording(world.distant, world) as recorder:
            for number in range(1500):
                recorder.event({"kind": "Pod", "metadata": {"name": f"p{number}", "namespace": "default"}}, "Normal", "Much", "x")
            assert recorder.dropped == 500

    virtually(story)


def test_events_about_what_has_no_namespace_or_a_long_name(virtually: Callable) -> None:
    async def story(world: Any) -> None:
        async with recording(world.client, world) as recorder:
            recorder.event({"kind": NODES.kind, "apiVersion": "v1", "metadata": {"name": "n" * 253, "uid": "u"}}, "Normal", "Ready", "x" * 5000)
            await asyncio.sleep(1)
        (event,) = await written(world)
        assert len(event["metadata"]["name"]) == 253 and len(event["message"]) == 1024 and "namespace" not in event["involvedObject"]

    virtually(story)
