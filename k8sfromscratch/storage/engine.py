"""One member's replicated state machine on disk: proposals go through Raft into the log, and only when they are committed there into the store.

    propose ─► proposals ─► Raft ─► one frame of the log, synced in a thread ─► committed ─► applied in order ─► answered, watchers told
                             ▲ ▼                                                                    └─► now and then: the B+tree file, log cut
                         other members (`group.Transport`)

A member alone is a group of one, and goes the same way: its own frame is the majority.  The parts are in `proposals`, `reads`, `replica` (the order
of writing, sending and applying), `applier`, `filing` (the file), `lessor` and `opening` (the start); here they are put together.

Nothing that is not durable can be read: a value becomes visible when its frame is on the disks of a majority, and on this one's.

    invariant: `applied` is the index of the last entry in the store, and the file's meta never says more than the log holds
"""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from k8sfromscratch.core.raft.node import RawNode, Status
from k8sfromscratch.core.raft.state import Config
from k8sfromscratch.core.raft.types import ConfChangeV2, Entry, Message, ProposalDropped, ReadState, Role, Snapshot
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.alone import go_on_alone
from k8sfromscratch.storage.applier import Applier, Published
from k8sfromscratch.storage.arrival import Arrivals
from k8sfromscratch.storage.commit_mark import CommitMark, mark_path
from k8sfromscratch.storage.entries import encode_member
from k8sfromscratch.storage.filing import Filing
from k8sfromscratch.storage.group import ALONE, BadTransferee, Group, MemberInfo, MemberRemoved, NotLeader
from k8sfromscratch.storage.handover import hand_over
from k8sfromscratch.storage.interface import Unavailable
from k8sfromscratch.storage.lessor import Lessor
from k8sfromscratch.storage.lmdb_backend import Checksum, Identity, Meta
from k8sfromscratch.storage.machine import Kind
from k8sfromscratch.storage.opening import Opened, open_data
from k8sfromscratch.storage.proposals import Done, Overloaded, Proposals, awaited
from k8sfromscratch.storage.reads import RETRY_S, Reads, Served
from k8sfromscratch.storage.replica import Replica
from k8sfromscratch.storage.window import Window

__all__ = ["QUOTA_BYTES", "TXN_OPS_MAX", "Done", "Engine", "Overloaded"]

log = logging.getLogger(__name__)

FRESH_MAX = 100_000
"""Changes that may wait for the file; when its disk is slower than the log's, proposals wait for it.  At twice as many everything does, where it is
another member that proposes."""
TXN_OPS_MAX = 128
QUOTA_BYTES = 2 * 1024 * 1024 * 1024


class Engine:
    """Implements `group.ClusterEngine` and `group.PeerEngine`."""

    def __init__(self, opened: Opened, data_dir: Path, env: Env, quota_bytes: int, group: Group) -> None:
        self.group, self._env, self._quota_bytes = group, env, quota_bytes
        self.machine, self.store = opened.machine, opened.machine.store
        ticks = max(round(group.election_s / group.heartbeat_s), 2)
        timeout_ticks = round(group.request_timeout_s / group.heartbeat_s)
        config = Config(id=group.member_id, election_tick=ticks, pre_vote=group.pre_vote)
        self.node = RawNode(config, env.rng, opened.start, self._snapshot)
        self._window = Window(self.node.log, group.catch_up_entries)
        self.proposals = Proposals(env.rng, timeout_ticks)
        self.reads = Reads(env.rng, group.member_id, timeout_ticks, max(round(RETRY_S / group.heartbeat_s), 1))
        self.applier = Applier(opened.machine, opened.meta, self.node, self.proposals, env.clock, self._members_changed)
        self.filing = Filing(opened.backend, opened.machine, opened.meta, quota_bytes, self)
        self.replica = Replica(self.node, opened.wal, group.transport, self)
        self.lessor = Lessor(self.store, env.clock, lambda: self.is_leader, self._propose_as_leader, group.lease_checkpoint_s)
        self.incoming = data_dir / "incoming"
        self.arrivals = Arrivals(self.incoming, Identity(group.cluster_id, group.member_id), quota_bytes, env.clock, self)
        self._mark = CommitMark(mark_path(data_dir))
        self.failure: Exception | None = None
        """Of a disk, or the end of this membership: what is acknowledged is in the log, and nothing more is taken."""
        self._closed = self._opened = False
        self._seen = (0, Role.FOLLOWER, 0)
        self._led_term = 0
        """The term in which this member has led and applied an entry of its own."""
        self._alone = False
        """Whether this member is all of the majority, and leads."""
        self._lead_changed: list[Callable[[int], None]] = []
        self._restored: list[Callable[[int], None]] = []
        self.on_filled: Callable[[], None] = lambda: None
        """Called when the file has come to be larger than the quota, whoever has filled it."""
        self._sending = 0
        """Snapshots on their way."""
        self._leaving_ticks: int | None = None
        """Since this member was removed: it is still heard by the others for a moment."""

    @classmethod
    async def open(cls, data_dir: Path, env: Env, *, quota_bytes: int = QUOTA_BYTES, group: Group | None = None) -> "Engine":
        """Reads what is there, mends the log's end; the directory is this process's alone until `close`.  A member that is its own majority leads when
        this returns.  Raises WalError, ForeignData, OSError."""
        who, now = group or ALONE, env.clock.monotonic()

        def work() -> Engine:
            if who.alone_from_now:
                go_on_alone(data_dir, env, who, quota_bytes)
            opened = open_data(data_dir, who, quota_bytes, now)
            try:
                for folder in ("incoming", "outgoing"):
                    shutil.rmtree(data_dir / folder, ignore_errors=True)
                    (data_dir / folder).mkdir(mode=0o700)
                engine = cls(opened, data_dir, env, quota_bytes, who)
                engine.replica.settle()
                if engine.applier.conf_state.voters == (who.member_id,):
                    engine.node.campaign()
                    engine.replica.settle()
            except BaseException:
                opened.wal.close()
                opened.backend.close()
                raise
            return engine

        engine = await asyncio.to_thread(work)
        engine._opened = True
        engine._members_changed()
        engine.look()
        return engine

    async def run(self) -> None:
        """Keeps time, commits the file and ends leases, until cancelled.  Raises when a disk fails, or this member was removed: the process must end;
        the log is whole."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick_often(), name="ticks")
            tasks.create_task(self.filing.commit_often(), name="commits")
            tasks.create_task(self.lessor.run(), name="leases")

    async def close(self) -> None:
        """Lets what is being written end, commits the file, closes.  Nothing is taken any more; a member alone does what it has taken."""
        self._closed = True
        while self.failure is None and self._alone and (self.proposals.queue or self.proposals.pending):
            with suppress(Unavailable):  # what is queued may have to wait for it; `failure` says where it failed
                await self.filing.commit()
            self.replica.pump()
            await self._written()
        sound, self.failure = self.failure is None, self.failure or Unavailable("the store was closed")
        await self._written()
        self._end_all(self.failure)
        await self.arrivals.settle()
        await self.filing.settle()
        if sound:
            with suppress(Unavailable):  # which was told; the log has everything
                await self.filing.finish()
        self.replica.close()
        self.filing.close()
        self._mark.close()

    async def _written(self) -> None:
        while self.replica.writing is not None:
            await asyncio.wait([self.replica.writing])

    # Proposals and reads

    def subscribe(self, published: Published) -> None:
        """`published(revision, events)` is called in order for every revision that is applied; the events carry prev_kv."""
        self.applier.subscribers.append(published)

    def propose(self, kind: int, payload: bytes, op: Any, done: Done | None = None) -> None:
        """`done` is called once: when the proposal is durable and applied here, or has failed, or nothing was heard of it in time."""
        if not self._serving:
            if done is not None:
                done(None, self._refusal())
            return
        self.proposals.add(kind, payload, op, done)
        self.replica.wake()

    def _propose_as_leader(self, kind: int, payload: bytes, op: Any, done: Done) -> None:
        """What another leader must not say."""
        if not self._serving:
            done(None, self._refusal())
            return
        self.proposals.add(kind, payload, op, done, term=self.node.term)
        self.replica.wake()

    async def proposed(self, kind: int, payload: bytes, op: Any) -> Any:
        """The same, awaited."""
        future, done = awaited()
        self.propose(kind, payload, op, done)
        return await future

    def linearizable(self, done: Served) -> None:
        """See `group.ClusterEngine`."""
        if not self._serving:
            done(self._refusal())
        elif self._alone:
            done(None)
        else:
            self.reads.ask(done)
            self.replica.wake()

    async def read_barrier(self) -> None:
        future, done = awaited()
        self.linearizable(lambda error: done(None, error))
        await future

    @property
    def _serving(self) -> bool:
        return self.failure is None and not self._closed and self._leaving_ticks is None

    def _refusal(self) -> Exception:
        return self.failure or (MemberRemoved() if self._leaving_ticks is not None else Unavailable("the store was closed"))

    def check_serving(self) -> None:
        if not self._serving:
            raise self._refusal()

    # The cluster

    @property
    def members(self) -> Mapping[int, MemberInfo]:
        return self.machine.membership.members

    @property
    def removed(self) -> Set[int]:
        return self.machine.membership.removed

    @property
    def leader(self) -> int:
        return self.node.lead

    @property
    def is_leader(self) -> bool:
        return self._led_term == self.node.term and self.node.role == Role.LEADER

    @property
    def term(self) -> int:
        return self.node.term

    @property
    def applied(self) -> int:
        return self.applier.index

    @property
    def committed(self) -> int:
        return self.node.log.committed

    def status(self) -> Status:
        return self.node.status()

    def on_lead_changed(self, changed: Callable[[int], None]) -> None:
        self._lead_changed.append(changed)

    def on_restored(self, restored: Callable[[int], None]) -> None:
        self._restored.append(restored)

    async def change_members(self, change: ConfChangeV2, member: MemberInfo | None) -> None:
        if len(change.changes) != 1:
            raise ValueError("members are changed one at a time")
        self.check_serving()
        future, done = awaited()
        self.proposals.add_change(change, member, done)
        self.replica.wake()
        await future

    async def update_member(self, info: MemberInfo) -> None:
        await self.proposed(Kind.MEMBER, encode_member(info), info)

    async def transfer_leadership(self, to: int) -> None:
        if self.node.role != Role.LEADER:
            raise NotLeader
        if to == self.node.id:
            return
        if to not in self.applier.conf_state.voters:
            raise BadTransferee
        await hand_over(self.node, to, self._lead_changed, self.replica.wake, 2 * self.group.election_s)

    # Other members

    def step(self, message: Message) -> None:
        if self.failure is not None or self._closed:
            return
        try:
            self.node.step(message)
        except ProposalDropped:
            log.debug("a proposal of member %x was not begun", message.from_)
        self.replica.wake()

    def report_unreachable(self, member: int) -> None:
        self.node.report_unreachable(member)

    def report_snapshot(self, member: int, *, ok: bool) -> None:
        self._sending = max(self._sending - 1, 0)
        self.node.report_snapshot(member, ok=ok)
        self.replica.wake()

    @asynccontextmanager
    async def snapshot_for_peer(self, message: Message) -> AsyncIterator[tuple[Message, BinaryIO]]:
        async with self.filing.copy(self.incoming.with_name("outgoing")) as (meta, file):
            yield replace(message, snapshot=Snapshot(meta.index, meta.term, meta.conf_state)), file

    async def receive_snapshot(self, message: Message, file: Path) -> None:
        await self.arrivals.receive(message, file)

    def told_removed(self) -> None:
        self.fail(MemberRemoved())

    def installing(self, snapshot: Snapshot) -> bool:
        """Whether Raft has taken it, and it is not in the place of everything yet."""
        return self.node.log.pending_snapshot == snapshot

    @property
    def busy(self) -> bool:
        """Whether something is being written, or installed."""
        return self.replica.writing is not None

    # The file

    @property
    def over_quota(self) -> bool:
        return self.filing.over_quota

    def size_bytes(self) -> tuple[int, int]:
        return self.filing.backend.size_bytes()

    @property
    def quota_bytes(self) -> int:
        return self._quota_bytes

    @property
    def pending(self) -> int:
        """Proposals that were taken and are not answered."""
        return len(self.proposals.pending) + len(self.proposals.queue)

    @property
    def failed(self) -> int:
        """Proposals that ended without an answer from the store."""
        return self.proposals.failed

    @property
    def fsyncs(self) -> int:
        return self.replica.fsyncs

    async def flush(self) -> None:
        await self.filing.flush()

    async def snapshot(self, file: BinaryIO) -> None:
        await self.filing.snapshot(file)

    async def checksum(self, revision: int) -> Checksum:
        return await self.filing.checksum(revision)

    async def defragment(self) -> None:
        await self.filing.defragment()

    # As `replica` and `filing` call it

    @property
    def alone(self) -> bool:
        return self._alone

    @property
    def stalled(self) -> bool:
        return self.filing.backend.fresh >= 2 * FRESH_MAX

    def feed(self, node: RawNode) -> None:
        if self.filing.backend.fresh < FRESH_MAX:
            self.proposals.feed(node)
        self.reads.feed(node)

    def apply(self, entries: Sequence[Entry]) -> None:
        self.applier.apply(entries)
        if not self._alone:
            self._mark.move(self.applier.index)
        self.reads.serve(self.applier.index)
        if self.node.role == Role.LEADER and self.applier.term == self.node.term != self._led_term:
            self._led_term = self.node.term
            self.store.leases.promote(self._env.clock.monotonic())

    def read(self, states: Sequence[ReadState]) -> None:
        self.reads.confirm(states, self.applier.index)

    def look(self) -> None:
        node = self.node
        self.arrivals.look_again.set()
        voters = self.applier.conf_state
        self._alone = voters.voters == (node.id,) and not voters.voters_outgoing and self.is_leader
        seen = (node.lead, node.role, self._led_term)
        if seen == self._seen:
            return
        before, self._seen = self._seen[0], seen
        if before != node.lead:
            log.info("member %x leads in term %d" if node.lead else "member %x does not lead any more, in term %d", node.lead or before, node.term)
            self.proposals.leader_changed(node.lead)
            self.reads.leader_changed()
        for changed in list(self._lead_changed):
            changed(node.lead)
        if self._opened:
            self.replica.wake()

    async def install(self, snapshot: Snapshot) -> None:
        arrival, before = self.arrivals.of(snapshot), self.store.revision

        async def work() -> None:
            self.filing.replaced(arrival.file, arrival.meta)
            self.applier.take_over(arrival.machine, arrival.meta)

        await self.filing.exclusively(work)
        log.info("a snapshot up to entry %d has taken the place of everything", snapshot.index)
        for restored in self._restored:
            restored(before)
        self.reads.serve(self.applier.index)  # reads that waited for what the snapshot has

    def meta(self) -> Meta:
        return self.applier.meta()

    def filed(self, meta: Meta) -> None:
        """Forgets of the log what the file has and no member that lags is likely to need."""
        forgotten = self._window.surplus(min(meta.index, self.node.log.applied), sending=self._sending > 0)
        if forgotten:
            self.node.compact(forgotten)
        self.replica.drop_segments(self.node.log.offset + 1)
        self.replica.wake()

    def filled(self) -> None:
        self.on_filled()

    def fail(self, error: Exception) -> None:
        if self.failure is None:
            self.failure = error
            self._end_all(error)

    def _end_all(self, error: Exception) -> None:
        self._alone = False
        self.proposals.fail(error)
        self.reads.fail(error)
        self.arrivals.look_again.set()

    def _snapshot(self) -> Snapshot | None:
        filed = self.filing.filed
        if not filed.term:
            return None
        self._sending += 1
        return Snapshot(filed.index, filed.term, filed.conf_state)

    def _members_changed(self) -> None:
        if self._opened and self.group.transport is not None:
            self.group.transport.members_changed(dict(self.members), set(self.removed))
        if self.group.member_id in self.removed and self._leaving_ticks is None:
            self._leaving_ticks = 0

    # Time

    async def _tick_often(self) -> None:
        while True:
            await asyncio.sleep(self.group.heartbeat_s)
            if self.failure is not None:
                raise self.failure
            self.node.tick()
            self.proposals.tick()
            self.reads.tick()
            self.replica.wake()
            if self._leaving_ticks is not None:
                self._leave()

    def _leave(self) -> None:
        """A leader that was removed leads on until the others can; who follows has nothing more to say."""
        assert self._leaving_ticks is not None
        self._leaving_ticks += 1
        if self.node.role != Role.LEADER or self._leaving_ticks * self.group.heartbeat_s > 3 * self.group.election_s:
            self.fail(MemberRemoved())
