"""One contract for every backend of the storage interface: the store in memory, the one on disk, our etcd, and upstream's."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from k8sfromscratch.core.mvcc.types import Compare, DeleteOp, PutOp, RangeOp, TxnOp, WatchBatch, prefix_end
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.durable import DurableStorage
from k8sfromscratch.storage.interface import Compacted, FutureRevision, LeaseNotFound, Storage, StorageError, Unavailable
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.storage.remote import RemoteStorage
from k8sfromscratch.testing.ports import free_port

Scenario = Callable[[Storage], Awaitable[None]]
Run = Callable[[Scenario], None]

WITHIN_S = 120.0
"""Of a machine that many tests share: a scenario takes some tenths of a second."""
BACKENDS = ("memory", "durable", "our etcd", "upstream etcd")


@asynccontextmanager
async def served(argv: list[str], port: int) -> AsyncIterator[RemoteStorage]:
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    storage = RemoteStorage([f"http://127.0.0.1:{port}"])
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                try:
                    await storage.range(RangeOp(b"probe"))
                    break
                except Unavailable:
                    assert process.returncode is None, f"{argv} ended"
        yield storage
    finally:
        await storage.close()
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


@asynccontextmanager
async def opened(backend: str, folder: Path) -> AsyncIterator[Storage]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        if backend == "memory":
            yield LocalStorage.memory(Env())
        elif backend == "durable":
            durable = await DurableStorage.open(folder, Env())
            running = asyncio.ensure_future(durable.run())
            try:
                yield durable
            finally:
                running.cancel()
                await asyncio.wait([running])
                await durable.close()
        else:
            argv = [sys.executable, "-m", "k8sfromscratch.components.etcd"] if backend == "our etcd" else ["etcd"]
            peer = f"http://127.0.0.1:{free_port()}"
            argv += ["--data-dir", str(folder), "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peer]
            argv += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
            yield await stack.enter_async_context(served(argv, port))


@pytest.fixture(params=BACKENDS)
def run(request: pytest.FixtureRequest, tmp_path: Path, needs: Callable[..., None]) -> Iterator[Run]:
    if request.param == "upstream etcd":
        needs("etcd")

    def go(scenario: Scenario) -> None:
        async def main() -> None:
            async with opened(request.param, tmp_path / "data") as storage, asyncio.timeout(WITHIN_S):
                await scenario(storage)

        asyncio.run(main())

    yield go


async def put(storage: Storage, key: bytes, value: bytes = b"v", **more: int) -> int:
    return (await storage.txn([], [PutOp(key, value, **more)])).revision


async def take(storage: Storage, count: int, *args: bytes, **kwargs: object) -> list[WatchBatch]:
    """The first batches with events of a watch."""
    found: list[WatchBatch] = []
    watching = storage.watch(*args, **kwargs)  # type: ignore[arg-type]
    try:
        async for batch in watching:
            if batch.events:
                found.append(batch)
                if len(found) == count:
                    return found
    finally:
        await watching.aclose()  # type: ignore[attr-defined]
    raise AssertionError("the watch ended")


def test_what_is_put_is_read_with_its_revisions(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        first = await put(storage, b"a", b"1")
        second = await put(storage, b"a", b"2")
        (kv,) = (await storage.range(RangeOp(b"a"))).kvs
        assert (kv.value, kv.create_revision, kv.mod_revision, kv.version) == (b"2", first, second, 2)
        assert second == first + 1

    run(scenario)


def test_an_old_revision_is_read_as_it_was_and_the_header_tells_the_latest(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        old = await put(storage, b"a", b"1")
        latest = await put(storage, b"a", b"2")
        result = await storage.range(RangeOp(b"a", revision=old))
        assert [kv.value for kv in result.kvs] == [b"1"]
        assert result.revision == latest

    run(scenario)


def test_ranges_limits_and_counts(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        for key in (b"p/1", b"p/2", b"p/3", b"q/1", b"\xff\x00binary"):
            await put(storage, key)
        page = await storage.range(RangeOp(b"p/", prefix_end(b"p/"), limit=2))
        assert [kv.key for kv in page.kvs] == [b"p/1", b"p/2"] and page.more and page.count == 3
        rest = await storage.range(RangeOp(page.kvs[-1].key + b"\0", prefix_end(b"p/"), limit=2))
        assert [kv.key for kv in rest.kvs] == [b"p/3"] and not rest.more
        counted = await storage.range(RangeOp(b"p/", prefix_end(b"p/"), count_only=True))
        assert counted.count == 3 and not counted.kvs
        keys = await storage.range(RangeOp(b"\0", b"\0", keys_only=True))
        assert [kv.key for kv in keys.kvs][-1] == b"\xff\x00binary" and {kv.value for kv in keys.kvs} == {b""}
        newest = await storage.range(RangeOp(b"p/", prefix_end(b"p/"), sort_order="DESCEND", sort_target="MOD", limit=1))
        assert [kv.key for kv in newest.kvs] == [b"p/3"]

    run(scenario)


def test_a_transaction_is_all_or_nothing_and_one_revision(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        guard = Compare(b"a", "MOD", "EQUAL", 0)
        done = await storage.txn([guard], [PutOp(b"a", b"1"), PutOp(b"b", b"2")])
        assert done.succeeded
        both = await storage.range(RangeOp(b"a", b"c"))
        assert {kv.mod_revision for kv in both.kvs} == {done.revision}
        again = await storage.txn([guard], [PutOp(b"a", b"9")], [RangeOp(b"a")])
        assert not again.succeeded
        assert [kv.value for kv in again.responses[0].kvs] == [b"1"]  # type: ignore[union-attr]
        assert (await storage.range(RangeOp(b"a"))).revision == done.revision

    run(scenario)


def test_compares(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        await put(storage, b"a", b"m")
        for compare, expected in (
            (Compare(b"a", "VALUE", "EQUAL", b"m"), True),
            (Compare(b"a", "VALUE", "GREATER", b"l"), True),
            (Compare(b"a", "VALUE", "LESS", b"l"), False),
            (Compare(b"a", "VERSION", "EQUAL", 1), True),
            (Compare(b"a", "CREATE", "NOT_EQUAL", 0), True),
            (Compare(b"none", "CREATE", "EQUAL", 0), True),
            (Compare(b"none", "VALUE", "EQUAL", b""), False),
            (Compare(b"a", "LEASE", "EQUAL", 0), True),
        ):
            assert (await storage.txn([compare], [])).succeeded is expected, compare

    run(scenario)


def test_a_compare_over_a_range_without_keys_sees_a_key_that_is_not_there(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        for compare, expected in (
            (Compare(b"q", "VERSION", "EQUAL", 0, b"z"), True),
            (Compare(b"q", "VERSION", "GREATER", 0, b"z"), False),
            (Compare(b"q", "VALUE", "NOT_EQUAL", b"x", b"z"), False),
        ):
            assert (await storage.txn([compare], [])).succeeded is expected, compare

    run(scenario)


def test_only_the_branch_that_is_taken_can_be_refused(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        exists = Compare(b"a", "VERSION", "GREATER", 0)
        result = await storage.txn([exists], [PutOp(b"a", b"", ignore_value=True)], [PutOp(b"a", b"first")])
        assert not result.succeeded
        later = result.revision + 100
        assert (await storage.txn([exists], [], [RangeOp(b"a", revision=later), PutOp(b"b", b"", lease=99)])).succeeded
        with pytest.raises(FutureRevision):
            await storage.txn([exists], [RangeOp(b"a", revision=later)])

    run(scenario)


def test_a_key_is_put_once_a_transaction_but_branches_of_a_nested_one_exclude_each_other(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        nested = TxnOp([], [PutOp(b"n", b"then")], [PutOp(b"n", b"else")])
        assert (await storage.txn([], [nested])).succeeded
        assert [kv.value for kv in (await storage.range(RangeOp(b"n"))).kvs] == [b"then"]
        for also in (PutOp(b"n", b"twice"), DeleteOp(b"n"), DeleteOp(b"m", b"o")):
            with pytest.raises(StorageError, match="duplicate key given in txn request"):
                await storage.txn([], [nested, also])

    run(scenario)


def test_limits_and_revisions_below_zero_mean_none(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        for key in (b"a", b"b"):
            await put(storage, key)
        result = await storage.range(RangeOp(b"a", b"z", limit=-1, revision=-1))
        assert len(result.kvs) == result.count == 2 and not result.more

    run(scenario)


def test_deleting_gives_what_was_there(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        await put(storage, b"a", b"1")
        await put(storage, b"b", b"2")
        result = (await storage.txn([], [DeleteOp(b"a", b"c", prev_kv=True)])).responses[0]
        assert result.deleted == 2 and [kv.value for kv in result.prev_kvs] == [b"1", b"2"]  # type: ignore[union-attr]
        assert (await storage.range(RangeOp(b"a", b"c"))).count == 0

    run(scenario)


def test_a_watch_from_the_past_gets_everything_once_in_order_whole_revisions(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        first = await put(storage, b"w/1", b"1")
        await storage.txn([], [PutOp(b"w/1", b"2"), PutOp(b"w/2", b"3"), PutOp(b"other", b"x")])
        await storage.txn([], [DeleteOp(b"w/1")])
        batches = await take(storage, 3, b"w/", b"w0", start_revision=first, prev_kv=True)
        assert [batch.revision for batch in batches] == [first, first + 1, first + 2]
        assert [(e.type, e.kv.key) for e in batches[1].events] == [("PUT", b"w/1"), ("PUT", b"w/2")]
        deletion = batches[2].events[0]
        assert deletion.type == "DELETE" and deletion.prev_kv is not None and deletion.prev_kv.value == b"2"

    run(scenario)


def test_a_watch_from_now_gets_what_comes(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        start = await put(storage, b"w", b"old")
        watching = asyncio.ensure_future(take(storage, 2, b"w", start_revision=start + 1))
        await put(storage, b"w", b"1")
        await put(storage, b"not", b"x")
        await put(storage, b"w", b"2")
        batches = await watching
        assert [e.kv.value for batch in batches for e in batch.events] == [b"1", b"2"]
        assert all(e.prev_kv is None for batch in batches for e in batch.events)

    run(scenario)


def test_progress_comes_behind_the_events_it_covers(run: Run, request: pytest.FixtureRequest) -> None:
    if "upstream" in request.node.name:
        return  # right only from 3.4.31 and 3.5.13 on; the apiserver reads with a quorum there

    async def scenario(storage: Storage) -> None:
        start = await put(storage, b"w", b"0")
        seen: list[WatchBatch] = []
        started = asyncio.Event()

        async def follow() -> None:
            async for batch in storage.watch(b"w", start_revision=start):
                seen.append(batch)
                started.set()
                if not batch.events:
                    return

        following = asyncio.ensure_future(follow())
        await started.wait()
        for number in range(20):
            await put(storage, b"w", b"%d" % number)
        last = await put(storage, b"elsewhere")
        await storage.request_progress()
        await following
        assert seen[-1].revision == last
        assert sum(len(batch.events) for batch in seen) == 21

    run(scenario)


def test_a_watch_of_an_empty_range_is_refused(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        with pytest.raises(StorageError, match="watcher range is empty"):
            await take(storage, 1, b"z", b"a")

    run(scenario)


def test_compaction(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        first = await put(storage, b"a", b"1")
        second = await put(storage, b"a", b"2")
        third = await put(storage, b"a", b"3")
        await storage.compact(second)
        with pytest.raises(Compacted):
            await storage.range(RangeOp(b"a", revision=first))
        assert [kv.value for kv in (await storage.range(RangeOp(b"a", revision=second))).kvs] == [b"2"]
        with pytest.raises(FutureRevision):
            await storage.range(RangeOp(b"a", revision=third + 5))
        with pytest.raises(Compacted) as caught:
            await take(storage, 1, b"a", start_revision=first)
        assert caught.value.compact_revision == second
        with pytest.raises(Compacted):
            await storage.compact(second)

    run(scenario)


def test_leases_take_their_keys_with_them(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        lease = await storage.lease_grant(60)
        await storage.txn([], [PutOp(b"l/1", b"x", lease=lease), PutOp(b"l/2", b"y", lease=lease)])
        assert await storage.lease_keep_alive(lease) == 60
        revision = await put(storage, b"stays")
        await storage.lease_revoke(lease)
        batches = await take(storage, 1, b"l/", b"l0", start_revision=revision)
        assert [(e.type, e.kv.key) for e in batches[0].events] == [("DELETE", b"l/1"), ("DELETE", b"l/2")]
        with pytest.raises(LeaseNotFound):
            await storage.lease_keep_alive(lease)
        with pytest.raises(LeaseNotFound):
            await storage.txn([], [PutOp(b"l/3", b"z", lease=lease)])

    run(scenario)


def test_an_expired_lease_deletes_its_keys(run: Run) -> None:
    async def scenario(storage: Storage) -> None:
        while True:
            try:
                revision = await put(storage, b"brief", b"x", lease=await storage.lease_grant(1))
                break
            except LeaseNotFound:  # it ended before the key was there
                continue
        batches = await take(storage, 2, b"brief", start_revision=revision)
        assert [e.type for batch in batches for e in batch.events] == ["PUT", "DELETE"]

    run(scenario)


@pytest.mark.parametrize("backend", ["durable", "our etcd"])
def test_what_was_acknowledged_is_there_after_opening_again(backend: str, tmp_path: Path) -> None:
    async def write() -> int:
        async with opened(backend, tmp_path / "data") as storage:
            lease = await storage.lease_grant(100)
            for number in range(50):
                await put(storage, b"k%02d" % number, b"v%d" % number)
            await storage.txn([], [DeleteOp(b"k00"), PutOp(b"k01", b"new", lease=lease)])
            await storage.compact(20)
            return (await storage.range(RangeOp(b"k"))).revision

    async def read(revision: int) -> None:
        async with opened(backend, tmp_path / "data") as storage:
            result = await storage.range(RangeOp(b"k", b"l"))
            assert result.revision == revision and result.count == 49
            assert result.kvs[0].value == b"new" and result.kvs[0].version == 2 and result.kvs[0].lease
            assert await storage.lease_keep_alive(result.kvs[0].lease) == 100
            with pytest.raises(Compacted):
                await storage.range(RangeOp(b"k", revision=10))

    asyncio.run(read(asyncio.run(write())))


def test_a_killed_process_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """SIGKILL in the midst of writes, several times on the same data."""

    async def round_of_writes(number: int, acknowledged: dict[bytes, bytes]) -> None:
        port = free_port()
        argv = [
            sys.executable,
            "-m",
            "k8sfromscratch.components.etcd",
            "--data-dir",
            str(tmp_path / "data"),
            "--listen-client-urls",
            f"http://127.0.0.1:{port}",
            "--listen-peer-urls",
            "http://127.0.0.1:0",
        ]
        async with served(argv_kill := argv, port) as storage:
            assert argv_kill
            held = {kv.key: kv.value for kv in (await storage.range(RangeOp(b"\0", b"\0"))).kvs}
            assert {key: held.get(key) for key in acknowledged} == acknowledged
            process = _listener(port)

            async def writer(name: int) -> None:
                for step in range(10_000):
                    key, value = b"%d/%d" % (name, step % 7), b"%d-%d" % (number, step)
                    try:
                        await put(storage, key, value)
                    except Unavailable:
                        acknowledged.pop(key, None)  # nobody knows
                        return
                    acknowledged[key] = value
                    if step == 40 and name == 0:
                        os.kill(process, signal.SIGKILL)

            await asyncio.gather(*(writer(name) for name in range(8)))

    acknowledged: dict[bytes, bytes] = {}
    for number in range(3):
        asyncio.run(round_of_writes(number, acknowledged))


def _listener(port: int) -> int:
    """The process that listens on a port."""
    wanted = f"{port:04X}"
    inodes = {
        line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[1].endswith(":" + wanted) and line.split()[3] == "0A"
    }
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink().name in {f"socket:[{inode}]" for inode in inodes}:
                return int(link.parts[2])
        except OSError:
            continue
    raise AssertionError(f"nobody listens on {port}")
