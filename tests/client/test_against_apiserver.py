"""One suite for both ways to the real apiserver: a direct call on virtual time, and HTTPS."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from k8sfromscratch.api.errors import AlreadyExists, Conflict, Invalid, NotFound
from k8sfromscratch.api.registry import CONFIG_MAPS
from k8sfromscratch.client import Client, Informers, client_from_kubeconfig, rest, retry_on_conflict
from k8sfromscratch.embedded import Settings, cluster
from k8sfromscratch.process.clock import Env

Story = Callable[[Client, Env], Awaitable[None]]


@pytest.fixture(params=["direct", "https"])
def play(request: pytest.FixtureRequest, tmp_path: Path, virtually: Callable) -> Callable[[Story], None]:
    def directly(story: Story) -> None:
        virtually(lambda world: story(world.client, world.env))

    def over_https(story: Story) -> None:
        async def main() -> None:
            env = Env()
            async with cluster(Settings(tmp_path, "token"), env) as running:
                client = client_from_kubeconfig(running.kubeconfig)
                try:
                    async with asyncio.timeout(120):
                        await story(client, env)
                finally:
                    await client.close()

        asyncio.run(main())

    return directly if request.param == "direct" else over_https


def config_map(name: str, value: str = "1", **labels: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "labels": labels}, "data": {"k": value}}


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not check():
            await asyncio.sleep(0.01)


def test_verbs(play: Callable[[Story], None]) -> None:
    async def story(client: Client, env: Env) -> None:
        made = await client.create(CONFIG_MAPS, config_map("a"))
        with pytest.raises(AlreadyExists):
            await client.create(CONFIG_MAPS, config_map("a"))
        changed = await client.update(CONFIG_MAPS, {**made, "data": {"k": "2"}})
        with pytest.raises(Conflict):
            await client.update(CONFIG_MAPS, {**made, "data": {"k": "3"}})
        patched = await client.patch(CONFIG_MAPS, "a", {"data": {"j": "x"}}, "default")
        assert patched["data"] == {"k": "2", "j": "x"} and int(patched["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"])
        await client.patch(CONFIG_MAPS, "a", [{"op": "remove", "path": "/data/j"}], "default", patch_type="json")
        assert (await client.get(CONFIG_MAPS, "a", "default"))["data"] == {"k": "2"}
        await client.delete(CONFIG_MAPS, "a", "default", uid=made["metadata"]["uid"])
        with pytest.raises(NotFound):
            await client.get(CONFIG_MAPS, "a", "default")
        with pytest.raises(Invalid) as caught:
            await client.create(CONFIG_MAPS, config_map("Not_A_Name"))
        assert caught.value.details["causes"][0]["field"] == "metadata.name"

    play(story)


def test_lists_join_their_pages_and_select(play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "PAGE_SIZE", 5)

    async def story(client: Client, env: Env) -> None:
        for number in range(12):
            await client.create(CONFIG_MAPS, config_map(f"c{number:02d}", parity=str(number % 2)))
        page = await client.list(CONFIG_MAPS, "default", limit=5, label_selector="parity")
        assert len(page["items"]) == 5 and page["metadata"]["continue"]
        every = await client.list(CONFIG_MAPS, "default", label_selector="parity")
        assert [item["metadata"]["name"] for item in every["items"]] == [f"c{n:02d}" for n in range(12)]
        odd = await client.list(CONFIG_MAPS, "default", label_selector="parity=1")
        assert [item["metadata"]["name"] for item in odd["items"]] == [f"c{n:02d}" for n in range(1, 12, 2)]
        one = await client.list(CONFIG_MAPS, "default", field_selector="metadata.name=c03")
        assert len(one["items"]) == 1

    play(story)


def test_many_add_to_one_object_and_none_is_lost(play: Callable[[Story], None]) -> None:
    async def story(client: Client, env: Env) -> None:
        await client.create(CONFIG_MAPS, config_map("counter", "0"))

        async def increment() -> None:
            counter = await client.get(CONFIG_MAPS, "counter", "default")
            counter["data"]["k"] = str(int(counter["data"]["k"]) + 1)
            await client.update(CONFIG_MAPS, counter)

        await asyncio.gather(*(retry_on_conflict(increment) for _ in range(4)))
        assert (await client.get(CONFIG_MAPS, "counter", "default"))["data"]["k"] == "4"

    play(story)


def test_apply_owns_its_fields(play: Callable[[Story], None]) -> None:
    async def story(client: Client, env: Env) -> None:
        await client.apply(CONFIG_MAPS, config_map("a", "1"), field_manager="one")
        with pytest.raises(Conflict):
            await client.apply(CONFIG_MAPS, config_map("a", "2"), field_manager="two")
        taken = await client.apply(CONFIG_MAPS, config_map("a", "2"), field_manager="two", force=True)
        assert taken["data"]["k"] == "2"

    play(story)


def test_an_informer_follows_and_tells_old_and_new(play: Callable[[Story], None]) -> None:
    async def story(client: Client, env: Env) -> None:
        await client.create(CONFIG_MAPS, config_map("before", app="x"))
        informers = Informers(client, env)
        informer = informers.get(CONFIG_MAPS, namespace="default", label_selector="app=x", indexers={"value": lambda obj: [obj["data"]["k"]]})
        assert informers.get(CONFIG_MAPS, namespace="default", label_selector="app=x") is informer
        told: list[tuple[str | None, str | None]] = []
        informer.add_handler(lambda old, new: told.append((old and old["data"]["k"], new and new["data"]["k"])))
        running = asyncio.ensure_future(informers.run())
        await informers.wait_synced()
        assert told == [(None, "1")] and informer.store.get("default/before") is not None
        await client.patch(CONFIG_MAPS, "before", {"data": {"k": "2"}}, "default")
        await client.create(CONFIG_MAPS, config_map("other"))
        await client.create(CONFIG_MAPS, config_map("during", "5", app="x"))
        await until(lambda: len(told) == 3)
        assert [obj["metadata"]["name"] for obj in informer.store.by_index("value", "2")] == ["before"]
        assert informer.store.by_index("value", "1") == []
        await client.patch(CONFIG_MAPS, "during", {"metadata": {"labels": {"app": None}}}, "default")
        await client.delete(CONFIG_MAPS, "before", "default")
        await until(lambda: len(informer.store) == 0)
        assert told == [(None, "1"), ("1", "2"), (None, "5"), ("5", None), ("2", None)]
        running.cancel()
        await asyncio.wait([running])

    play(story)
