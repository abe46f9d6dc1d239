"""The words of the protocol, with raftpb's names: entries, messages, hard state, configurations.  Immutable; `raftpb` writes them as bytes.

RaftError
  ├ ProposalDropped   not begun: there is no leader, it is being handed over, too much is uncommitted, or the change is not allowed now
  └ ConfChangeRefused the change itself makes no sense (no voters left, joint while joint)
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

NONE = 0
"""No member: identifiers are greater than 0."""
CAMPAIGN_TRANSFER = b"CampaignTransfer"
"""Context of a vote request that the leader itself asked for: it is answered although the leader is alive."""


class RaftError(Exception):
    pass


class ProposalDropped(RaftError):
    pass


class ConfChangeRefused(RaftError):
    pass


class EntryType(IntEnum):
    NORMAL = 0
    CONF_CHANGE = 1
    CONF_CHANGE_V2 = 2


class MessageType(IntEnum):
    HUP = 0
    BEAT = 1
    PROP = 2
    APP = 3
    APP_RESP = 4
    VOTE = 5
    VOTE_RESP = 6
    SNAP = 7
    HEARTBEAT = 8
    HEARTBEAT_RESP = 9
    UNREACHABLE = 10
    SNAP_STATUS = 11
    CHECK_QUORUM = 12
    TRANSFER_LEADER = 13
    TIMEOUT_NOW = 14
    READ_INDEX = 15
    READ_INDEX_RESP = 16
    PRE_VOTE = 17
    PRE_VOTE_RESP = 18


class Role(IntEnum):
    FOLLOWER = 0
    CANDIDATE = 1
    LEADER = 2
    PRE_CANDIDATE = 3


@dataclass(frozen=True, slots=True)
class Entry:
    term: int
    index: int
    data: bytes = b""
    type: EntryType = EntryType.NORMAL

    @property
    def size(self) -> int:
        """What the limits count: the payload, and about what surrounds it."""
        return len(self.data) + 12


class HardState(NamedTuple):
    """What must be on disk before any message that depends on it is sent (figure 2, persistent state); `commit` may lag."""

    term: int = 0
    vote: int = NONE
    commit: int = 0


class ConfState(NamedTuple):
    """The members as of some index.  `voters_outgoing` is not empty only while the configuration is joint (§6)."""

    voters: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    voters_outgoing: tuple[int, ...] = ()
    learners_next: tuple[int, ...] = ()
    auto_leave: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State up to and including `index`.  `data` is the shell's: the state itself, or a name under which it streams it."""

    index: int
    term: int
    conf_state: ConfState
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One form for all types, as in raftpb.  `from_` is raftpb's `from`; term 0 is a message of the member to itself, or one that is forwarded."""

    type: MessageType
    to: int = NONE
    from_: int = NONE
    term: int = 0
    log_term: int = 0
    index: int = 0
    entries: tuple[Entry, ...] = ()
    commit: int = 0
    snapshot: Snapshot | None = None
    reject: bool = False
    reject_hint: int = 0
    context: bytes = b""
    commit_term: int = 0
    """Of votes and their answers: the term of the entry at `commit`.  raft.proto has no such field; upstream's members pass over it."""


class ConfChangeType(IntEnum):
    ADD_NODE = 0
    REMOVE_NODE = 1
    UPDATE_NODE = 2
    ADD_LEARNER_NODE = 3


class ConfChangeTransition(IntEnum):
    """AUTO is joint where more than one voter changes; IMPLICIT leaves the joint configuration by itself, EXPLICIT waits for an empty change."""

    AUTO = 0
    JOINT_IMPLICIT = 1
    JOINT_EXPLICIT = 2


class ConfChangeSingle(NamedTuple):
    type: ConfChangeType
    node_id: int


class ConfChangeV2(NamedTuple):
    """No changes and AUTO: leave the joint configuration."""

    changes: tuple[ConfChangeSingle, ...] = ()
    transition: ConfChangeTransition = ConfChangeTransition.AUTO
    context: bytes = b""

    @property
    def leaves_joint(self) -> bool:
        return not self.changes and self.transition == ConfChangeTransition.AUTO

    @property
    def joint(self) -> bool:
        return self.transition != ConfChangeTransition.AUTO or len(self.changes) > 1


@dataclass(frozen=True, slots=True)
class ReadState:
    """The read with this context may be served as soon as `index` is applied (thesis §6.4)."""

    index: int
    context: bytes
