"""Three engines on real files, over a network that can be cut."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from k8sfromscratch.core.mvcc.errors import LeaseNotFound
from k8sfromscratch.core.raft.types import ConfChangeType, ConfChangeV2, Message, MessageType
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage import lessor
from k8sfromscratch.storage.engine import Engine
from k8sfromscratch.storage.group import (
    BadTransferee,
    LastVoter,
    LeaderChanged,
    MemberExists,
    MemberNotFound,
    MemberRemoved,
    NotLeader,
    NotLearner,
    PeerUrlExists,
    RequestTimedOut,
)
from k8sfromscratch.storage.interface import Unavailable
from k8sfromscratch.storage.lmdb_backend import CopyFailed
from k8sfromscratch.storage.machine import Kind
from k8sfromscratch.testing.engine_group import EngineGroup, eventually, get, info, one_change, put

ADD, LEARN, REMOVE = ConfChangeType.ADD_NODE, ConfChangeType.ADD_LEARNER_NODE, ConfChangeType.REMOVE_NODE


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(120):
            await scenario()

    asyncio.run(main())


async def put_somehow(group: EngineGroup, key: bytes, value: bytes) -> None:
    """For one that writes the same until it is told that it is done."""
    while True:
        with suppress(Unavailable):
            leader = await group.leader()
            await put(leader, key, value)
            return


def test_what_any_member_is_asked_to_write_all_have(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            leader, follower = await group.leader(), await group.follower()
            assert await put(leader, b"a", b"1") == 2
            assert await put(follower, b"b", b"2") == 3  # forwarded; answered when it is applied at the follower
            assert get(follower, b"b") == b"2"
            await group.same_applied()
            for engine in group.engines.values():
                assert (get(engine, b"a"), get(engine, b"b"), engine.store.revision) == (b"1", b"2", 3)
                assert engine.leader == leader.node.id and engine.term == leader.term
                assert {each.name for each in engine.members.values()} == {"m1", "m2", "m3"}

    run(scenario)


def test_an_unclean_stop_of_all_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            leader = await group.leader()
            await asyncio.gather(*(put(leader, b"%d" % number, b"x") for number in range(100)))
            await group.leader()
            for member in (1, 2, 3):
                await group.stop(member, cleanly=False)
            for member in (1, 2, 3):
                await group.start(member)
            again = await group.leader()
            await again.read_barrier()
            assert [get(again, b"%d" % number) for number in range(100)] == [b"x"] * 100
            assert again.term > leader.term

    run(scenario)


def test_with_one_member_gone_the_others_go_on_and_it_catches_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            leader = await group.leader()
            gone = leader.node.id
            await put(leader, b"a", b"1")
            await group.stop(gone, cleanly=False)
            await put_somehow(group, b"a", b"2")
            back = await group.start(gone)
            await eventually(lambda: get(back, b"a") == b"2" or None)
            await group.same_applied()
            assert group.network.snapshots == []

    run(scenario)


def test_what_a_leader_could_not_commit_gives_way_on_its_disk_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            old = await group.leader()
            await put(old, b"a", b"1")
            await group.same_applied()
            group.network.cut = {old.node.id}
            lost = [asyncio.create_task(put(old, b"a", b"lost %d" % number)) for number in range(3)]
            await eventually(lambda: old.node.log.stable > old.committed or None)
            await put_somehow(group, b"a", b"2")
            await group.stop(old.node.id, cleanly=False)
            assert all(isinstance(outcome, Exception) for outcome in await asyncio.gather(*lost, return_exceptions=True))
            group.network.cut = set()
            back = await group.start(old.node.id)
            await eventually(lambda: get(back, b"a") == b"2" or None)
            await group.stop(old.node.id, cleanly=False)
            back = await group.start(old.node.id)  # reads the log in which an entry stands behind those it replaces
            await group.same_applied()
            assert get(back, b"a") == b"2"

    run(scenario)


def test_a_leader_that_is_cut_off_answers_no_linearizable_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            old = await group.leader()
            await put(old, b"a", b"1")
            group.network.cut = {old.node.id}
            reading = asyncio.create_task(old.read_barrier())
            await put_somehow(group, b"a", b"2")
            with pytest.raises(LeaderChanged):  # it steps down when it hears of no majority, or of the other
                await reading
            reading = asyncio.create_task(old.read_barrier())
            new = await group.leader()
            await new.read_barrier()
            assert get(new, b"a") == b"2" and not reading.done()
            group.network.cut = set()
            with suppress(LeaderChanged):
                await reading
                assert get(old, b"a") == b"2"

    run(scenario)


def test_reads_of_one_turn_share_one_question(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            await group.leader()
            follower = await group.follower()
            await follower.read_barrier()
            asked: list[Message] = []

            def watched(message: Message) -> bool:
                if message.type == MessageType.READ_INDEX:
                    asked.append(message)
                return False

            group.network.drop = watched
            await asyncio.gather(*(follower.read_barrier() for _ in range(100)))
            assert len(asked) == 1

    run(scenario)


def test_without_a_majority_a_proposal_and_a_read_end_in_time_and_nobody_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8sfromscratch.storage.group.REQUEST_TIMEOUT_S", 0.1)

    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            leader = await group.leader()
            group.network.cut = {1, 2, 3}
            with pytest.raises(RequestTimedOut):
                await put(leader, b"a", b"1")
            with pytest.raises(Unavailable):
                await leader.read_barrier()
            assert leader.leader == 0 and leader.pending == 0
            group.network.cut = set()
            await put_somehow(group, b"b", b"1")

    run(scenario)


def test_leases_live_a_whole_time_to_live_after_a_change_of_leader_and_only_the_leader_ends_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessor, "EXPIRE_EVERY_S", 0.01)

    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            old = await group.leader()
            lease = await old.proposed(Kind.GRANT, m.LeaseGrantRequest(ID=7, TTL=3600).SerializeToString(), (7, 3600))
            await put(old, b"a", b"1", lease=7)
            await group.same_applied()
            for engine in group.engines.values():
                engine.store.leases.get(7).expires_at = 0 if engine is not old else lease.expires_at
            await asyncio.sleep(0.05)
            assert all(7 in engine.store.leases for engine in group.engines.values())  # followers, to whom it has expired, do nothing
            await group.stop(old.node.id)
            new = await group.leader()
            assert new.store.leases.get(7).expires_at > lease.expires_at - 60
            new.store.leases.get(7).expires_at = 0
            await eventually(lambda: get(new, b"a") is None or None)
            with pytest.raises(LeaseNotFound):
                new.store.leases.get(7)

    run(scenario)


def test_the_leadership_goes_where_it_is_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            leader, follower = await group.leader(), await group.follower()
            told: list[int] = []
            follower.on_lead_changed(told.append)
            with pytest.raises(NotLeader):
                await follower.transfer_leadership(leader.node.id)
            with pytest.raises(BadTransferee):
                await leader.transfer_leadership(9)
            await leader.transfer_leadership(leader.node.id)
            await leader.transfer_leadership(follower.node.id)
            assert leader.leader == follower.node.id
            await eventually(lambda: follower.is_leader or None)
            assert told[-1] == follower.node.id
            assert await put(leader, b"a", b"1") == 2

    run(scenario)


def test_one_member_grows_to_three_and_shrinks_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 1) as group:
            first = group.engines[1]
            assert first.is_leader and first.term == 2
            reads: list[Exception | None] = []
            first.linearizable(reads.append)
            assert reads == [None]  # at once: it is its own majority
            await put(first, b"a", b"1")
            for member in (2, 3):
                await first.change_members(one_change(LEARN, member), replace(info(member), name=""))
                joined = await group.start(member, joins=True)
                await eventually(lambda: get(group.engines[member], b"a") == b"1" or None)  # noqa: B023
                # The snapshot it begins with may be of before it was added; that is in the log behind.
                await eventually(lambda: joined.members == first.members or None)  # noqa: B023
                assert joined.members[member].is_learner
                await first.change_members(one_change(ADD, member), None)
                await joined.update_member(info(member))
            await group.same_applied()
            assert {each.id: each.name for each in first.members.values()} == {1: "m1", 2: "m2", 3: "m3"}
            assert not any(each.is_learner for each in first.members.values())
            assert first.status().conf_state.voters == (1, 2, 3)
            assert await eventually(lambda: len(group.network.snapshots) == 2 or None)
            assert group.network.snapshots == [(1, 2), (1, 3)]  # who joins begins with a snapshot
            first.linearizable(reads.append)
            assert reads == [None]
            await first.read_barrier()

            await group.stop(3)
            await put(first, b"a", b"2")
            await group.start(3)
            await group.same_applied()
            await first.change_members(one_change(REMOVE, 3), None)
            await first.change_members(one_change(REMOVE, 2), None)
            await put(first, b"a", b"3")
            assert set(first.members) == {1} and first.removed == {2, 3} == set(group.network.engines) - {1}
            assert set(group.network.members[1]) == {1}

    run(scenario)


def test_changes_of_members_that_make_no_sense_are_refused_in_the_same_words_everywhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            leader, follower = await group.leader(), await group.follower()
            for engine in (leader, follower):
                for refused, change, member in (
                    (MemberExists, one_change(ADD, 2), info(2)),
                    (PeerUrlExists, one_change(ADD, 4), replace(info(4), peer_urls=info(1).peer_urls)),
                    (MemberNotFound, one_change(REMOVE, 9), None),
                    (MemberNotFound, one_change(ADD, 9), None),
                    (NotLearner, one_change(ADD, 2), None),
                ):
                    with pytest.raises(refused):
                        await engine.change_members(change, member)
                with pytest.raises(ValueError, match="one at a time"):
                    await engine.change_members(ConfChangeV2((*one_change(REMOVE, 1).changes, *one_change(REMOVE, 2).changes)), None)
                with pytest.raises(PeerUrlExists):
                    await engine.update_member(replace(info(2), peer_urls=info(3).peer_urls))
            await group.same_applied()
            assert all(engine.status().conf_state.voters == (1, 2, 3) == tuple(engine.members) for engine in group.engines.values())

    run(scenario)


def test_the_last_voter_stays(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 1) as group:
            with pytest.raises(LastVoter):
                await group.engines[1].change_members(one_change(REMOVE, 1), None)
            assert await put(group.engines[1], b"a", b"1") == 2

    run(scenario)


@pytest.mark.parametrize("who", ["the leader", "a follower"])
def test_a_member_that_is_removed_says_so_and_ends(tmp_path: Path, who: str) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            leader, follower = await group.leader(), await group.follower()
            gone, stays = (leader, follower) if who == "the leader" else (follower, leader)
            await stays.change_members(one_change(REMOVE, gone.node.id), None)
            if gone is follower:
                gone.told_removed()  # it may have missed the entry: others tell it
            with pytest.raises(BaseExceptionGroup) as ended:
                await group.running[gone.node.id]
            assert ended.group_contains(MemberRemoved)
            with pytest.raises(MemberRemoved, match="permanently removed"):
                await put(gone, b"a", b"1")
            with pytest.raises(MemberRemoved):
                await gone.read_barrier()
            await put_somehow(group, b"a", b"1")

    run(scenario)


async def lagging(group: EngineGroup) -> Engine:
    """A follower that needs a snapshot: what it lacks is forgotten."""
    await group.leader()
    follower = await group.follower()
    member = follower.node.id
    await put(await group.leader(), b"old", b"1")
    await group.same_applied()
    await follower.flush()  # who is killed knows only from its file, or the next frame of its log, that this is committed
    group.network.cut = {member}
    leader = await group.leader(member)
    for number in range(50):
        await put(leader, b"k%d" % number, b"x")
    await eventually(lambda: leader.node.log.offset > follower.applied + 10 or None)
    return follower


def test_a_member_that_lags_too_far_gets_a_snapshot_and_its_watches_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3, catch_up_entries=10) as group:
            follower = await lagging(group)
            store = follower.store
            jumps: list[int] = []
            follower.on_restored(jumps.append)
            before = store.revision
            group.network.cut = set()
            await group.same_applied()
            assert [to for _, to in await eventually(lambda: group.network.snapshots or None)] == [follower.node.id]
            assert follower.store is store and get(follower, b"k49") == b"x"
            assert jumps == [before]
            told = [revision for revision, _ in store.events(b"k", b"l", jumps[0] + 1, store.revision, prev_kv=False)]
            assert told == list(range(before + 1, before + 51))
            await put(follower, b"after", b"1")
            member = follower.node.id
            await group.stop(member, cleanly=False)
            again = await group.start(member)
            await group.same_applied()
            assert get(again, b"after") == b"1" and get(again, b"old") == b"1" and again.members == follower.members

    run(scenario)


@pytest.mark.parametrize("step", ["before the file is replaced", "before the log is restarted"])
def test_a_crash_while_a_snapshot_is_installed_leaves_the_old_state_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3, catch_up_entries=10) as group:
            follower = await lagging(group)
            member, crashed = follower.node.id, asyncio.Event()
            target = "filing.Filing.replaced" if step == "before the file is replaced" else "wal.Wal.restart"

            def crash(*_: object) -> None:
                crashed.set() if target.startswith("filing") else loop.call_soon_threadsafe(crashed.set)
                raise OSError(5, "the power fails")

            loop = asyncio.get_running_loop()
            with monkeypatch.context() as patched:
                patched.setattr(f"k8sfromscratch.storage.{target}", crash)
                group.network.cut = set()
                await crashed.wait()
                await eventually(lambda: follower.failure)
                with pytest.raises(Unavailable):
                    await put(follower, b"a", b"1")
                group.network.cut = {member}
                await group.stop(member, cleanly=False)
            again = await group.start(member)
            assert get(again, b"old") == b"1"
            assert get(again, b"k10") == (b"x" if step == "before the log is restarted" else None)
            group.network.cut = set()
            await put_somehow(group, b"after", b"1")
            await eventually(lambda: get(again, b"after") == b"1" or None)
            assert get(again, b"k49") == b"x"

    run(scenario)


def test_a_snapshot_of_another_cluster_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path / "a", 1) as group, EngineGroup(tmp_path / "b", 1, cluster=9) as other:
            from_, to = other.engines[1], group.engines[1]
            await put(from_, b"a", b"1")
            await from_.flush()
            message = snapshot_message(from_)
            async with from_.snapshot_for_peer(message) as (message, file):
                received = to.incoming / "x"
                raw = file.read()
            received.write_bytes(raw)
            with pytest.raises(Exception, match="of another cluster"):
                await to.receive_snapshot(message, received)
            received.write_bytes(b"nothing of the kind")
            with pytest.raises(Exception, match="no database"):
                await to.receive_snapshot(message, received)
            assert list(to.incoming.iterdir()) == [] and get(to, b"a") is None

    run(scenario)


def test_a_snapshot_for_another_without_room_for_it_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    async def scenario() -> None:
        async with EngineGroup(tmp_path, 1) as group:
            engine = group.engines[1]
            await put(engine, b"a", b"1")
            await engine.flush()
            with monkeypatch.context() as patched, pytest.raises(CopyFailed, match="No space left"):
                patched.setattr(os, "fsync", full)
                async with engine.snapshot_for_peer(snapshot_message(engine)):
                    pass
            assert list((group.path(1) / "outgoing").iterdir()) == []
            async with engine.snapshot_for_peer(snapshot_message(engine)) as (message, file):
                assert message.snapshot is not None and len(await asyncio.to_thread(file.read)) > 4096
            assert await put(engine, b"b", b"2") == 3

    run(scenario)


def snapshot_message(engine: Engine) -> Message:
    return Message(type=MessageType.SNAP, to=2, from_=1, term=engine.term, snapshot=engine._snapshot())
