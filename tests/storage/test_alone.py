"""One of three goes on alone: with all that it knows to be committed, and nothing else, whenever it crashes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from k8sfromscratch.core.raft.types import ConfChangeType
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage import filing
from k8sfromscratch.storage.alone import CannotGoOn
from k8sfromscratch.storage.engine import Engine
from k8sfromscratch.storage.group import Group
from k8sfromscratch.storage.wal import Wal
from k8sfromscratch.testing.engine_group import EngineGroup, eventually, get, info, one_change, put


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(main())


async def lose_all_but(group: EngineGroup, member: int, *, cleanly: bool = False) -> None:
    for each in list(group.engines):
        await group.stop(each, cleanly=cleanly and each == member)


@pytest.mark.parametrize("cleanly", [True, False], ids=["stopped", "killed"])
def test_a_follower_goes_on_with_what_is_committed_and_others_join_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cleanly: bool) -> None:
    monkeypatch.setattr(filing, "COMMIT_EVERY_S", 3600)

    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            leader, follower = await group.leader(), await group.follower()
            for number in range(20):
                await put(leader, b"%d" % number, b"x")
            await follower.read_barrier()  # neither its log nor its file says yet that all of this is committed
            member, revision, term = follower.node.id, follower.store.revision, follower.term
            await lose_all_but(group, member, cleanly=cleanly)
            monkeypatch.setattr(filing, "COMMIT_EVERY_S", 0.1)
            alone = await group.start(member, alone=True)
            assert alone.is_leader and alone.term > term and alone.store.revision == revision
            assert [get(alone, b"%d" % number) for number in range(20)] == [b"x"] * 20
            assert set(alone.members) == {member} == set(group.network.members[member]) and alone.removed == {1, 2, 3} - {member}
            assert await put(alone, b"after", b"1") == revision + 1
            new = 4
            await alone.change_members(one_change(ConfChangeType.ADD_NODE, new), replace(info(new), name=""))
            joined = await group.start(new, joins=True)
            await eventually(lambda: get(joined, b"after") == b"1" or None)
            await put(joined, b"of two", b"1")
            assert joined.status().conf_state.voters == (member, new)

    run(scenario)


def test_what_a_leader_could_not_commit_is_discarded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            leader = await group.leader()
            await put(leader, b"a", b"committed")
            committed, member = leader.committed, leader.node.id
            group.network.cut = {member}
            lost = [asyncio.create_task(put(leader, b"%d" % number, b"never")) for number in range(5)]
            await eventually(lambda: leader.node.log.stable > committed + 1 or None)
            await lose_all_but(group, member)
            assert all(isinstance(outcome, Exception) for outcome in await asyncio.gather(*lost, return_exceptions=True))
            group.network.cut = set()
            for _ in range(2):
                alone = await group.start(member, alone=True)
                assert get(alone, b"a") == b"committed" and not any(get(alone, b"%d" % number) for number in range(5))
                await group.stop(member, cleanly=False)

    run(scenario)


def test_the_flag_may_stay_set_and_nothing_that_was_acknowledged_later_is_lost(tmp_path: Path) -> None:
    """A lone member's hard state lags behind what is committed: all that is in its log."""

    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            await put(await group.leader(), b"a", b"1")
            await group.same_applied()
            await lose_all_but(group, 1)
            for number in range(5):
                alone = await group.start(1, alone=number != 3)
                assert alone.is_leader
                assert [get(alone, b"%d" % before) for before in range(number)] == [b"x"] * number
                await put(alone, b"%d" % number, b"x")
                await group.stop(1, cleanly=False)

    run(scenario)


@pytest.mark.parametrize("written", [False, True], ids=["before it is written", "when it is written"])
def test_a_crash_meanwhile_leaves_a_member_of_three_or_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            leader = await group.leader()
            await put(leader, b"a", b"1")
            await group.same_applied()
            await lose_all_but(group, 1)
            append = Wal.append

            def crash(*args: object) -> None:
                if written:
                    append(*args)  # type: ignore[arg-type]
                raise OSError(5, "the power fails")

            with monkeypatch.context() as patched, pytest.raises(OSError, match="power"):
                patched.setattr(Wal, "append", crash)
                await group.start(1, alone=True)
            again = await group.start(1)
            assert again.is_leader == written
            if not written:
                assert set(again.members) == {1, 2, 3} and not again.removed
                await group.start(2)
                await group.leader()
            await again.read_barrier()
            assert get(again, b"a") == b"1"

    run(scenario)


def test_a_learner_votes_when_it_is_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 1) as group:
            first = group.engines[1]
            await put(first, b"a", b"1")
            await first.change_members(one_change(ConfChangeType.ADD_LEARNER_NODE, 2), info(2))
            learner = await group.start(2, joins=True)
            await eventually(lambda: (2 in learner.members and get(learner, b"a")) or None)
            await group.stop(1)
            await group.stop(2)
            alone = await group.start(2, joins=True, alone=True)
            assert alone.is_leader and not alone.members[2].is_learner and set(alone.members) == {2}
            assert get(alone, b"a") == b"1" and await put(alone, b"b", b"2") == 3

    run(scenario)


def test_who_has_joined_nothing_cannot_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(CannotGoOn, match="nothing that it could go on with"):
            await Engine.open(tmp_path, Env(), group=Group(5, 1, alone_from_now=True))
        engine = await Engine.open(tmp_path, Env(), group=Group(5, 1))  # nothing is held any more
        await engine.close()

    run(scenario)
