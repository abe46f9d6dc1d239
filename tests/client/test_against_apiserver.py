"""The client library against the real apiserver: by a direct call on virtual time, and over HTTPS."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from k8sfromscratch.api.errors import AlreadyExists, Conflict, Invalid, NotFound
from k8sfromscratch.api.registry import CONFIG_MAPS, EVENTS, LEASES, PODS
from k8sfromscratch.client import Client, DirectTransport, EventRecorder, Informers, LeaderElector, LostLease, client_from_kubeconfig
from k8sfromscratch.client.transport import Reply, TransportError
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.embedded import Settings, cluster
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.virtual import run_virtual

KEY = pki.make_key()
Story = Callable[[Client, Env], Awaitable[None]]


@asynccontextmanager
async def serving(env: Env) -> AsyncIterator[Client]:
    server = embedded(LocalStorage.memory(env), env, signing_key=KEY)
    await server.start()
    try:
        yield Client(DirectTransport(server.handle, LOOPBACK))
    finally:
        await server.stop()


def virtually(story: Story) -> None:
    async def main(env: Env) -> None:
        async with serving(env) as client:
            await story(client, env)

    run_virtual(main)


@pytest.fixture(params=["direct", "https"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], None]:
    def over_https(story: Story) -> None:
        async def main() -> None:
            env = Env()
            async with cluster(Settings(tmp_path, "token"), env) as running:
                client = client_from_kubeconfig(running.kubeconfig)
                try:
                    async with asyncio.timeout(30):
                        await story(client, env)
                finally:
                    await client.close()

        asyncio.run(main())

    return virtually if request.param == "direct" else over_https


def config_map(name: str, value: str = "1", **labels: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "labels": labels}, "data": {"k": value}}


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
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


def test_lists_join_their_pages_and_select(play: Callable[[Story], None]) -> None:
    async def story(client: Client, env: Env) -> None:
        for number in range(12):
            await client.create(CONFIG_MAPS, config_map(f"c{number:02d}", parity=str(number % 2)))
        page = await client.list(CONFIG_MAPS, "default", limit=5, label_selector="parity")
        assert len(page["items"]) == 5 and page["metadata"]["continue"]
        odd = await client.list(CONFIG_MAPS, "default", label_selector="parity=1")
        assert [item["metadata"]["name"] for item in odd["items"]] == [f"c{n:02d}" for n in range(1, 12, 2)]
        one = await client.list(CONFIG_MAPS, "default", field_selector="metadata.name=c03")
        assert len(one["items"]) == 1

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


class Faulty:
    """A transport that fails when it is told to."""

    def __init__(self, inner: DirectTransport) -> None:
        self.inner, self.down = inner, False

    async def request(self, *args: object, **kwargs: object) -> Reply:
        if self.down:
            raise TransportError("cut")
        return await self.inner.request(*args, **kwargs)  # type: ignore[arg-type]

    @asynccontextmanager
    async def stream(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
        if self.down:
            raise TransportError("cut")
        async with self.inner.stream(*args, **kwargs) as reply:  # type: ignore[arg-type]
            yield reply

    async def close(self) -> None: ...


def test_an_informer_survives_a_server_that_is_away_and_sees_only_the_difference() -> None:
    async def main(env: Env) -> None:
        server = embedded(LocalStorage.memory(env), env, signing_key=KEY)
        await server.start()
        faulty = Faulty(DirectTransport(server.handle, LOOPBACK))
        client = Client(DirectTransport(server.handle, LOOPBACK))
        await client.create(CONFIG_MAPS, config_map("stays"))
        await client.create(CONFIG_MAPS, config_map("goes"))
        informers = Informers(Client(faulty), env)
        informer = informers.get(CONFIG_MAPS, namespace="default")
        told: list[str] = []
        informer.add_handler(lambda old, new: told.append(f"{'-' if new is None else '+'}{(new or old or {})['metadata']['name']}"))
        running = asyncio.ensure_future(informers.run())
        await informers.wait_synced()
        told.clear()
        faulty.down = True
        informer.resource_version = ""  # as after a Gone: what follows is a new list
        await asyncio.sleep(1000)  # the watch has ended by its timeout, and nothing answers
        await client.delete(CONFIG_MAPS, "goes", "default")
        await client.create(CONFIG_MAPS, config_map("comes"))
        await asyncio.sleep(1000)
        faulty.down = False
        await until(lambda: informer.store.get("default/comes") is not None)
        assert sorted(told) == ["+comes", "-goes"]
        running.cancel()
        await asyncio.wait([running])
        await server.stop()

    run_virtual(main)


def test_events_are_counted_instead_of_repeated() -> None:
    async def story(client: Client, env: Env) -> None:
        recorder = EventRecorder(client, "tester", env, host="here")
        running = asyncio.ensure_future(recorder.run())
        about = await client.create(CONFIG_MAPS, config_map("a"))
        for _ in range(3):
            recorder.event(about, "Warning", "Failed", "it broke")
        recorder.event(about, "Normal", "Mended", "it works")
        await asyncio.sleep(1)
        events = (await client.list(EVENTS, "default"))["items"]
        shown = {e["reason"]: (e["type"], e["count"], e["message"], e["source"]["component"], e["involvedObject"]["uid"]) for e in events}
        assert shown == {
            "Failed": ("Warning", 3, "it broke", "tester", about["metadata"]["uid"]),
            "Mended": ("Normal", 1, "it works", "tester", about["metadata"]["uid"]),
        }
        running.cancel()
        await asyncio.wait([running])

    virtually(story)


def test_recording_never_blocks_and_counts_what_it_drops() -> None:
    async def story(client: Client, env: Env) -> None:
        recorder = EventRecorder(client, "tester", env)
        for number in range(1500):
            recorder.event({"kind": "Pod", "metadata": {"name": f"p{number}", "namespace": "default"}}, "Normal", "Much", "x")
        assert recorder.dropped == 500
        assert (await client.list(PODS, "default"))["items"] == []

    virtually(story)


def test_one_leader_at_a_time_and_the_next_when_it_goes() -> None:
    async def story(client: Client, env: Env) -> None:
        working: list[str] = []

        async def work(name: str) -> None:
            working.append(name)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                working.remove(name)

        def candidate(name: str) -> asyncio.Task[None]:
            elector = LeaderElector(client, env, "test", identity=name)
            return asyncio.ensure_future(elector.run(lambda: work(name)))

        first = candidate("a")
        await asyncio.sleep(1)
        second = candidate("b")
        await asyncio.sleep(120)
        assert working == ["a"]
        first.cancel()
        await asyncio.wait([first])
        await asyncio.sleep(5)
        assert working == ["b"], "a lease that is given back is taken at once"
        lease = await client.get(LEASES, "test", "kube-system")
        assert lease["spec"]["holderIdentity"] == "b" and lease["spec"]["leaseTransitions"] == 1
        second.cancel()
        await asyncio.wait([second])

    virtually(story)


def test_a_leader_that_cannot_renew_stops_before_another_begins() -> None:
    async def main(env: Env) -> None:
        server = embedded(LocalStorage.memory(env), env, signing_key=KEY)
        await server.start()
        faulty = Faulty(DirectTransport(server.handle, LOOPBACK))
        stopped_at, started_at = 0.0, 0.0

        async def first() -> None:
            nonlocal stopped_at
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                stopped_at = env.clock.monotonic()

        async def second() -> None:
            nonlocal started_at
            started_at = env.clock.monotonic()

        leading = asyncio.ensure_future(LeaderElector(Client(faulty), env, "test", identity="a").run(first))
        await asyncio.sleep(10)
        waiting = asyncio.ensure_future(LeaderElector(Client(DirectTransport(server.handle, LOOPBACK)), env, "test", identity="b").run(second))
        await asyncio.sleep(5)
        faulty.down = True
        with pytest.raises(LostLease):
            await leading
        await waiting
        assert 0 < stopped_at < started_at
        await server.stop()

    run_virtual(main)
