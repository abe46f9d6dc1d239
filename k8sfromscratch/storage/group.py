"""Who one is among the members of a cluster, and what an `Engine` needs from those who carry its messages: the seam to the network.

    Engine ──send, send_snapshot, members_changed──► Transport ~~~~ other members
       ▲                                                 │
       └──step, receive_snapshot, report_unreachable, report_snapshot, told_removed

An Engine whose Group has no transport is a member alone.  Everything here is called on the event loop's thread, and nothing of it blocks.

    Unavailable
      ├ RequestTimedOut      what was proposed may be done, or never will be; upstream's words
      ├ LeaderChanged        a read was not answered by the leader it asked
      ├ NoLeader             what only a leader can do was asked of a member that knows none
      └ MemberRemoved        this member is none any more
    MembershipRefused        a change of members makes no sense; the text is upstream's without "etcdserver: "
      ├ MemberExists, PeerUrlExists, MemberIsRemoved, TooManyLearners
      ├ MemberNotFound
      └ NotLearner, LearnerNotReady, LastVoter
    ForeignData              raised by `Engine.open`
    NotLeader, BadTransferee, TransferTimedOut   of a handover of the leadership
"""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from k8sfromscratch.core.raft.node import Status
from k8sfromscratch.core.raft.types import ConfChangeV2, Message
from k8sfromscratch.storage.interface import StorageError, Unavailable

REQUEST_TIMEOUT_S = 5.0
"""How long a proposal or a read may take, and two elections more: upstream's."""


class RequestTimedOut(Unavailable):
    def __init__(self, detail: str = "") -> None:
        super().__init__("request timed out" + (f", {detail}" if detail else ""))


class LeaderChanged(Unavailable):
    def __init__(self) -> None:
        super().__init__("leader changed")


class NoLeader(Unavailable):
    def __init__(self) -> None:
        super().__init__("no leader")


class MemberRemoved(Unavailable):
    def __init__(self) -> None:
        super().__init__("the member has been permanently removed from the cluster")


class MembershipRefused(StorageError):
    """The same on every member, as all apply the same changes in the same order."""

    text = ""

    def __init__(self) -> None:
        super().__init__(self.text)


class MemberExists(MembershipRefused):
    text = "member ID already exist"


class PeerUrlExists(MembershipRefused):
    text = "Peer URLs already exists"


class MemberIsRemoved(MembershipRefused):
    """An identifier is never used again: its messages may still be on their way."""

    text = "member ID was removed"


class TooManyLearners(MembershipRefused):
    text = "too many learner members in cluster"


class MemberNotFound(MembershipRefused):
    text = "member not found"


class NotLearner(MembershipRefused):
    text = "can only promote a learner member"


class LearnerNotReady(MembershipRefused):
    text = "can only promote a learner member which is in sync with leader"


class LastVoter(MembershipRefused):
    text = "re-configuration failed due to not enough started members"


class ForeignData(StorageError):
    """The data directory is of another member, or of another cluster."""


class NotLeader(StorageError):
    def __init__(self) -> None:
        super().__init__("not leader")


class BadTransferee(StorageError):
    def __init__(self) -> None:
        super().__init__("bad leader transferee")


class TransferTimedOut(RequestTimedOut):
    def __init__(self) -> None:
        super().__init__("leader transfer took too long")


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One member as `etcdctl member list` shows it; a member that was added and has not started has no name and no client URLs."""

    id: int
    name: str = ""
    peer_urls: tuple[str, ...] = ()
    client_urls: tuple[str, ...] = ()
    is_learner: bool = False


class Transport(Protocol):
    """Carries messages to the members that `members_changed` named last.  It may lose, repeat and reorder them, never change them."""

    def send(self, messages: Sequence[Message]) -> None:
        """Never blocks and calls nothing back at once.  Members are `message.to`; what cannot be delivered is told by `engine.report_unreachable(id)`."""
        ...

    def send_snapshot(self, message: Message) -> None:
        """Of a MsgSnap: begins to stream what `async with engine.snapshot_for_peer(message) as (message, file)` gives, the message first, as it is
        given there.  At its end, whatever it is, `engine.report_snapshot(message.to, ok=...)` is called, once."""
        ...

    def members_changed(self, members: Mapping[int, MemberInfo], removed: Set[int]) -> None:
        """Who there is now, this member among them; `removed` may come back never.  Called when the engine is opened and whenever that changes."""
        ...


class ClusterEngine(Protocol):
    """What services ask an Engine about the cluster; `Engine` implements it.

    `Engine.open(data_dir, env, quota_bytes=, group=)` raises ForeignData where the directory is of another member or cluster; who is to come back with
    the identity that the directory has, asks `storage.opening.identity(data_dir)` before: None for one that is empty, or was made before there were
    groups.
    """

    @property
    def members(self) -> Mapping[int, MemberInfo]: ...

    @property
    def removed(self) -> Set[int]: ...

    @property
    def leader(self) -> int:
        """0: none is known."""
        ...

    @property
    def is_leader(self) -> bool:
        """Whether this member leads and has applied an entry of its term: it may renew and end leases, and knows how long they live."""
        ...

    @property
    def term(self) -> int: ...

    @property
    def applied(self) -> int: ...

    @property
    def committed(self) -> int: ...

    def status(self) -> Status:
        """Raft's; how far each member is (`members[id].match`) is known only at the leader."""
        ...

    def linearizable(self, done: Callable[[Exception | None], None]) -> None:
        """Calls `done` when what is applied here holds every write that was acknowledged anywhere before this call: at once on a lone voter.
        With RequestTimedOut, LeaderChanged or the member's failure where that cannot be known."""
        ...

    async def read_barrier(self) -> None:
        """The same, awaited."""
        ...

    async def change_members(self, change: ConfChangeV2, member: MemberInfo | None) -> None:
        """One change of one member; `member` is the new one, when it is added.  Returns when it is applied here.  On any member that knows a leader.
        Raises MembershipRefused, Unavailable, ValueError for more than one change."""
        ...

    async def update_member(self, info: MemberInfo) -> None:
        """Its name and URLs; whether it is a learner stays.  Raises MembershipRefused, Unavailable."""
        ...

    async def transfer_leadership(self, to: int) -> None:
        """Raises NotLeader, BadTransferee, TransferTimedOut."""
        ...

    def on_lead_changed(self, changed: Callable[[int], None]) -> None:
        """`changed(leader)` whenever another member leads, or none (0), or this one has become ready to lead (`is_leader`)."""
        ...

    def on_restored(self, restored: Callable[[int], None]) -> None:
        """`restored(revision)` when a leader's snapshot has taken the place of all state (`store`, `machine` and what they hold are the same objects,
        with new content): no events were told of the revisions behind `revision`, which was the store's; watches go on from there."""
        ...


class PeerEngine(Protocol):
    """What those who carry the messages call; `Engine` implements it."""

    incoming: Path
    """A folder for snapshots that are being received, on the file system of the data; emptied when the engine is opened."""

    def step(self, message: Message) -> None:
        """A message of another member, but for MsgSnap."""
        ...

    def report_unreachable(self, member: int) -> None: ...

    def report_snapshot(self, member: int, *, ok: bool) -> None: ...

    def snapshot_for_peer(self, message: Message) -> AbstractAsyncContextManager[tuple[Message, BinaryIO]]:
        """(the message with the index that the file has, the file from its beginning).  Raises Unavailable, OSError."""
        ...

    async def receive_snapshot(self, message: Message, file: Path) -> None:
        """A MsgSnap and its file, received whole in `incoming` (its checksum compared): it is taken over, or is out of date and deleted.
        Returns when it is durable here.  Raises StorageError for a file that is not what the message says, Unavailable."""
        ...

    def told_removed(self) -> None:
        """Another member says that this one was removed (it may have missed the entry): it serves no more, and `run` raises MemberRemoved."""
        ...


@dataclass(frozen=True)
class Group:
    """Who one is among others.  Identifiers are greater than 0."""

    member_id: int
    cluster_id: int
    first_members: Sequence[MemberInfo] = ()
    """With whom the cluster begins, the same on all of them; empty when this member joins a cluster that is there.
    Looked at only where the data directory is empty."""
    transport: Transport | None = None
    heartbeat_s: float = 0.1
    election_s: float = 1.0
    catch_up_entries: int = field(default=5000)
    """Entries that are kept in memory for members that lag; who lags more gets a snapshot.  Upstream's number."""
    pre_vote: bool = True
    lease_checkpoint_s: float = 0.0
    """How often what leases have left is recorded; 0 for never, so that a new leader begins their time anew."""
    alone_from_now: bool = False
    """The others are lost for good: this member goes on without them, with what it has (`storage.alone`)."""

    @property
    def request_timeout_s(self) -> float:
        return REQUEST_TIMEOUT_S + 2 * self.election_s


ALONE = Group(1, 1, (MemberInfo(1, "default"),))
"""A store without a network."""
