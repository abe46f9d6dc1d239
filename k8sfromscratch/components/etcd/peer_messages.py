"""What members of one cluster say to one another: methods, the metadata that every call carries, and which messages are believed.

    /kfs.etcd.Peer/Messages     a stream without an end: one Raft message each (`raftpb`), in order
    /kfs.etcd.Peer/Snapshot     Raft's MsgSnap, then the state in pieces, then their checksum; answered when it is received whole
    /kfs.etcd.Peer/Probe        an empty question: is this the member that I take it for, and how long is the way
    /kfs.etcd.Peer/Members      who belongs to the cluster: for one that is to join and knows nothing yet
    /kfs.etcd.Peer/LeaseKeepAlive, LeaseTimeToLive    only the leader knows how long a lease lives
    /kfs.etcd.Peer/Promote      only the leader knows how far a learner is
    /kfs.etcd.Peer/HashKV       do we hold the same

The wire between upstream's members (rafthttp) is not spoken: the members of one cluster are all ours.  The names of the metadata are upstream's.

    invariant: what comes out of `read_message` breaks none of the assertions of `core.raft` that a single message can break
"""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from k8sfromscratch.core.raft import raftpb
from k8sfromscratch.core.raft.types import Entry, EntryType, Message, MessageType
from k8sfromscratch.core.rpc.headers import Headers, header
from k8sfromscratch.core.rpc.protobuf import load_proto

PREFIX = "/kfs.etcd.Peer/"
MESSAGES, SNAPSHOT, PROBE, MEMBERS = PREFIX + "Messages", PREFIX + "Snapshot", PREFIX + "Probe", PREFIX + "Members"
KEEP_ALIVE, TIME_TO_LIVE, PROMOTE, HASH_KV = PREFIX + "LeaseKeepAlive", PREFIX + "LeaseTimeToLive", PREFIX + "Promote", PREFIX + "HashKV"

CLUSTER_KEY, FROM_KEY, TO_KEY, URLS_KEY = "x-etcd-cluster-id", "x-server-from", "x-raft-to", "x-peerurls"

CLUSTER_MISMATCH, MEMBER_MISMATCH = "request cluster ID mismatch", "request member ID mismatch"
REMOVED = "the member has been permanently removed from the cluster"

LOCAL = frozenset((MessageType.HUP, MessageType.BEAT, MessageType.UNREACHABLE, MessageType.SNAP_STATUS, MessageType.CHECK_QUORUM))
"""A member tells them itself; from another they are no truth."""
FORWARDED = frozenset((MessageType.PROP, MessageType.READ_INDEX, MessageType.TRANSFER_LEADER))
"""What has no term: it is for whoever leads."""

pb = load_proto(
    """
    message Members { uint64 cluster_id = 1; repeated bytes members = 2; }
    message SnapshotPart { oneof part { bytes message = 1; bytes blob = 2; SnapshotEnd end = 3; } }
    message SnapshotEnd { uint64 size_bytes = 1; bytes sha256 = 2; }
    message PromoteRequest { uint64 member = 1; }
    """,
    package="kfs.etcd",
)


class PeerError(Exception):
    """What came is not a message of this cluster's; the connection is not believed any more."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who says to be calling whom."""

    cluster: int
    from_: int
    to: int


def metadata(caller: Caller, urls: Iterable[str]) -> list[tuple[str, str]]:
    return [(CLUSTER_KEY, f"{caller.cluster:x}"), (FROM_KEY, f"{caller.from_:x}"), (TO_KEY, f"{caller.to:x}"), (URLS_KEY, ",".join(urls))]


def caller_of(headers: Headers) -> Caller:
    """Raises PeerError."""
    try:
        return Caller(*(int(header(headers, key), 16) for key in (CLUSTER_KEY, FROM_KEY, TO_KEY)))
    except ValueError as error:
        raise PeerError(f"it does not say who it is: {error}") from error


def read_message(raw: bytes, own: int) -> Message:
    """One for the member `own`.  Raises PeerError."""
    try:
        message = raftpb.decode_message(raw)
    except (DecodeError, ValueError) as error:
        raise PeerError(f"a message that cannot be read: {error}") from error
    if message.type in LOCAL:
        raise PeerError(f"a message of type {message.type.name}, which no member sends")
    if message.to != own or not message.from_ or message.from_ == own:
        raise PeerError(f"a message from {message.from_:x} to {message.to:x}, and this member is {own:x}")
    if not message.term and message.type not in FORWARDED:
        raise PeerError(f"a message of type {message.type.name} without a term")
    if (message.type == MessageType.SNAP) != (message.snapshot is not None):
        raise PeerError(f"a message of type {message.type.name} with{'out' if message.snapshot is None else ''} a snapshot")
    if message.type == MessageType.APP:
        _check_entries(message)
    elif message.type == MessageType.PROP:
        _check_proposals(message)
    elif message.entries:
        raise PeerError(f"a message of type {message.type.name} with entries")
    return message


def _check_entries(message: Message) -> None:
    """They follow one another and what stands before them, in index and in term (§5.3)."""
    index, term = message.index, message.log_term
    for entry in message.entries:
        index += 1
        if entry.index != index or not term <= entry.term <= message.term:
            raise PeerError(f"entries that are not in order: {entry.index} of term {entry.term} where {index} was expected")
        term = entry.term
        _check_change(entry)


def _check_proposals(message: Message) -> None:
    if not message.entries:
        raise PeerError("a proposal of nothing")
    for entry in message.entries:
        _check_change(entry)


def _check_change(entry: Entry) -> None:
    if entry.type != EntryType.NORMAL:
        try:
            raftpb.decode_conf_change(entry)
        except (DecodeError, ValueError) as error:
            raise PeerError(f"a change of members that cannot be read: {error}") from error
