"""Engines of one cluster in one process, over a network in memory that loses what it is told to.

    async with EngineGroup(folder, 3) as group:
        leader = await group.leader()
        group.cut(leader.group.member_id)          nobody hears it, it hears nobody
        await group.stop(2, cleanly=False)         the process is gone: what it had not synced is lost with it
        await group.start(2)

Real files, real time.  The first leader is elected at once; after that an election takes seconds, so that neither a slow disk nor a busy machine causes
one that a test does not expect.
"""

import asyncio
import random
import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from k8sfromscratch.core.mvcc.types import PutOp, RangeOp
from k8sfromscratch.core.raft.types import ConfChangeSingle, ConfChangeType, ConfChangeV2, Message
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.engine import Engine
from k8sfromscratch.storage.group import Group, MemberInfo
from k8sfromscratch.storage.interface import StorageError
from k8sfromscratch.storage.machine import Kind

CLUSTER = 0xC1
CHUNK_BYTES = 1024 * 1024
HEARTBEAT_S, ELECTION_S = 0.05, 1.5


def info(member: int, *, is_learner: bool = False) -> MemberInfo:
    return MemberInfo(member, f"m{member}", (f"http://127.0.0.1:{2380 + member}",), (), is_learner)


class Network:
    """Who hears whom."""

    def __init__(self) -> None:
        self.engines: dict[int, Engine] = {}
        self.cut: set[int] = set()
        self.drop: Callable[[Message], bool] = lambda message: False
        self.members: dict[int, Mapping[int, MemberInfo]] = {}
        """What each was told of the members last."""
        self.snapshots: list[tuple[int, int]] = []
        """(from, to) of those that arrived."""
        self.tasks: set[asyncio.Task[None]] = set()

    def target(self, message: Message) -> Engine | None:
        if {message.from_, message.to} & self.cut or self.drop(message):
            return None
        return self.engines.get(message.to)


class Wire:
    """One member's `group.Transport`."""

    def __init__(self, network: Network, member: int) -> None:
        self._network, self._member = network, member

    def send(self, messages: Sequence[Message]) -> None:
        asyncio.get_running_loop().call_soon(self._deliver, messages)

    def _deliver(self, messages: Sequence[Message]) -> None:
        for message in messages:
            target = self._network.target(message)
            if target is not None:
                target.step(message)
            elif (sender := self._network.engines.get(self._member)) is not None:
                sender.report_unreachable(message.to)

    def send_snapshot(self, message: Message) -> None:
        task = asyncio.get_running_loop().create_task(self._stream(message))
        self._network.tasks.add(task)
        task.add_done_callback(self._network.tasks.discard)

    async def _stream(self, message: Message) -> None:
        sender, ok = self._network.engines[self._member], False
        try:
            async with sender.snapshot_for_peer(message) as (message, file):
                target = self._network.target(message)
                if target is not None:
                    target.incoming.mkdir(exist_ok=True)
                    received = target.incoming / f"from-{self._member}"
                    with received.open("wb") as out:
                        await asyncio.to_thread(shutil.copyfileobj, file, out, CHUNK_BYTES)
                    await target.receive_snapshot(message, received)
                    self._network.snapshots.append((self._member, message.to))
                    ok = True
        except (StorageError, OSError):
            ok = False
        sender.report_snapshot(message.to, ok=ok)

    def members_changed(self, members: Mapping[int, MemberInfo], removed: Set[int]) -> None:
        self._network.members[self._member] = members


class EngineGroup:
    def __init__(self, folder: Path, members: int | Sequence[MemberInfo], *, cluster: int = CLUSTER, seed: int = 1, **options: Any) -> None:
        """`options` are Group's."""
        self.folder, self.network, self.cluster = folder, Network(), cluster
        self._first = [info(number) for number in range(1, members + 1)] if isinstance(members, int) else members
        self._random, self._options = random.Random(seed), options
        self.running: dict[int, asyncio.Task[None]] = {}

    @property
    def engines(self) -> dict[int, Engine]:
        return self.network.engines

    async def __aenter__(self) -> "EngineGroup":
        for each in self._first:
            await self.start(each.id)
        if len(self._first) > 1:
            first = self._random.choice(list(self.engines.values()))
            first.node.campaign()
            first.replica.wake()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for member in list(self.engines):
            await self.stop(member)
        await asyncio.gather(*self.network.tasks, return_exceptions=True)

    async def start(self, member: int, *, joins: bool = False, alone: bool = False) -> Engine:
        """`alone`: the others are lost for good."""
        env = Env(rng=random.Random(self._random.getrandbits(64)))
        group = Group(member, self.cluster, () if joins else self._first, Wire(self.network, member), HEARTBEAT_S, ELECTION_S, **self._options)
        engine = self.engines[member] = await Engine.open(self.path(member), env, group=replace(group, alone_from_now=alone))
        self.running[member] = asyncio.create_task(engine.run())
        return engine

    async def stop(self, member: int, *, cleanly: bool = True) -> None:
        """Not cleanly: the file is not committed, and nothing that waits is done; the log is as it was synced."""
        engine, running = self.engines.pop(member), self.running.pop(member)
        if not cleanly:
            engine.fail(StorageError("killed"))
        running.cancel()
        with suppress(asyncio.CancelledError, BaseExceptionGroup):
            await running
        await engine.close()

    def path(self, member: int) -> Path:
        return self.folder / str(member)

    async def leader(self, *others: int) -> Engine:
        """The one that leads, and is none of the others."""
        away = {*others, *self.network.cut}
        found: Engine = await eventually(lambda: next((e for n, e in self.engines.items() if n not in away and e.is_leader), None))
        return found

    async def follower(self) -> Engine:
        leader = await self.leader()
        found: Engine = await eventually(lambda: next((e for e in self.engines.values() if e is not leader and e.leader), None))
        return found

    async def same_applied(self, *members: int) -> None:
        """Returns when these, or all, have applied the same."""
        engines = [self.engines[each] for each in members or self.engines]
        await eventually(lambda: (len({e.applied for e in engines}) == 1 and len({e.committed for e in engines}) == 1) or None)


async def eventually(found: Callable[[], Any]) -> Any:
    """What is found as soon as it is not None; the caller's timeout ends it."""
    while (value := found()) is None:
        await asyncio.sleep(0.001)
    return value


async def put(engine: Engine, key: bytes, value: bytes, *, lease: int = 0) -> int:
    """The revision."""
    result = await engine.proposed(Kind.PUT, m.PutRequest(key=key, value=value, lease=lease).SerializeToString(), PutOp(key, value, lease))
    return int(result.revision)


def get(engine: Engine, key: bytes) -> bytes | None:
    """As applied there now."""
    kvs = engine.store.range(RangeOp(key)).kvs
    return kvs[0].value if kvs else None


def one_change(kind: ConfChangeType, member: int) -> ConfChangeV2:
    return ConfChangeV2((ConfChangeSingle(kind, member),))
