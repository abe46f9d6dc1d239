"""One member's state (figure 2), and the moves between the roles.  What it does with messages is in `election`, `replication`, `reads`, `step`.

                 timeout                     pre-votes of a majority              votes of a majority
FOLLOWER ──────────────────► PRE_CANDIDATE ─────────────────────────► CANDIDATE ────────────────────► LEADER
    ▲                              │                                      │                              │
    └── a leader of this term, or any message of a later term ◄───────────┴──────────────────────────────┘

invariant (election safety, §5.2): a member votes for at most one candidate of a term; `vote` is on disk before the vote is sent
invariant: `term` never falls; `vote` changes only with the term, or from NONE
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from k8sfromscratch.core.raft.confchange import Configuration
from k8sfromscratch.core.raft.log import RaftLog
from k8sfromscratch.core.raft.progress import Progress
from k8sfromscratch.core.raft.types import NONE, HardState, Message, MessageType, ReadState, Role, Snapshot


class Random(Protocol):
    """As `random.Random`: the source of the election timeouts."""

    def randrange(self, start: int, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    id: int
    election_tick: int = 10
    """Ticks without a leader before an election; each member draws from [election_tick, 2 * election_tick)."""
    heartbeat_tick: int = 1
    max_size_per_message: int = 512 * 1024
    max_committed_size_per_ready: int = 4 * 1024 * 1024
    max_uncommitted_size: int = 64 * 1024 * 1024
    """Of a leader's proposals that no quorum has yet: without a quorum they would fill its memory."""
    max_inflight_messages: int = 512
    max_inflight_bytes: int = 8 * 1024 * 1024
    max_pending_reads: int = 4096
    check_quorum: bool = True
    pre_vote: bool = True


@dataclass(slots=True)
class PendingRead:
    index: int
    request: Message
    acks: set[int]


@dataclass(slots=True)
class Raft:
    config: Config
    random: Random
    log: RaftLog
    conf: Configuration
    snapshot_source: Callable[[], Snapshot | None]
    """The state for a member that lags; None while it is being made: it is asked again."""
    term: int = 0
    vote: int = NONE
    role: Role = Role.FOLLOWER
    lead: int = NONE
    votes: dict[int, bool] = field(default_factory=dict)
    progress: dict[int, Progress] = field(default_factory=dict)
    lead_transferee: int = NONE
    pending_conf_index: int = 0
    """A leader proposes no change of members until it has applied the entry at this index (§6)."""
    uncommitted_bytes: int = 0
    election_elapsed: int = 0
    heartbeat_elapsed: int = 0
    election_timeout: int = 0
    pending_reads: list[PendingRead] = field(default_factory=list)
    """In order: who confirms one has confirmed all before it."""
    early_reads: list[Message] = field(default_factory=list)
    """Asked of a leader that has not committed in its term yet: it may not know what is committed (§8)."""
    read_states: list[ReadState] = field(default_factory=list)
    outbox: list[Message] = field(default_factory=list)

    @property
    def id(self) -> int:
        return self.config.id

    @property
    def hard_state(self) -> HardState:
        return HardState(self.term, self.vote, self.log.committed)

    @property
    def promotable(self) -> bool:
        """A voter with nothing to restore first: others have no elections."""
        return self.conf.is_voter(self.id) and self.log.pending_snapshot is None

    @property
    def has_own_commit(self) -> bool:
        return self.log.term(self.log.committed) == self.term

    @property
    def voters(self) -> set[int]:
        return self.conf.voters | self.conf.outgoing

    def send(self, message: Message) -> None:
        """Everything that leaves carries the term, but for what is forwarded to a leader and for the votes, which say theirs."""
        local = message.type in (MessageType.PROP, MessageType.READ_INDEX, MessageType.TRANSFER_LEADER)
        term = message.term or (0 if local else self.term)
        self.outbox.append(replace(message, from_=message.from_ or self.id, term=term))

    # The roles

    def become_follower(self, term: int, lead: int) -> None:
        self._reset(term)
        self.role, self.lead = Role.FOLLOWER, lead

    def become_pre_candidate(self) -> None:
        """Changes neither the term nor the vote (thesis §9.6): a member that cannot win disturbs nobody."""
        assert self.role != Role.LEADER
        self.role, self.lead, self.votes = Role.PRE_CANDIDATE, NONE, {}

    def become_candidate(self) -> None:
        assert self.role != Role.LEADER
        self._reset(self.term + 1)
        self.vote, self.role = self.id, Role.CANDIDATE

    def become_leader(self) -> None:
        """The caller appends the empty entry of the term: only an own entry commits older ones (§5.4.2, §8)."""
        assert self.role == Role.CANDIDATE
        self._reset(self.term)
        self.role, self.lead = Role.LEADER, self.id
        own = self.progress[self.id]
        own.become_replicate()
        own.recent_active = True
        # Changes of members may stand in the log uncommitted: none is proposed before all that is there is applied.
        self.pending_conf_index = self.log.last_index

    def _reset(self, term: int) -> None:
        if term != self.term:
            self.term, self.vote = term, NONE
        self.lead = self.lead_transferee = NONE
        self.restart_election_timer()
        self.heartbeat_elapsed = 0
        self.votes = {}
        self.pending_conf_index = self.uncommitted_bytes = 0
        self.pending_reads, self.early_reads = [], []
        self.progress = {}
        self.follow_members()
        for member, progress in self.progress.items():
            progress.match = self.log.stable if member == self.id else 0

    def restart_election_timer(self) -> None:
        tick = self.config.election_tick
        self.election_elapsed, self.election_timeout = 0, self.random.randrange(tick, 2 * tick)

    def follow_members(self) -> None:
        """One progress for each member of the configuration, kept where there was one."""
        for gone in self.progress.keys() - self.conf.members:
            del self.progress[gone]
        for member in self.conf.members - self.progress.keys():
            new = Progress(self.log.last_index + 1, self.config.max_inflight_messages, self.config.max_inflight_bytes)
            new.recent_active = True  # a member that was just added is not held against its leader
            self.progress[member] = new
        for member, progress in self.progress.items():
            progress.learner = not self.conf.is_voter(member)
