"""What other members ask of this one, on the peer port.

call ─► is it of our cluster, for this member, from one that was not removed? ─► Raft's message ─► engine.step
                    │ no: refused, and told in the log                         ─► snapshot ─► a file, compared, then the engine's
                    ▼                                                          ─► a question that the leader, or any member, answers
Nothing that comes here can end the process: what cannot be read closes the connection it came on.
"""

import asyncio
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from k8sfromscratch.components.etcd import peer_messages as wire
from k8sfromscratch.components.etcd.bootstrap import member_messages
from k8sfromscratch.components.etcd.connection import Call, OpenStream, Unary
from k8sfromscratch.components.etcd.leasing import Leasing
from k8sfromscratch.components.etcd.member import Member, fail
from k8sfromscratch.components.etcd.peers import Peers
from k8sfromscratch.core.mvcc.errors import MvccError
from k8sfromscratch.core.raft.types import Message, MessageType, ProposalDropped
from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.core.rpc.headers import header
from k8sfromscratch.storage.interface import StorageError

log = logging.getLogger(__name__)

MESSAGE_MAX_BYTES = 128 * 1024 * 1024
"""Of one Raft message: entries of up to half a MiB together, or one of any size that clients may send."""
RECEIVING_MAX = 2
"""Snapshots that are received at a time: one leader sends one."""
UNWRITTEN_MAX_BYTES = 64 * 1024 * 1024
"""Of a snapshot: a disk that falls so far behind the sender ends it."""


class PeerService:
    def __init__(self, member: Member, peers: Peers, leasing: Leasing, promote: Callable[[int], Coroutine[Any, Any, None]], allowed_cn: str = "") -> None:
        """`promote` as the leader."""
        self._member, self._engine, self._peers, self._leasing, self._promote = member, member.engine, peers, leasing, promote
        self._allowed_cn = allowed_cn
        self._told: set[tuple[int, str]] = set()
        self.receiving = 0
        self.received_bytes: dict[int, int] = {}
        """Of Raft's messages, by the member that sent them."""

    def unary(self) -> dict[str, Unary]:
        return {
            wire.PROBE: self._guarded(lambda data, call: call.reply(b"")),
            wire.MEMBERS: self._members,
            wire.KEEP_ALIVE: self._guarded(self._keep_alive),
            wire.TIME_TO_LIVE: self._guarded(self._time_to_live),
            wire.PROMOTE: self._guarded(self._promoted),
            wire.HASH_KV: self._guarded(self._hash_kv),
        }

    def streams(self) -> dict[str, OpenStream]:
        return {wire.MESSAGES: lambda call: _Messages(call, self), wire.SNAPSHOT: lambda call: _Snapshot(call, self)}

    # Who calls

    def admit(self, call: Call) -> wire.Caller | None:
        """None for one that is refused, and has been told so."""
        try:
            caller = wire.caller_of(call.metadata)
        except wire.PeerError as error:
            call.finish(grpc.INVALID_ARGUMENT, f"this is etcd's peer port: {error}")
            return None
        refused = self._refusal(caller, call)
        if refused:
            if (caller.from_, refused) not in self._told and len(self._told) < 1000:
                self._told.add((caller.from_, refused))
                log.warning(
                    "%s: a request of member %x to member %x of cluster %x is refused; this is member %x of cluster %x",
                    refused, caller.from_, caller.to, caller.cluster, self._member.id, self._member.cluster_id,
                )  # fmt: skip
            call.finish(grpc.FAILED_PRECONDITION, refused)
            return None
        self._peers.heard_of(caller.from_, header(call.metadata, wire.URLS_KEY).split(","))
        return caller

    def _refusal(self, caller: wire.Caller, call: Call) -> str:
        if self._allowed_cn and call.common_name != self._allowed_cn:
            return f"client certificate authentication failed: the common name {call.common_name!r} is not allowed"
        if caller.cluster != self._member.cluster_id:
            return wire.CLUSTER_MISMATCH
        if caller.from_ in self._peers.removed:
            return wire.REMOVED
        if caller.to != self._member.id:
            return wire.MEMBER_MISMATCH
        if caller.from_ == self._member.id:
            return "member ID conflict: this is me"
        return ""

    def _guarded(self, method: Unary) -> Unary:
        def guarded(data: bytes, call: Call) -> None:
            if self.admit(call) is None:
                return
            try:
                method(data, call)
            except (MvccError, StorageError, DecodeError) as error:
                fail(call, error)

        return guarded

    # Messages

    def step(self, raw: bytes, caller: wire.Caller) -> None:
        """Raises PeerError."""
        message = wire.read_message(raw, self._member.id)
        if message.type == MessageType.SNAP:
            raise wire.PeerError("a snapshot among the messages")
        self.received_bytes[caller.from_] = self.received_bytes.get(caller.from_, 0) + len(raw)
        try:
            self._engine.step(message)
        except ProposalDropped as error:
            log.debug("a forwarded request is dropped: %s", error)
        except AssertionError as error:
            raise wire.PeerError(f"a message that contradicts this member's log: {error}") from error

    # Questions

    def _members(self, data: bytes, call: Call) -> None:
        """Of anybody who has the right certificate: one that is to join does not know the cluster's identifier yet."""
        if self._allowed_cn and call.common_name != self._allowed_cn:
            call.finish(grpc.PERMISSION_DENIED, "the common name is not allowed")
            return
        members = [each.SerializeToString() for each in member_messages(self._engine.members.values())]
        call.reply(wire.pb.Members(cluster_id=self._member.cluster_id, members=members).SerializeToString())

    def _keep_alive(self, data: bytes, call: Call) -> None:
        lease = m.LeaseKeepAliveRequest.FromString(data).ID

        async def work() -> None:
            (answer,) = await self._leasing.renewed_here([lease])
            call.reply(answer.SerializeToString())

        self._member.spawn(work(), call)

    def _time_to_live(self, data: bytes, call: Call) -> None:
        call.reply(self._leasing.time_to_live_here(m.LeaseTimeToLiveRequest.FromString(data)).SerializeToString())

    def _promoted(self, data: bytes, call: Call) -> None:
        member = wire.pb.PromoteRequest.FromString(data).member

        async def work() -> None:
            await self._promote(member)
            call.reply(b"")

        self._member.spawn(work(), call)

    def _hash_kv(self, data: bytes, call: Call) -> None:
        revision = m.HashKVRequest.FromString(data).revision

        async def work() -> None:
            call.reply((await self._member.hash_kv(revision)).SerializeToString())

        self._member.spawn(work(), call)

    # Snapshots

    @property
    def member(self) -> Member:
        return self._member

    async def take_over(self, message: Message, file: Path) -> None:
        await self._engine.receive_snapshot(message, file)


class _Messages:
    """One member's stream of Raft's messages."""

    def __init__(self, call: Call, service: PeerService) -> None:
        self._call, self._service = call, service
        self._caller = service.admit(call)

    def message(self, data: bytes) -> None:
        if self._caller is None:
            return
        try:
            self._service.step(data, self._caller)
        except wire.PeerError as error:
            log.error("the connection of member %x is closed, which sent %s", self._caller.from_, error)
            self._caller = None
            self._call.finish(grpc.INVALID_ARGUMENT, str(error))

    def half_closed(self) -> None:
        self._call.finish()

    def closed(self) -> None:
        self._caller = None


class _Snapshot:
    """One snapshot: written to a file by a task as its pieces come, compared, handed over."""

    def __init__(self, call: Call, service: PeerService) -> None:
        self._call, self._service = call, service
        self._parts: asyncio.Queue[Any] = asyncio.Queue()
        self._unwritten = 0
        self._task: asyncio.Task[None] | None = None
        self._caller = service.admit(call)
        if self._caller is not None and service.receiving >= RECEIVING_MAX:
            self._caller = None
            call.finish(grpc.RESOURCE_EXHAUSTED, "other snapshots are being received")
        if self._caller is not None:
            service.receiving += 1
            self._task = service.member.spawn(self._receive(self._caller), call)
            self._task.add_done_callback(self._done)

    def message(self, data: bytes) -> None:
        if self._task is None:
            return
        try:
            part = wire.pb.SnapshotPart.FromString(data)
        except DecodeError as error:
            self._end(f"a piece of a snapshot that cannot be read: {error}")
            return
        self._unwritten += len(data)
        if self._unwritten > UNWRITTEN_MAX_BYTES:
            self._end("more than this member's disk can take")
            return
        self._parts.put_nowait(part)

    def half_closed(self) -> None:
        if self._task is not None:
            self._parts.put_nowait(None)

    def closed(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, reason: str) -> None:
        log.error("a snapshot is refused: %s", reason)
        self.closed()
        self._task = None
        self._call.finish(grpc.INVALID_ARGUMENT, reason)

    def _done(self, _: object) -> None:
        self._service.receiving -= 1

    async def _receive(self, caller: wire.Caller) -> None:
        folder = self._service.member.engine.incoming
        handle, name = tempfile.mkstemp(dir=folder, prefix=f"{caller.from_:x}-")
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                message = await self._write(file)
            log.info("received a snapshot at index %d from member %x", message.snapshot.index if message.snapshot else 0, caller.from_)
            await self._service.take_over(message, path)
            self._call.reply(b"")
        except wire.PeerError as error:
            log.error("a snapshot of member %x is refused: %s", caller.from_, error)
            self._call.finish(grpc.INVALID_ARGUMENT, str(error))
        finally:
            path.unlink(missing_ok=True)

    async def _write(self, file: Any) -> Message:
        """The message that the snapshot belongs to, when all of it is in the file.  Raises PeerError."""
        first = await self._part()
        if first.WhichOneof("part") != "message":
            raise wire.PeerError("a snapshot that does not begin with its message")
        message = wire.read_message(first.message, self._service.member.id)
        if message.type != MessageType.SNAP:
            raise wire.PeerError(f"a message of type {message.type.name} where a snapshot begins")
        checksum, size = hashlib.sha256(), 0
        while True:
            part = await self._part()
            match part.WhichOneof("part"):
                case "blob":
                    await asyncio.to_thread(file.write, part.blob)
                    checksum.update(part.blob)
                    size += len(part.blob)
                case "end":
                    if (part.end.size_bytes, part.end.sha256) != (size, checksum.digest()):
                        raise wire.PeerError("a snapshot that is not what was sent: its checksum differs")
                    return message
                case _:
                    raise wire.PeerError("a piece of a snapshot that is none")

    async def _part(self) -> Any:
        """Raises PeerError."""
        part = await self._parts.get()
        if part is None:
            raise wire.PeerError("a snapshot that ends before its end")
        self._unwritten -= part.ByteSize()
        return part
