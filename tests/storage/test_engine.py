"""The engine on a disk that is slow, small, taken, or broken."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from k8sfromscratch.core.mvcc.types import Compare, DeleteOp, PutOp, RangeOp
from k8sfromscratch.core.raft.types import Entry, HardState
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage import engine as engine_module
from k8sfromscratch.storage import filing, proposals, replica
from k8sfromscratch.storage.durable import DurableStorage
from k8sfromscratch.storage.engine import QUOTA_BYTES, Engine
from k8sfromscratch.storage.interface import NoSpace, Unavailable
from k8sfromscratch.storage.lmdb_backend import COPY, CopyFailed, LmdbBackend, Meta
from k8sfromscratch.storage.wal import Wal, WalError

FIRST_INDEX = 2
"""Of the entry with which a member alone begins to lead."""


async def opened(folder: Path, quota_bytes: int = QUOTA_BYTES) -> tuple[DurableStorage, "asyncio.Task[None]"]:
    storage = DurableStorage(await Engine.open(folder, Env(), quota_bytes=quota_bytes), Env())
    return storage, asyncio.create_task(storage.run())


async def closed(storage: DurableStorage, running: "asyncio.Task[None]") -> None:
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await storage.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(main())


class Gate:
    """Holds what runs through it, in whatever thread, until it is opened."""

    def __init__(self) -> None:
        self.reached, self._open = threading.Event(), threading.Event()

    def open(self) -> None:
        self._open.set()

    def pass_through(self) -> None:
        self.reached.set()
        assert self._open.wait(20)


def test_stopping_in_the_midst_of_a_commit_is_orderly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, commit = Gate(), LmdbBackend.commit

    def slow(backend: LmdbBackend, meta: Meta, *args: Any) -> None:
        if meta.index > FIRST_INDEX:
            gate.pass_through()
        commit(backend, meta, *args)

    monkeypatch.setattr(LmdbBackend, "commit", slow)

    async def scenario() -> None:
        storage, running = await opened(tmp_path)
        await storage.txn([], [PutOp(b"a", b"1")])
        await asyncio.to_thread(gate.reached.wait, 20)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await asyncio.gather(storage.close(), asyncio.to_thread(gate.open))
        again, running = await opened(tmp_path)
        assert (await again.range(RangeOp(b"a"))).count == 1
        await closed(again, running)

    run(scenario)


def test_a_data_directory_belongs_to_one_at_a_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        storage, running = await opened(tmp_path)
        with pytest.raises(WalError, match="another process has this log open"):
            await Engine.open(tmp_path, Env())
        await storage.txn([], [PutOp(b"a", b"1")])
        await closed(storage, running)
        await closed(*await opened(tmp_path))

    run(scenario)


def test_only_its_owner_can_read_the_data(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    async def scenario() -> None:
        await closed(*await opened(folder))

    run(scenario)
    found = [folder, *folder.rglob("*")]
    assert len(found) > 4
    assert [path for path in found if path.stat().st_mode & 0o077] == []


def test_a_closed_store_ends_its_watches_and_takes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        storage, running = await opened(tmp_path)
        await storage.txn([], [PutOp(b"a", b"1")])
        watching = storage.watch(b"a", start_revision=1)
        await anext(watching)
        await closed(storage, running)
        with pytest.raises(Unavailable):
            await anext(watching)
        for call in (storage.range(RangeOp(b"a")), storage.txn([], [PutOp(b"a", b"2")]), storage.lease_grant(5)):
            with pytest.raises(Unavailable):
                await call

    run(scenario)


def test_a_full_store_takes_deletions_and_has_room_again_after_a_compaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "COMMIT_EVERY_S", 0.001)

    async def scenario() -> None:
        storage, running = await opened(tmp_path, quota_bytes=200_000)
        keys = 0
        with pytest.raises(NoSpace):
            while True:
                await storage.txn([], [PutOp(b"k%05d" % keys, b"x" * 4000)])
                keys += 1
        guard = [Compare(b"k00000", "VERSION", "EQUAL", 1)]
        with pytest.raises(NoSpace):
            await storage.txn(guard, [DeleteOp(b"k", b"l"), PutOp(b"one", b"more")])
        deleted = await storage.txn(guard, [DeleteOp(b"k", b"l")])
        await storage.compact(deleted.revision)
        while True:
            with suppress(NoSpace):
                await storage.txn([], [PutOp(b"again", b"x")])
                break
            await asyncio.sleep(0)
        await closed(storage, running)

    run(scenario)


def test_too_many_waiting_writes_are_refused_and_the_rest_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "QUEUE_MAX", 10)
    gate, append = Gate(), Wal.append

    def slow(log: Wal, entries: Sequence[Entry], state: HardState | None) -> None:
        if entries and entries[0].index > FIRST_INDEX:
            gate.pass_through()
        append(log, entries, state)

    monkeypatch.setattr(Wal, "append", slow)

    async def scenario() -> None:
        storage, running = await opened(tmp_path)
        first = asyncio.create_task(storage.txn([], [PutOp(b"first", b"")]))
        await asyncio.to_thread(gate.reached.wait, 20)
        writes = [asyncio.create_task(storage.txn([], [PutOp(b"%d" % number, b"")])) for number in range(12)]
        refused, _ = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
        gate.open()
        outcomes = await asyncio.gather(first, *writes, return_exceptions=True)
        assert len([o for o in outcomes if isinstance(o, Unavailable)]) == 2 and refused
        assert (await storage.range(RangeOp(b"\0", b"\0"))).count == 11
        await closed(storage, running)

    run(scenario)


def test_writes_wait_for_a_file_that_cannot_keep_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "FRESH_MAX", 5)
    gate, commit = Gate(), LmdbBackend.commit

    def slow(backend: LmdbBackend, meta: Meta, *args: Any) -> None:
        if meta.index > FIRST_INDEX:
            gate.pass_through()
        commit(backend, meta, *args)

    monkeypatch.setattr(LmdbBackend, "commit", slow)

    async def scenario() -> None:
        storage, running = await opened(tmp_path)
        done = 0

        async def write() -> None:
            nonlocal done
            for number in range(40):
                await storage.txn([], [PutOp(b"%d" % number, b"")])
                done = number + 1

        writing = asyncio.create_task(write())
        await asyncio.to_thread(gate.reached.wait, 20)
        while storage._engine.proposals.queue == []:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert done < 40 and storage._engine.filing.backend.fresh <= 5
        gate.open()
        await writing
        await closed(storage, running)

    run(scenario)


@pytest.mark.parametrize(("quick_s", "here"), [(float("inf"), [True, True, False]), (0.0, [False] * 3)])
def test_a_single_write_is_synced_at_once_where_the_disk_was_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_s: float, here: list[bool]) -> None:
    monkeypatch.setattr(replica, "QUICK_S", quick_s)
    append, loop_thread, found = Wal.append, threading.get_ident(), []

    def seen(log: Wal, entries: Sequence[Entry], state: HardState | None) -> None:
        found.append(threading.get_ident() == loop_thread)
        append(log, entries, state)

    async def scenario() -> None:
        storage, running = await opened(tmp_path)
        await storage.txn([], [PutOp(b"first", b"")])
        monkeypatch.setattr(Wal, "append", seen)
        for number in range(2):
            await storage.txn([], [PutOp(b"%d" % number, b"")])
        await asyncio.gather(*(storage.txn([], [PutOp(b"%d" % number, b"")]) for number in range(3)))
        assert (await storage.range(RangeOp(b"\0", b"\0"))).count == 4
        await closed(storage, running)

    run(scenario)
    assert found == here


@pytest.mark.parametrize("quick_s", [float("inf"), 0.0])
def test_a_log_that_fails_takes_nothing_more_and_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_s: float) -> None:
    monkeypatch.setattr(replica, "QUICK_S", quick_s)

    async def scenario() -> None:
        storage, running = await opened(tmp_path)
        await storage.txn([], [PutOp(b"a", b"1")])

        def broken(log: Wal, entries: Sequence[Entry], state: HardState | None) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patched:
            patched.setattr(Wal, "append", broken)
            with pytest.raises(Unavailable, match="write-ahead log failed"):
                await storage.txn([], [PutOp(b"a", b"2")])
        with pytest.raises(Unavailable):
            await storage.txn([], [PutOp(b"a", b"3")])
        with pytest.raises(BaseExceptionGroup) as ended:
            await running
        assert ended.group_contains(Unavailable)
        await storage.close()
        again, running = await opened(tmp_path)
        assert [kv.value for kv in (await again.range(RangeOp(b"a"))).kvs] == [b"1"]
        await closed(again, running)

    run(scenario)


def test_a_file_that_fails_ends_the_process_and_the_log_has_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        def broken(backend: LmdbBackend, *args: object) -> None:
            raise OSError(28, "No space left on device")

        storage, running = await opened(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(LmdbBackend, "commit", broken)
            await storage.txn([], [PutOp(b"a", b"1")])
            with pytest.raises(BaseExceptionGroup):
                await running
            with pytest.raises(Unavailable, match="database file failed"):
                await storage.txn([], [PutOp(b"a", b"2")])
            await storage.close()
        again, running = await opened(tmp_path)
        assert [kv.value for kv in (await again.range(RangeOp(b"a"))).kvs] == [b"1"]
        await closed(again, running)

    run(scenario)


def test_a_defragmentation_without_room_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "COMMIT_EVERY_S", 0.001)
    fsync, commit, gate, waits = os.fsync, filing.Filing.commit, Gate(), asyncio.Event()

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == COPY:
            gate.pass_through()
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    async def watched(self: filing.Filing) -> None:
        if self._busy is not None and self._busy.get_name() == "file":
            waits.set()
        await commit(self)

    monkeypatch.setattr(filing.Filing, "commit", watched)

    async def scenario() -> None:
        storage, running = await opened(tmp_path)
        await storage.txn([], [PutOp(b"a", b"1")])
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            defragmenting = asyncio.create_task(storage._engine.defragment())
            await asyncio.to_thread(gate.reached.wait, 20)
            await storage.txn([], [PutOp(b"c", b"3")])
            await waits.wait()
            gate.open()
            with pytest.raises(CopyFailed, match="No space left"):
                await defragmenting
        assert not (tmp_path / "db" / COPY).exists()
        await storage.txn([], [PutOp(b"b", b"2")])
        await storage._engine.defragment()
        assert (await storage.range(RangeOp(b"\0", b"\0"))).count == 3 and not running.done()
        await closed(storage, running)

    run(scenario)
