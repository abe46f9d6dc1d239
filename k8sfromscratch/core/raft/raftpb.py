"""Entries, messages, hard states and configurations as raftpb's bytes: what goes between members and into the log.

Field names and numbers are etcd-io/raft's raft.proto; `commitTerm` is our own (see `election`).
`decode_*` raise `google.protobuf.message.DecodeError`, or ValueError for an unknown type.
"""

from typing import Any

from k8sfromscratch.core.raft.types import (
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    Snapshot,
)
from k8sfromscratch.core.rpc.protobuf import load_proto

pb = load_proto(
    """
    message Entry { int32 Type = 1; uint64 Term = 2; uint64 Index = 3; bytes Data = 4; }
    message ConfState {
        repeated uint64 voters = 1; repeated uint64 learners = 2; repeated uint64 voters_outgoing = 3; repeated uint64 learners_next = 4;
        bool auto_leave = 5;
    }
    message SnapshotMetadata { ConfState conf_state = 1; uint64 index = 2; uint64 term = 3; }
    message Snapshot { bytes data = 1; SnapshotMetadata metadata = 2; }
    message Message {
        int32 type = 1; uint64 to = 2; uint64 from = 3; uint64 term = 4; uint64 logTerm = 5; uint64 index = 6; repeated Entry entries = 7;
        uint64 commit = 8; Snapshot snapshot = 9; bool reject = 10; uint64 rejectHint = 11; bytes context = 12;
        uint64 commitTerm = 15;
    }
    message HardState { uint64 term = 1; uint64 vote = 2; uint64 commit = 3; }
    message ConfChange { uint64 id = 1; int32 type = 2; uint64 node_id = 3; bytes context = 4; }
    message ConfChangeSingle { int32 type = 1; uint64 node_id = 2; }
    message ConfChangeV2 { int32 transition = 1; repeated ConfChangeSingle changes = 2; bytes context = 3; }
    """,
    package="raftpb",
)


def encode_entry(entry: Entry) -> bytes:
    raw: bytes = _entry(entry).SerializeToString()
    return raw


def decode_entry(raw: bytes) -> Entry:
    return _read_entry(pb.Entry.FromString(raw))


def encode_hard_state(state: HardState) -> bytes:
    raw: bytes = pb.HardState(term=state.term, vote=state.vote, commit=state.commit).SerializeToString()
    return raw


def decode_hard_state(raw: bytes) -> HardState:
    read = pb.HardState.FromString(raw)
    return HardState(read.term, read.vote, read.commit)


def encode_conf_state(state: ConfState) -> bytes:
    raw: bytes = _conf_state(state).SerializeToString()
    return raw


def decode_conf_state(raw: bytes) -> ConfState:
    return _read_conf_state(pb.ConfState.FromString(raw))


def encode_snapshot(snapshot: Snapshot) -> bytes:
    raw: bytes = _snapshot(snapshot).SerializeToString()
    return raw


def decode_snapshot(raw: bytes) -> Snapshot:
    return _read_snapshot(pb.Snapshot.FromString(raw))


def encode_message(message: Message) -> bytes:
    m = message
    out = pb.Message(
        type=m.type, to=m.to, term=m.term, logTerm=m.log_term, index=m.index, entries=[_entry(e) for e in m.entries],
        commit=m.commit, reject=m.reject, rejectHint=m.reject_hint, context=m.context, commitTerm=m.commit_term,
    )  # fmt: skip
    setattr(out, "from", m.from_)
    if m.snapshot is not None:
        out.snapshot.CopyFrom(_snapshot(m.snapshot))
    raw: bytes = out.SerializeToString()
    return raw


def decode_message(raw: bytes) -> Message:
    m = pb.Message.FromString(raw)
    return Message(
        type=MessageType(m.type), to=m.to, from_=getattr(m, "from"), term=m.term, log_term=m.logTerm, index=m.index,
        entries=tuple(_read_entry(e) for e in m.entries), commit=m.commit, reject=m.reject, reject_hint=m.rejectHint, context=m.context,
        commit_term=m.commitTerm, snapshot=_read_snapshot(m.snapshot) if m.snapshot.metadata.index else None,
    )  # fmt: skip


def encode_conf_change(change: ConfChangeV2) -> bytes:
    singles = [pb.ConfChangeSingle(type=each.type, node_id=each.node_id) for each in change.changes]
    raw: bytes = pb.ConfChangeV2(transition=change.transition, changes=singles, context=change.context).SerializeToString()
    return raw


def decode_conf_change(entry: Entry) -> ConfChangeV2:
    """Of an entry of either type: one of the older type is a single change."""
    if entry.type == EntryType.CONF_CHANGE:
        one = pb.ConfChange.FromString(entry.data)
        return ConfChangeV2((ConfChangeSingle(ConfChangeType(one.type), one.node_id),), context=one.context)
    read = pb.ConfChangeV2.FromString(entry.data)
    singles = tuple(ConfChangeSingle(ConfChangeType(each.type), each.node_id) for each in read.changes)
    return ConfChangeV2(singles, ConfChangeTransition(read.transition), read.context)


def _entry(entry: Entry) -> Any:
    return pb.Entry(Type=entry.type, Term=entry.term, Index=entry.index, Data=entry.data)


def _read_entry(read: Any) -> Entry:
    return Entry(read.Term, read.Index, read.Data, EntryType(read.Type))


def _conf_state(state: ConfState) -> Any:
    return pb.ConfState(
        voters=state.voters,
        learners=state.learners,
        voters_outgoing=state.voters_outgoing,
        learners_next=state.learners_next,
        auto_leave=state.auto_leave,
    )


def _read_conf_state(read: Any) -> ConfState:
    return ConfState(tuple(read.voters), tuple(read.learners), tuple(read.voters_outgoing), tuple(read.learners_next), read.auto_leave)


def _snapshot(snapshot: Snapshot) -> Any:
    metadata = pb.SnapshotMetadata(conf_state=_conf_state(snapshot.conf_state), index=snapshot.index, term=snapshot.term)
    return pb.Snapshot(data=snapshot.data, metadata=metadata)


def _read_snapshot(read: Any) -> Snapshot:
    return Snapshot(read.metadata.index, read.metadata.term, _read_conf_state(read.metadata.conf_state), read.data)
