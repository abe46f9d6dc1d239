"""Two members that hold the same, compared while one of them goes on."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from k8sfromscratch.components.etcd.corruption import differing
from k8sfromscratch.components.etcd.member import Member
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.engine import Engine
from k8sfromscratch.storage.filing import Filing
from k8sfromscratch.storage.lmdb_backend import LmdbBackend
from k8sfromscratch.storage.machine import Kind
from k8sfromscratch.testing.engine_group import put


class Other:
    """The other member, as the first one asks it."""

    id = 2

    def __init__(self, member: Member) -> None:
        self._member = member

    def all(self) -> list["Other"]:
        return [self]

    async def ask(self, method: str, data: bytes, timeout_s: float) -> bytes:
        return bytes((await self._member.hash_kv(m.HashKVRequest.FromString(data).revision)).SerializeToString())


@asynccontextmanager
async def member(folder: Path) -> Any:
    engine = await Engine.open(folder, Env())
    try:
        for value in (b"1", b"2"):
            await put(engine, b"a", value)
        yield Member(engine, Env(), member_id=1, cluster_id=1)
    finally:
        await engine.close()


def compared(tmp_path: Path, meanwhile: Callable[[Member, Member], Awaitable[None]]) -> list[int]:
    async def main() -> list[int]:
        async with asyncio.timeout(60), member(tmp_path / "one") as one, member(tmp_path / "two") as two:
            comparing = asyncio.create_task(differing(one, Other(two)))  # type: ignore[arg-type]
            await meanwhile(one, two)
            return await comparing

    return asyncio.run(main())


def test_what_is_written_while_it_is_hashed_is_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, written, checksum = threading.Event(), threading.Event(), LmdbBackend.checksum

    def slow(backend: LmdbBackend, revision: int) -> Any:
        begun.set()
        assert written.wait(60)
        return checksum(backend, revision)

    monkeypatch.setattr(LmdbBackend, "checksum", slow)

    async def write(one: Member, two: Member) -> None:
        await asyncio.to_thread(begun.wait, 60)
        for each in (one, two):
            await put(each.engine, b"b", b"3")
        written.set()

    assert compared(tmp_path, write) == []


def test_what_one_has_compacted_already_is_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, compacted, flush = asyncio.Event(), asyncio.Event(), Filing.flush

    async def late(filing: Filing) -> None:
        if not begun.is_set():
            begun.set()
            await compacted.wait()
        await flush(filing)

    monkeypatch.setattr(Filing, "flush", late)

    async def compact(one: Member, two: Member) -> None:
        await begun.wait()
        await one.engine.proposed(Kind.COMPACT, m.CompactionRequest(revision=3).SerializeToString(), 3)
        compacted.set()

    assert compared(tmp_path, compact) == []


def test_a_difference_is_found(tmp_path: Path) -> None:
    async def main() -> list[int]:
        async with asyncio.timeout(60), member(tmp_path / "one") as one, member(tmp_path / "two") as two:
            await put(one.engine, b"b", b"mine")
            await put(two.engine, b"b", b"theirs")
            return await differing(one, Other(two))  # type: ignore[arg-type]

    assert asyncio.run(main()) == [2]
