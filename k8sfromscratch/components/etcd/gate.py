"""What stands before every method: whether this member may answer it now.

a learner answers reads that are content with what it has, its status, and snapshots; clients go to a voter with the rest
a call with the metadata `hasleader` wants a leader: it is refused without one, and a stream ends when there has been none for a while,
so that its client tries another member: this one may be cut off from the others
"""

import asyncio
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from k8sfromscratch.components.etcd.connection import Call, OpenStream, Stream, Unary
from k8sfromscratch.components.etcd.member import Member
from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.core.rpc.headers import Headers, header

LEADER_KEY = "hasleader"
NO_LEADER = "etcdserver: no leader"
NOT_FOR_LEARNER = "etcdserver: rpc not supported for learner"
LEADERLESS_ELECTIONS = 3
"""After so many election timeouts without a leader, streams that want one end; upstream's number."""

LEARNERS_UNARY: dict[str, Callable[[bytes], bool]] = {
    "/etcdserverpb.Maintenance/Status": lambda _: True,
    "/etcdserverpb.KV/Range": lambda data: bool(m.RangeRequest.FromString(data).serializable),
}
LEARNERS_STREAMS = frozenset({"/etcdserverpb.Maintenance/Snapshot"})


class Gate:
    def __init__(self, member: Member, election_s: float) -> None:
        self._member, self._engine = member, member.engine
        self._patience_s = LEADERLESS_ELECTIONS * election_s
        self._wanting: set[_Guarded] = set()
        """Streams that want a leader."""
        self._timer: asyncio.TimerHandle | None = None
        self._engine.on_lead_changed(self._lead_changed)

    def unary(self, methods: dict[str, Unary]) -> dict[str, Unary]:
        return {name: self._unary(name, method) for name, method in methods.items()}

    def streams(self, methods: dict[str, OpenStream]) -> dict[str, OpenStream]:
        return {name: self._stream(name, opener) for name, opener in methods.items()}

    def _unary(self, name: str, method: Unary) -> Unary:
        engine, member = self._engine, self._member
        allowed = LEARNERS_UNARY.get(name, lambda _: False)

        def guarded(data: bytes, call: Call) -> None:
            if not engine.leader and _wants_leader(call.metadata):
                call.finish(grpc.UNAVAILABLE, NO_LEADER)
            elif member.is_learner and not _safely(allowed, data):
                call.finish(grpc.FAILED_PRECONDITION, NOT_FOR_LEARNER)
            else:
                method(data, call)

        return guarded

    def _stream(self, name: str, opener: OpenStream) -> OpenStream:
        def guarded(call: Call) -> Stream:
            if not self._engine.leader and _wants_leader(call.metadata):
                call.finish(grpc.UNAVAILABLE, NO_LEADER)
            elif self._member.is_learner and name not in LEARNERS_STREAMS:
                call.finish(grpc.FAILED_PRECONDITION, NOT_FOR_LEARNER)
            elif _wants_leader(call.metadata):
                return _Guarded(opener(call), call, self._wanting)
            else:
                return opener(call)
            return _Refused()

        return guarded

    def _lead_changed(self, leader: int) -> None:
        if leader and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif not leader and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience_s, self._end_streams)

    def _end_streams(self) -> None:
        self._timer = None
        for stream in list(self._wanting):
            stream.end()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Refused:
    """A stream that is ended already."""

    def message(self, data: bytes) -> None:
        return None

    def half_closed(self) -> None:
        return None

    def closed(self) -> None:
        return None


class _Guarded:
    """A stream that ends without a leader."""

    def __init__(self, stream: Stream, call: Call, wanting: "set[_Guarded]") -> None:
        self._stream, self._call, self._wanting = stream, call, wanting
        wanting.add(self)

    def message(self, data: bytes) -> None:
        self._stream.message(data)

    def half_closed(self) -> None:
        self._stream.half_closed()

    def closed(self) -> None:
        self._wanting.discard(self)
        self._stream.closed()

    def end(self) -> None:
        self.closed()
        self._call.finish(grpc.UNAVAILABLE, NO_LEADER)


def _wants_leader(metadata: Headers) -> bool:
    return header(metadata, LEADER_KEY) == "true"


def _safely(allowed: Callable[[bytes], bool], data: bytes) -> Any:
    try:
        return allowed(data)
    except DecodeError:
        return True  # the method tells what is wrong with it
