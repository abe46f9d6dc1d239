"""Checkpoints of leases: what a leader knows of their time outlives it, in the group, in the file and in snapshots."""

import asyncio
from pathlib import Path

import pytest

from k8sfromscratch.core.mvcc.lease import Life
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage import lessor
from k8sfromscratch.storage.engine import Engine
from k8sfromscratch.storage.lmdb_backend import LmdbBackend, Meta
from k8sfromscratch.storage.machine import Kind
from k8sfromscratch.testing.engine_group import EngineGroup, eventually, put

TTL_S, LEFT_S = 3600, 100


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessor, "EXPIRE_EVERY_S", 0.01)


async def granted(engine: Engine) -> None:
    """Lease 7, most of whose time is over."""
    lease = await engine.proposed(Kind.GRANT, m.LeaseGrantRequest(ID=7, TTL=TTL_S).SerializeToString(), (7, TTL_S))
    lease.expires_at -= TTL_S - LEFT_S


def marks(group: EngineGroup) -> list[int]:
    found = (engine.store.leases.lives().get(7, Life(TTL_S)) for engine in group.engines.values())
    return [life.remaining_s for life in found]


def marked(group: EngineGroup) -> bool | None:
    return all(LEFT_S - 10 < mark <= LEFT_S for mark in marks(group)) or None


def test_a_new_leader_lets_a_lease_live_what_it_had_left_and_a_renewal_forgets_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3, lease_checkpoint_s=0.01) as group:
            old = await group.leader()
            await granted(old)
            await eventually(lambda: marked(group))
            await group.stop(old.node.id)
            new = await group.leader()
            lease = new.store.leases.get(7)
            now = asyncio.get_running_loop().time()
            assert LEFT_S - 20 < lease.expires_at - now <= LEFT_S
            new.lessor._checkpoint_every_s = 2 * TTL_S  # or what is renewed here is marked again a second later
            assert (await new.lessor.renew(7)).expires_at > now + TTL_S - 10
            assert lease.remaining_s == 0  # before it is answered
            await eventually(lambda: marks(group) == [0, 0] or None)

    asyncio.run(scenario())


def test_without_checkpoints_it_lives_a_whole_time_to_live_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            old = await group.leader()
            await granted(old)
            await put(old, b"a", b"1")
            await group.same_applied()
            await group.stop(old.node.id)
            new = await group.leader()
            assert new.store.leases.get(7).expires_at > asyncio.get_running_loop().time() + TTL_S - 10
            assert marks(group) == [0, 0]

    asyncio.run(scenario())


def test_a_mark_on_its_way_is_taken_back_by_a_renewal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3, lease_checkpoint_s=3000) as group:
            leader = await group.leader()
            await granted(leader)
            await group.same_applied()
            leader.lessor.mark({7: LEFT_S})
            assert marks(group) == [0, 0, 0]
            await leader.lessor.renew(7)
            await group.same_applied()
            assert marks(group) == [0, 0, 0]

    asyncio.run(scenario())


def test_a_mark_is_there_after_a_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 1, lease_checkpoint_s=0.01) as group:
            await granted(await group.leader())
            await eventually(lambda: marked(group))
            await group.stop(1)
            again = await group.start(1)
            lease = again.store.leases.get(7)
            assert LEFT_S - 20 < lease.expires_at - asyncio.get_running_loop().time() <= LEFT_S and lease.remaining_s

    asyncio.run(scenario())


def test_a_file_from_before_there_were_marks_is_read(tmp_path: Path) -> None:
    backend = LmdbBackend(tmp_path, 2**30)
    try:
        backend.begin_commit()
        backend.commit(Meta(1, 1, 0), {7: Life(TTL_S, LEFT_S), -8: Life(60)}, {})
        backend.end_commit()
        assert backend.load()[1] == {7: Life(TTL_S, LEFT_S), -8: Life(60)}
        with backend._env.begin(write=True) as transaction:
            transaction.put((7).to_bytes(8, "big"), TTL_S.to_bytes(8, "big"), db=backend._leases)
        assert backend.load()[1][7] == Life(TTL_S)
    finally:
        backend.close()
