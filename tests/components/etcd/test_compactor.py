"""Automatic compaction on a clock that jumps."""

import asyncio
from typing import Any

import pytest

from k8sfromscratch.components.etcd.compactor import compactions
from k8sfromscratch.components.etcd.config import EtcdFlags
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.mvcc.types import PutOp, TxnOp
from k8sfromscratch.storage.engine import Overloaded
from k8sfromscratch.testing.virtual import run_virtual


class Compacting:
    """The part of an engine that compaction sees, over a real store."""

    def __init__(self) -> None:
        self.store = MvccStore()
        self.asked: list[int] = []
        self.busy, self.is_leader = False, True

    async def proposed(self, kind: int, payload: bytes, op: Any) -> None:
        if self.busy:
            raise Overloaded("too many requests")
        self.asked.append(op)
        self.store.compact(op)

    async def write_for(self, seconds: int) -> None:
        """One revision a second."""
        for _ in range(seconds):
            self.store.txn(TxnOp(success=[PutOp(b"k", b"v")]))
            await asyncio.sleep(1)


def compacted(mode: str, retention: float, seconds: int, *, busy_until: int = 0) -> Compacting:
    engine = Compacting()

    async def scenario(env: Any) -> None:
        running = asyncio.ensure_future(compactions(engine, env, mode, retention))  # type: ignore[arg-type]
        engine.busy = bool(busy_until)
        await engine.write_for(busy_until)
        engine.busy = False
        await engine.write_for(seconds - busy_until)
        running.cancel()

    run_virtual(scenario)
    return engine


def test_all_but_the_last_revisions_are_forgotten_every_five_minutes() -> None:
    engine = compacted("revision", 100, 1000)
    assert engine.asked == [pytest.approx(at - 100, abs=2) for at in (300, 600, 900)]


def test_what_is_older_than_the_retention_is_forgotten() -> None:
    engine = compacted("periodic", 600.0, 2000)
    assert engine.asked == [pytest.approx(at - 600, abs=65) for at in (660, 1260, 1860)]


def test_a_long_retention_is_kept_whole_and_looked_at_every_hour() -> None:
    engine = compacted("periodic", 3 * 3600.0, 5 * 3600)
    assert engine.asked == [pytest.approx(at - 3 * 3600, abs=365) for at in (3 * 3600 + 360, 4 * 3600 + 360)]


def test_a_busy_member_compacts_at_the_next_look() -> None:
    engine = compacted("periodic", 600.0, 1000, busy_until=800)
    assert len(engine.asked) == 1 and engine.asked[0] == pytest.approx(240, abs=65)


@pytest.mark.parametrize(("mode", "text", "retention"), [("periodic", "2", 7200), ("periodic", "1m30s", 90), ("revision", "1000", 1000), ("periodic", "0", 0)])
def test_how_retentions_are_written(mode: str, text: str, retention: float) -> None:
    assert EtcdFlags.parse(["--auto-compaction-mode", mode, "--auto-compaction-retention", text]).retention == retention
