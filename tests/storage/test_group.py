"""Three engines on real files, over a network that can be cut."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from k8sfromscratch.core.raft.types import ConfChangeType
from k8sfromscratch.testing.engine_group import EngineGroup, get, put

ADD, LEARN, REMOVE = ConfChangeType.ADD_NODE, ConfChangeType.ADD_LEARNER_NODE, ConfChangeType.REMOVE_NODE


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(main())


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
