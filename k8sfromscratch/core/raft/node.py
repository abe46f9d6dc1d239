"""RawNode: one member of a Raft group without clock, network or disk.  The shell calls in, and does what `ready()` says.

    while running:
        node.tick() every tick; node.step(m) for every message that arrives; node.propose(...), node.read_index(...)
        if node.has_ready():
            ready = node.ready()
            1. send ready.messages                          at once, beside the disk's work (thesis §10.2.1)
            2. save ready.snapshot, if any; write ready.entries, then ready.hard_state; fdatasync if ready.must_sync
            3. send ready.messages_after_persist            never before 2 is done: they say "I have it", "I voted"
            4. apply ready.snapshot, then ready.committed_entries, in order; node.apply_conf_change(entry) for those of type CONF_CHANGE*
            5. serve ready.read_states whose index is applied
            node.advance()                                  when 2 and 4 are done

Between `ready()` and `advance()` everything but `ready()` may be called: proposals that arrive while the disk works make the next batch.
Committed entries are on this member's disk already, so 4 may go on beside 2, where there is no snapshot.
Entries that are written replace those on disk from the first one's index on.

After a start, RawNode is given what is on disk: the hard state, the entries behind the snapshot, the configuration as of `applied`, and `applied`
itself, the index up to which the state machine's own file reaches (a `Start`); committed entries behind it are handed out again, each once.

A group begins on all its members with `first_start(members)`: as if entry 1, term 1, had made it and were in a snapshot.  A member that joins later
begins with `joining()`: it knows nobody, waits to be spoken to, and always gets a snapshot first.  Were it to replay the log from an empty
configuration instead, the first change it met would make it a majority of one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from k8sfromscratch.core.raft import confchange, election, raftpb, replication, step
from k8sfromscratch.core.raft.confchange import Configuration
from k8sfromscratch.core.raft.log import RaftLog
from k8sfromscratch.core.raft.progress import ProgressState
from k8sfromscratch.core.raft.state import Config, Raft, Random
from k8sfromscratch.core.raft.types import (
    NONE,
    ConfChangeRefused,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    ProposalDropped,
    ReadState,
    Role,
    Snapshot,
)

_AT_ONCE = (MessageType.APP, MessageType.HEARTBEAT, MessageType.SNAP, MessageType.TIMEOUT_NOW, MessageType.PROP, MessageType.READ_INDEX)
"""What promises nothing about this member's disk, but for its term."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What the shell has to do; see the module for the order."""

    hard_state: HardState | None
    entries: Sequence[Entry]
    snapshot: Snapshot | None
    messages: Sequence[Message]
    messages_after_persist: Sequence[Message]
    committed_entries: Sequence[Entry]
    read_states: Sequence[ReadState]
    must_sync: bool
    """Whether term, vote, entries or a snapshot are among what is written; a commit index alone may be lost."""


@dataclass(frozen=True, slots=True)
class MemberStatus:
    match: int
    next: int
    state: ProgressState
    learner: bool
    recent_active: bool


@dataclass(frozen=True, slots=True)
class Status:
    """`members` only at a leader."""

    id: int
    role: Role
    lead: int
    hard_state: HardState
    applied: int
    last_index: int
    conf_state: ConfState
    lead_transferee: int
    members: dict[int, MemberStatus]


class Start(NamedTuple):
    """What RawNode finds on disk."""

    conf_state: ConfState
    hard_state: HardState = HardState()
    entries: Sequence[Entry] = ()
    offset: int = 0
    offset_term: int = 0
    applied: int = 0


def first_start(voters: Sequence[int]) -> Start:
    """Of a new group; the same on all its members."""
    return Start(ConfState(tuple(sorted(voters))), HardState(1, NONE, 1), offset=1, offset_term=1, applied=1)


def joining() -> Start:
    return Start(ConfState())


class RawNode:
    def __init__(self, config: Config, random: Random, start: Start, snapshot_source: Callable[[], Snapshot | None]) -> None:
        """`start.conf_state` is as of `start.applied`; `offset`, `offset_term` are the snapshot's behind which the entries begin.
        `snapshot_source` gives the state for a member that lags, its index at or above `offset`; None while it is being made."""
        if bool(start.conf_state.voters) != bool(start.applied):
            raise ValueError("a configuration comes from a first start, a snapshot or an applied entry; a member without one has applied nothing")
        state = start.hard_state
        committed = max(state.commit, start.applied)
        log = RaftLog(start.entries, offset=start.offset, offset_term=start.offset_term, committed=committed, applied=start.applied)
        self._raft = Raft(config, random, log, Configuration.of(start.conf_state), snapshot_source, term=state.term, vote=state.vote)
        self._raft.become_follower(state.term, NONE)
        self._persisted = state
        self._ready: Ready | None = None

    # In

    def tick(self) -> None:
        """A tick has passed: elections and heartbeats count in them."""
        election.tick(self._raft)

    def step(self, message: Message) -> None:
        """A message of another member.  Raises ProposalDropped for a forwarded proposal that is not begun: the shell drops it, its client times out."""
        if message.type not in (MessageType.HUP, MessageType.BEAT, MessageType.CHECK_QUORUM):
            step.step(self._raft, message)

    def campaign(self) -> None:
        """Begins an election now."""
        election.hup(self._raft)

    def propose(self, *payloads: bytes) -> None:
        """Appends them, or forwards them to the leader: they may be lost, or, if the caller repeats them, be there twice.  Raises ProposalDropped."""
        self._propose(tuple(Entry(0, 0, data) for data in payloads))

    def propose_conf_change(self, change: ConfChangeV2) -> None:
        """Raises ProposalDropped; ConfChangeRefused where the leader is this member and the change makes no sense now."""
        if self._raft.role == Role.LEADER and not change.leaves_joint and not self._raft.conf.joint:
            confchange.changed(self._raft.conf, change)
        self._propose((Entry(0, 0, raftpb.encode_conf_change(change), EntryType.CONF_CHANGE_V2),))

    def _propose(self, entries: tuple[Entry, ...]) -> None:
        step.step(self._raft, Message(type=MessageType.PROP, from_=self._raft.id, entries=entries))

    def read_index(self, context: bytes) -> None:
        """Asks up to which index a read must wait; a ReadState with this context answers, or nothing does: ask again after a timeout.
        `context` is not empty and unique in the group (member and counter).  Raises ProposalDropped."""
        step.step(self._raft, Message(type=MessageType.READ_INDEX, from_=self._raft.id, context=context))

    def transfer_leadership(self, to: int) -> None:
        """Begun; `status().lead` says whether it came about, within an election timeout.  Raises ProposalDropped without a leader."""
        step.step(self._raft, Message(type=MessageType.TRANSFER_LEADER, from_=to))

    def report_unreachable(self, member: int) -> None:
        """Messages to it were lost."""
        step.step(self._raft, Message(type=MessageType.UNREACHABLE, from_=member))

    def report_snapshot(self, member: int, *, ok: bool) -> None:
        """How sending a snapshot went; must be called for every message SNAP."""
        step.step(self._raft, Message(type=MessageType.SNAP_STATUS, from_=member, reject=not ok))

    def apply_conf_change(self, entry: Entry) -> ConfState:
        """Of a committed entry, before `advance`.  A change that is refused changes nothing, here as on every member."""
        r = self._raft
        if r.log.pending_snapshot is not None:
            return r.conf.conf_state()  # a snapshot that arrived meanwhile has this change, and perhaps later ones
        try:
            r.conf = confchange.changed(r.conf, raftpb.decode_conf_change(entry))
        except ConfChangeRefused:
            return r.conf.conf_state()
        r.follow_members()
        if r.role == Role.LEADER:
            if replication.maybe_commit(r):
                replication.broadcast_append(r)
            else:
                for member in sorted(r.progress.keys() - {r.id}):
                    replication.send_append(r, member, even_empty=False)
            if r.lead_transferee not in r.conf.voters:
                r.lead_transferee = NONE
        return r.conf.conf_state()

    def compact(self, index: int) -> None:
        """Forgets the log up to `index`, which must be applied and be in a snapshot that `snapshot_source` can give."""
        self._raft.log.compact(index)

    # Out

    def has_ready(self) -> bool:
        r = self._raft
        return self._ready is None and bool(
            r.outbox
            or r.read_states
            or r.log.pending_snapshot is not None
            or r.log.stable < r.log.last_index
            or r.hard_state != self._persisted
            or (min(r.log.committed, r.log.stable) > r.log.applied)
        )

    def ready(self) -> Ready:
        """What is to do now; one at a time: `advance` comes before the next."""
        assert self._ready is None, "the last Ready is not done: call advance"
        r = self._raft
        state = r.hard_state
        entries = r.log.unstable()
        snapshot = r.log.pending_snapshot
        new_term = (state.term, state.vote) != (self._persisted.term, self._persisted.vote)
        outbox, r.outbox = r.outbox, []
        read_states, r.read_states = r.read_states, []
        now = [m for m in outbox if m.type in _AT_ONCE and not new_term]
        later = [m for m in outbox if m.type not in _AT_ONCE or new_term]
        committed = r.log.next_committed(r.config.max_committed_size_per_ready)
        must_sync = new_term or bool(entries) or snapshot is not None
        changed = state if state != self._persisted else None
        self._ready = Ready(changed, entries, snapshot, now, later, committed, read_states, must_sync)
        return self._ready

    def advance(self) -> None:
        """The last Ready is done: written, sent, applied."""
        ready, r = self._ready, self._raft
        assert ready is not None, "there is no Ready to end"
        self._ready = None
        if ready.hard_state is not None:
            self._persisted = ready.hard_state
        if ready.snapshot is not None:
            r.log.saved_snapshot(ready.snapshot.index)
        if ready.entries:
            r.log.stable_to(ready.entries[-1].index, ready.entries[-1].term)
        if ready.committed_entries:
            r.log.applied_to(ready.committed_entries[-1].index)
            r.uncommitted_bytes = max(0, r.uncommitted_bytes - sum(len(entry.data) for entry in ready.committed_entries))
        replication.persisted(r)
        self._leave_joint()

    def _leave_joint(self) -> None:
        r = self._raft
        if r.role == Role.LEADER and r.conf.auto_leave and r.log.applied >= r.pending_conf_index:
            leave = Entry(0, 0, raftpb.encode_conf_change(ConfChangeV2()), EntryType.CONF_CHANGE_V2)
            try:
                step.propose(r, (leave,))
            except ProposalDropped:  # during a handover: the next advance, or the next leader, tries again
                return

    # Looking

    @property
    def id(self) -> int:
        return self._raft.id

    @property
    def lead(self) -> int:
        """0: not known."""
        return self._raft.lead

    @property
    def role(self) -> Role:
        return self._raft.role

    @property
    def term(self) -> int:
        return self._raft.term

    @property
    def log(self) -> RaftLog:
        """To look at."""
        return self._raft.log

    @property
    def pending_reads(self) -> int:
        return len(self._raft.pending_reads) + len(self._raft.early_reads)

    def status(self) -> Status:
        r = self._raft
        leads = r.role == Role.LEADER
        members = {m: MemberStatus(p.match, p.next, p.state, p.learner, p.recent_active) for m, p in sorted(r.progress.items())} if leads else {}
        return Status(r.id, r.role, r.lead, r.hard_state, r.log.applied, r.log.last_index, r.conf.conf_state(), r.lead_transferee, members)
