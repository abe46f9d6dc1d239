"""What stands in the entries of the log.

    NORMAL          kind 1 | request 8 | payload     a record of `machine`; empty: the entry with which a leader begins its term
    CONF_CHANGE_V2  its context: request 8 | etcd's message Member, empty where no member is added

The request is the number under which whoever proposed it waits for the result: unique among all members, 0 for nobody.
"""

import struct

from k8sfromscratch.core.raft.types import ConfChangeV2
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.group import MemberInfo

_RECORD = struct.Struct("<BQ")
_REQUEST = struct.Struct("<Q")

encode_head = _RECORD.pack
"""(kind, request): what comes before a record's payload."""
read_head = _RECORD.unpack_from
HEAD_BYTES = _RECORD.size


def with_context(change: ConfChangeV2, request: int, member: MemberInfo | None) -> ConfChangeV2:
    context = _REQUEST.pack(request) + (encode_member(member) if member is not None else b"")
    return ConfChangeV2(change.changes, change.transition, context)


def read_context(change: ConfChangeV2) -> tuple[int, MemberInfo | None]:
    """A change without one is Raft's own: the end of a joint configuration."""
    if len(change.context) < _REQUEST.size:
        return 0, None
    raw = change.context[_REQUEST.size :]
    return _REQUEST.unpack_from(change.context)[0], decode_member(raw) if raw else None


def encode_member(info: MemberInfo) -> bytes:
    raw: bytes = m.Member(ID=info.id, name=info.name, peerURLs=info.peer_urls, clientURLs=info.client_urls, isLearner=info.is_learner).SerializeToString()
    return raw


def decode_member(raw: bytes) -> MemberInfo:
    read = m.Member.FromString(raw)
    return MemberInfo(read.ID, read.name, tuple(read.peerURLs), tuple(read.clientURLs), read.isLearner)
