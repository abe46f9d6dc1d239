"""The disk is full from any write on: a member takes nothing more, says so, and has all that it acknowledged when there is room again."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import lmdb
import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage import wal
from k8sfromscratch.storage.engine import Engine
from k8sfromscratch.storage.group import Group
from k8sfromscratch.storage.interface import StorageError
from k8sfromscratch.storage.lmdb_backend import LmdbBackend
from k8sfromscratch.storage.machine import Kind
from k8sfromscratch.storage.opening import DatabaseFailed, identity
from k8sfromscratch.testing.engine_group import get, info, put

GROUP = Group(1, 1, (info(1),), catch_up_entries=3)
FULL = "No space left on device"


class Disk:
    """Takes so many writes, and a part of the next."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.refused = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write, fsync = os.write, os.fsync

        def part(file: int, data: Any) -> int:
            return write(file, data if self._takes() else data[: len(data) // 2] or self._refuse(OSError(28, FULL)))

        def synced(file: int) -> None:
            if not self._takes():
                self._refuse(OSError(28, FULL))
            fsync(file)

        def committed(work: Callable[..., None]) -> Callable[..., None]:
            def done(backend: LmdbBackend, *args: Any) -> None:
                if not self._takes():
                    self._refuse(lmdb.DiskError(FULL))
                work(backend, *args)

            return done

        monkeypatch.setattr(os, "write", part)
        monkeypatch.setattr(os, "fsync", synced)
        for name in ("_open", "commit", "identify"):
            monkeypatch.setattr(LmdbBackend, name, committed(getattr(LmdbBackend, name)))

    def _takes(self) -> bool:
        self.room -= 1
        return self.room >= 0

    def _refuse(self, error: Exception) -> Any:
        self.refused += 1
        raise error


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(120):
            await scenario()

    asyncio.run(main())


async def use(folder: Path, acknowledged: dict[bytes, bytes]) -> None:
    """Until it is refused, or everything is done."""
    with suppress(StorageError, OSError):
        engine = await Engine.open(folder, Env(), group=GROUP)
        try:
            for number in range(12):
                key = b"k%d" % number
                await put(engine, key, key * 10)
                acknowledged[key] = key * 10
                if number % 4 == 3:
                    await engine.flush()
                    await engine.proposed(Kind.COMPACT, m.CompactionRequest().SerializeToString(), engine.store.revision)
                    await engine.defragment()
        finally:
            await engine.close()


def test_a_disk_that_is_full_from_any_write_on_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "SEGMENT_BYTES", 400)

    async def scenario() -> None:
        refused, room = True, 0
        while refused:
            disk, folder, acknowledged = Disk(room), tmp_path / str(room), dict[bytes, bytes]()
            with monkeypatch.context() as patched:
                disk.watch(patched)
                await use(folder, acknowledged)
            engine = await Engine.open(folder, Env(), group=GROUP)
            assert {key: get(engine, key) for key in acknowledged} == acknowledged, room
            await put(engine, b"goes on", b"x")
            await engine.close()
            refused, room = disk.refused > 0, room + 1
        assert room > 30 and len(acknowledged) == 12

    run(scenario)


def test_a_file_that_is_no_database_is_told_in_one_line(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine.open(tmp_path, Env(), group=GROUP)
        await engine.close()
        (tmp_path / "db" / "data.mdb").write_bytes(b"nothing of the kind" * 1000)
        with pytest.raises(DatabaseFailed, match="restore from a backup"):
            identity(tmp_path)
        with pytest.raises(DatabaseFailed, match=r"data\.mdb: the database cannot be used"):
            await Engine.open(tmp_path, Env(), group=GROUP)

    run(scenario)
