"""The power fails at any moment: whatever of what was not synced the disk has, everything that was acknowledged is there after the next start.

    a scenario runs ─► after each sync: what is surely on the disk, what the kernel has, and what was acknowledged by then
                                              └─► directories put together from them, in every way ─► started, and looked at

A disk may have the names of a directory and not what is in the files, or the other way round: both are tried, and both as they were synced last, or as
the kernel has them.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage import filing, wal
from k8sfromscratch.storage.engine import Engine
from k8sfromscratch.storage.group import ALONE, Group
from k8sfromscratch.storage.lmdb_backend import LmdbBackend
from k8sfromscratch.storage.machine import Kind
from k8sfromscratch.testing.engine_group import EngineGroup, eventually, get, info, put

Tree = dict[str, bytes]
"""Paths below the data directory → what is in the files."""
KEPT = ("db", "wal")
"""The rest of a data directory is emptied at the start.  In this order: a log that is read later than the file has all that the file has."""


@dataclass
class Disk:
    """What is surely on the disk of one data directory, told by its syncs."""

    root: Path
    acknowledged: dict[bytes, bytes] = field(default_factory=dict)
    moments: list[tuple[Tree, dict[bytes, bytes]]] = field(default_factory=list)
    _names: dict[Path, dict[str, int]] = field(default_factory=dict)
    _contents: dict[int, bytes] = field(default_factory=dict)
    _open: dict[int, int] = field(default_factory=dict)
    """Files that were synced are kept open: the number of one that is gone is no other's."""
    _one: threading.Lock = field(default_factory=threading.Lock)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def watched(sync: Callable[[int], None]) -> Callable[[int], None]:
            def synced(descriptor: int) -> None:
                sync(descriptor)
                self._synced(Path(f"/proc/self/fd/{descriptor}").readlink())

            return synced

        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, watched(getattr(os, name)))
        for name in ("_open", "commit", "identify"):  # LMDB syncs by itself, once what it has written is whole
            monkeypatch.setattr(LmdbBackend, name, self._watched_commit(getattr(LmdbBackend, name)))

    def _watched_commit(self, work: Callable[..., None]) -> Callable[..., None]:
        def done(backend: LmdbBackend, *args: Any) -> None:
            work(backend, *args)
            self._synced(backend._folder / "data.mdb")

        return done

    def _synced(self, path: Path) -> None:
        if path != self.root and self.root not in path.parents:
            return
        with self._one:
            if path.is_dir():
                self._names[path] = _names(path)
            else:
                with suppress(FileNotFoundError):  # it was removed meanwhile
                    self.keep(path)
            self._remember()

    def keep(self, path: Path) -> None:
        """As it is, it is surely on the disk."""
        with path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode not in self._open:
                self._open[inode] = os.dup(file.fileno())
            self._contents[inode] = file.read()

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def _remember(self) -> None:
        for by_names in (self._names, {self.root: _names(self.root)} | {self.root / each: _names(self.root / each) for each in KEPT}):
            for surely in (True, False):
                self.moments.append((dict(self._tree(by_names, surely=surely)), dict(self.acknowledged)))

    def _tree(self, names: dict[Path, dict[str, int]], *, surely: bool) -> Iterator[tuple[str, bytes]]:
        for folder in KEPT:
            if folder not in names.get(self.root, ()):
                continue
            for name, inode in names.get(self.root / folder, {}).items():
                path = self.root / folder / name
                if name == "lock.mdb" or not (path.exists() or inode in self._contents):
                    continue
                kernel = None if surely else _now(path, inode)
                yield f"{folder}/{name}", self._contents.get(inode, b"") if kernel is None else kernel

    def outcomes(self) -> list[tuple[Tree, dict[bytes, bytes]]]:
        """Those that differ, each with the most that was acknowledged by then."""
        found = {tuple(sorted(tree.items())): (tree, acknowledged) for tree, acknowledged in self.moments}
        return list(found.values())


def _names(folder: Path) -> dict[str, int]:
    return {entry.name: entry.inode() for entry in os.scandir(folder)} if folder.exists() else {}


def _now(path: Path, inode: int) -> bytes | None:
    """What is in a file; None where it is gone, or another has its name: threads go on meanwhile."""
    try:
        with path.open("rb") as file:
            return file.read() if os.fstat(file.fileno()).st_ino == inode else None
    except FileNotFoundError:
        return None


def lay_out(tree: Tree, folder: Path) -> Path:
    for path, content in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def disk_of() -> Iterator[Callable[[Path], Disk]]:
    made: list[Disk] = []

    def make(root: Path) -> Disk:
        made.append(Disk(root))
        return made[-1]

    yield make
    for each in made:
        each.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(120):
            await scenario()

    asyncio.run(main())


def test_a_lone_member_has_all_that_was_acknowledged(tmp_path: Path, disk_of: Callable[[Path], Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal, "SEGMENT_BYTES", 400)
    disk = disk_of(tmp_path / "data")

    async def write(engine: Engine, count: int) -> None:
        for _ in range(count):
            key = b"k%d" % len(disk.acknowledged)
            await put(engine, key, key * 10)
            disk.acknowledged[key] = key * 10

    async def use() -> None:
        group = Group(1, 1, (info(1),), catch_up_entries=3)
        with monkeypatch.context() as patched:
            disk.watch(patched)
            for cleanly in (True, False, True):
                engine = await Engine.open(disk.root, Env(), group=group)
                await write(engine, 4)
                await engine.flush()
                await write(engine, 4)
                await engine.proposed(Kind.COMPACT, m.CompactionRequest(revision=3).SerializeToString(), engine.store.revision - 1)
                await engine.flush()
                await engine.defragment()
                await write(engine, 3)
                if not cleanly:
                    engine.fail(OSError(5, "the power fails"))
                await engine.close()

    async def look() -> None:
        outcomes = disk.outcomes()
        assert len(outcomes) > 50
        for number, (tree, acknowledged) in enumerate(outcomes):
            engine = await Engine.open(lay_out(tree, tmp_path / str(number)), Env(), group=Group(1, 1, (info(1),), catch_up_entries=3))
            assert {key: get(engine, key) for key in acknowledged} == acknowledged, (number, sorted(tree))
            await put(engine, b"goes on", b"x")
            await engine.close()

    run(use)
    run(look)


def test_a_member_that_takes_a_snapshot_has_the_old_state_or_the_new_one(
    tmp_path: Path, disk_of: Callable[[Path], Disk], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = disk_of(tmp_path / "cluster" / "3")

    async def use() -> None:
        monkeypatch.setattr(filing, "COMMIT_EVERY_S", 0.01)
        async with EngineGroup(tmp_path / "cluster", 3, catch_up_entries=10) as group:
            leader = await group.leader()
            if leader.node.id == 3:
                await leader.transfer_leadership(1)
            await put(group.engines[1], b"old", b"1")
            await group.same_applied()
            await group.engines[3].flush()
            disk.acknowledged[b"old"] = b"1"
            group.network.cut = {3}
            leader = await group.leader(3)
            for number in range(50):
                await put(leader, b"k%d" % number, b"x")
            await eventually(lambda: leader.node.log.offset > group.engines[3].applied + 10 or None)
            with monkeypatch.context() as patched:
                disk._names = {path: _names(path) for path in (disk.root, *(disk.root / each for each in KEPT))}
                for each in KEPT:
                    for path in (disk.root / each).iterdir():
                        disk.keep(path)
                disk.watch(patched)
                group.network.cut = set()
                await eventually(lambda: group.network.snapshots or None)
                await group.same_applied()

    async def look() -> None:
        applied = set()
        for number, (tree, _) in enumerate(disk.outcomes()):
            engine = await Engine.open(lay_out(tree, tmp_path / str(number)), Env(), group=Group(3, 0xC1, (info(1), info(2), info(3))))
            assert get(engine, b"old") == b"1", (number, sorted(tree))
            there = [get(engine, b"k%d" % each) is not None for each in range(50)]
            assert there == sorted(there, reverse=True), "what comes later, without what was before"
            applied.add(any(there))
            await engine.close()
        assert applied == {True, False}

    run(use)
    run(look)


def test_a_directory_that_was_only_begun_is_begun_again(tmp_path: Path, disk_of: Callable[[Path], Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    disk = disk_of(tmp_path / "data")

    async def use() -> None:
        with monkeypatch.context() as patched:
            disk.watch(patched)
            engine = await Engine.open(disk.root, Env(), group=ALONE)
        await engine.close()
        for number, (tree, _) in enumerate(disk.outcomes()):
            engine = await Engine.open(lay_out(tree, tmp_path / str(number)), Env(), group=ALONE)
            assert engine.is_leader and set(engine.members) == {1}
            await engine.close()

    run(use)
