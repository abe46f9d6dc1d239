"""The watch cache and its store: broken watches, lost history, foreign writers, several apiservers."""

import asyncio

import pytest

from k8sfromscratch.api.errors import ServiceUnavailable
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.core.mvcc.types import PutOp, RangeOp, RangeResult
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.interface import Compacted, Unavailable
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.virtual import run_virtual

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


class Breakable:
    """A store whose watches can be broken, and which can be away."""

    def __init__(self, inner):
        self._inner = inner
        self.break_with = None
        self.away = False
        self._open = set()
        """What tells each open watch that it breaks."""

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def range(self, op):
        if self.away:
            raise Unavailable("away")
        return await self._inner.range(op)

    async def txn(self, compare, success, failure=()):
        if self.away:
            raise Unavailable("away")
        return await self._inner.txn(compare, success, failure)

    def break_watches(self, error):
        self.break_with = error
        for broken in self._open:
            broken.set()

    async def watch(self, key, range_end=b"", *, start_revision=0, prev_kv=False):
        batches = self._inner.watch(key, range_end, start_revision=start_revision, prev_kv=prev_kv)
        breaks = asyncio.Event()
        self._open.add(breaks)
        try:
            while True:
                waiting = asyncio.ensure_future(anext(batches))
                broken = asyncio.ensure_future(breaks.wait())
                done, _ = await asyncio.wait({waiting, broken}, return_when=asyncio.FIRST_COMPLETED)
                if broken in done:
                    waiting.cancel()
                    await asyncio.gather(waiting, return_exceptions=True)
                    raise self.break_with
                broken.cancel()
                yield waiting.result()
        finally:
            self._open.discard(breaks)


def names(listed):
    return [item["metadata"]["name"] for item in listed["items"]]


def test_a_broken_watch_is_taken_up_where_it_broke_and_clients_notice_nothing(api_server):
    async def main(env: Env):
        storage = Breakable(LocalStorage.memory(env))
        async with api_server(env, storage) as api, api.watch(CONFIG_MAPS) as events:
            await api.json("POST", CONFIG_MAPS, api.config_map("a"), status=201)
            assert await events.take(1) == [("ADDED", "a")]
            storage.break_watches(Unavailable("the connection was lost"))
            await asyncio.sleep(0.1)
            assert not api.server.feed.connected
            assert (await api.request("GET", "/readyz")).status == 500
            await asyncio.sleep(5)
            assert api.server.feed.connected, "although nothing has happened since"
            created = await api.json("POST", CONFIG_MAPS, api.config_map("b"), status=201)
            await asyncio.sleep(2)
            assert await events.take(1) == [("ADDED", "b")]
            assert (await api.json("GET", f"{CONFIG_MAPS}/b", status=200)) == created
            assert api.server.feed.connected

    run_virtual(main)


def test_lost_history_is_read_anew_and_watchers_are_ended(api_server):
    async def main(env: Env):
        storage = Breakable(LocalStorage.memory(env))
        async with api_server(env, storage) as api, api.watch(CONFIG_MAPS) as events:
            await api.json("POST", CONFIG_MAPS, api.config_map("a"), status=201)
            assert await events.take(1) == [("ADDED", "a")]
            storage.break_watches(Compacted(99))
            await api.json("DELETE", f"{CONFIG_MAPS}/a")
            await api.json("POST", CONFIG_MAPS, api.config_map("b"))
            assert await events.rest() == []
            assert names(await api.json("GET", CONFIG_MAPS)) == ["b"]

    run_virtual(main)


def test_while_the_store_is_away_reads_say_so_unless_any_version_will_do(api_server):
    async def main(env: Env):
        storage = Breakable(LocalStorage.memory(env))
        async with api_server(env, storage) as api:
            await api.json("POST", CONFIG_MAPS, api.config_map("a"))
            await api.json("GET", CONFIG_MAPS)
            storage.away = True
            assert (await api.request("GET", CONFIG_MAPS)).status == 503
            assert (await api.request("POST", CONFIG_MAPS, api.config_map("b"))).status == 503
            assert names(await api.json("GET", CONFIG_MAPS, resourceVersion="0", status=200)) == ["a"]
            storage.away = False
            assert (await api.request("GET", CONFIG_MAPS)).status == 200

    run_virtual(main)


def test_keys_of_others_do_not_hold_up_reads(api_server):
    """A write outside /registry/ raises the store's revision, but no event will ever tell the cache."""

    async def main(env: Env):
        async with api_server(env) as api:
            await api.storage.txn([], [PutOp(b"/elsewhere", b"x")])
            before = env.clock.monotonic()
            assert (await api.request("GET", CONFIG_MAPS)).status == 200
            assert env.clock.monotonic() - before < 0.5

    run_virtual(main)


def test_what_another_program_wrote_is_served_as_well(api_server):
    async def main(env: Env):
        async with api_server(env) as api:
            value = b'{ "metadata": {"namespace": "default", "name": "a", "uid": "u"}, "data": {"k": "v"}, "kind": "ConfigMap", "apiVersion": "v1" }'
            await api.storage.txn([], [PutOp(b"/registry/configmaps/default/a", value)])
            seen = await api.json("GET", f"{CONFIG_MAPS}/a", status=200)
            assert seen["data"] == {"k": "v"}
            assert int(seen["metadata"]["resourceVersion"]) == api.server.feed.revision

    run_virtual(main)


def test_two_apiservers_on_one_store_are_one_api(api_server):
    async def main(env: Env):
        storage = LocalStorage.memory(env)
        async with api_server(env, storage) as one, api_server(env, storage) as two:
            for index in range(20):
                created = await one.json("POST", CONFIG_MAPS, one.config_map(f"c{index}"), status=201)
                assert await two.json("GET", f"{CONFIG_MAPS}/c{index}", status=200) == created
                assert (await two.request("DELETE", f"{CONFIG_MAPS}/c{index}")).status == 200
                assert (await one.request("GET", f"{CONFIG_MAPS}/c{index}")).status == 404
            patch = {"content-type": "application/merge-patch+json"}
            await one.json("POST", CONFIG_MAPS, one.config_map("shared"))
            writes = [(one, two)[index % 2].request("PATCH", f"{CONFIG_MAPS}/shared", {"data": {f"k{index}": "v"}}, headers=patch) for index in range(20)]
            assert {response.status for response in await asyncio.gather(*writes)} == {200}
            assert len((await two.json("GET", f"{CONFIG_MAPS}/shared"))["data"]) == 20
            services = "/api/v1/namespaces/default/services"
            made = [(one, two)[index % 2].json("POST", services, {"metadata": {"name": f"s{index}"}, "spec": {"ports": [{"port": 80}]}}) for index in range(20)]
            assert len({service["spec"]["clusterIP"] for service in await asyncio.gather(*made)}) == 20

    run_virtual(main)


def test_events_are_forgotten_after_their_hour(api_server):
    async def main(env: Env):
        async with api_server(env) as api:
            path = "/api/v1/namespaces/default/events"
            about = {"kind": "Pod", "namespace": "default", "name": "p"}
            await api.json("POST", path, {"metadata": {"name": "e"}, "involvedObject": about}, status=201)
            await asyncio.sleep(3500)
            assert names(await api.json("GET", path)) == ["e"]
            await asyncio.sleep(300)
            assert names(await api.json("GET", path)) == []

    run_virtual(main)


def test_an_event_lease_that_the_store_forgot_is_replaced(api_server):
    async def main(env: Env):
        async with api_server(env) as api:
            path = "/api/v1/namespaces/default/events"
            about = {"kind": "Pod", "namespace": "default", "name": "p"}
            await api.json("POST", path, {"metadata": {"name": "a"}, "involvedObject": about}, status=201)
            await api.storage.lease_revoke(api.server.store._event_leases._lease)
            refused = await api.request("POST", path, {"metadata": {"name": "b"}, "involvedObject": about})
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            await api.json("POST", path, {"metadata": {"name": "b"}, "involvedObject": about}, status=201)

    run_virtual(main)


def test_history_is_compacted_every_five_minutes_and_the_present_is_not(api_server):
    async def main(env: Env):
        async with api_server(env) as api:
            first = await api.json("POST", CONFIG_MAPS, api.config_map("a"))
            old = int(first["metadata"]["resourceVersion"])
            await asyncio.sleep(1000)
            try:
                await api.storage.range(RangeOp(b"/registry/configmaps/default/a", revision=old - 1))
            except Compacted as error:
                assert error.compact_revision >= old
            else:
                raise AssertionError("nothing was compacted")
            assert await api.json("GET", f"{CONFIG_MAPS}/a", status=200) == first

    run_virtual(main)


def test_an_apiserver_that_is_gone_leaves_the_kubernetes_endpoints(api_server):
    """The one that looks is at loopback, which is never published."""

    async def main(env: Env):
        storage = LocalStorage.memory(env)
        async with api_server(env, storage) as one:
            lease = await storage.lease_grant(15)
            await storage.txn([], [PutOp(b"/registry/masterleases/192.0.2.9", b"{}", lease=lease)])
            path = "/api/v1/namespaces/default/endpoints/kubernetes"
            await asyncio.sleep(11)
            assert (await one.json("GET", path))["subsets"][0]["addresses"] == [{"ip": "192.0.2.9"}]
            await asyncio.sleep(20)
            assert not (await one.json("GET", path)).get("subsets")

    run_virtual(main)


class Gated:
    """A store that answers a read when told to, with the revision that it had when the read came."""

    def __init__(self):
        self.revision = 0
        self.reads: list[asyncio.Future[None]] = []

    async def range(self, op):
        self.revision += 1
        revision = self.revision
        self.reads.append(asyncio.get_running_loop().create_future())
        await self.reads[-1]
        return RangeResult((), 0, False, revision)


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


def test_who_asks_during_a_read_shares_the_next_one():
    async def main(env: Env):
        store = Gated()
        feed = Feed(store, {})
        first = asyncio.create_task(feed.latest())
        await turns()
        others = [asyncio.create_task(feed.latest()) for _ in range(3)]
        await turns()
        assert len(store.reads) == 1
        store.reads[0].set_result(None)
        await turns()
        assert await first == 1 and len(store.reads) == 2
        store.reads[1].set_result(None)
        assert [await other for other in others] == [2, 2, 2], "a read that began after they asked"
        late = asyncio.create_task(feed.latest())
        await turns()
        store.reads[2].set_result(None)
        assert await late == 3

    run_virtual(main)


@pytest.mark.parametrize("when", ["told", "reading"])
def test_a_reader_that_goes_away_leaves_the_read_to_the_others(when):
    async def main(env: Env):
        store = Gated()
        feed = Feed(store, {})
        first, second, third = (asyncio.create_task(feed.latest()) for _ in range(3))
        await turns()
        store.reads[0].set_result(None)
        if when == "told":
            await asyncio.wait({first})  # the second has its turn and has not taken it
        else:
            await turns()
        second.cancel()
        await turns()
        store.reads[-1].set_result(None)
        assert await third >= 2
        assert second.cancelled()
        last = asyncio.create_task(feed.latest())
        await turns()
        store.reads[-1].set_result(None)
        assert await last == store.revision

    run_virtual(main)


def test_readers_are_told_that_the_store_is_away():
    async def main(env: Env):
        store = Gated()
        feed = Feed(store, {})
        readers = [asyncio.create_task(feed.latest()) for _ in range(3)]
        await turns()
        for _ in range(2):
            store.reads[-1].set_exception(Unavailable("away"))
            await turns()
        assert [type(result) for result in await asyncio.gather(*readers, return_exceptions=True)] == [ServiceUnavailable] * 3

    run_virtual(main)
