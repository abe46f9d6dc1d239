"""All other members, as an Engine reaches them: its Transport.

    engine ─ send ─► the `Peer` of each ─ link ─► other member          messages, in order
           ─ send_snapshot ─► a link of its own, in a task              the state, so that no heartbeat waits behind it
           ─ members_changed ─► peers come, go, and move

Members that the engine does not know yet may speak to this one: it lags behind a change, or joins and knows nobody.  They say where they are
reached, and are answered there until the engine knows better.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import BinaryIO

from k8sfromscratch.components.etcd import peer_messages as wire
from k8sfromscratch.components.etcd.certificates import ClientTls
from k8sfromscratch.components.etcd.initial import check_url
from k8sfromscratch.components.etcd.peer import Peer
from k8sfromscratch.components.etcd.peer_link import PeerLink, PeerRefused, connect
from k8sfromscratch.core.raft import raftpb
from k8sfromscratch.core.raft.types import Message
from k8sfromscratch.process.clock import Clock
from k8sfromscratch.storage.group import MemberInfo, PeerEngine
from k8sfromscratch.storage.interface import StorageError, Unavailable

log = logging.getLogger(__name__)

PART_BYTES = 256 * 1024
PART_WAITS_BYTES = 4 * 1024 * 1024
"""Of a snapshot: so much may be on its way before the next piece is read from the file."""
SNAPSHOT_STALLED_S = 60.0
"""A receiver that takes nothing for so long, or does not say in that time that it has it, has failed."""
STRANGERS_MAX = 16
"""Members that the engine does not know and that are answered all the same."""


class Peers:
    def __init__(self, own: int, cluster: int, urls: Sequence[str], tls: ClientTls, clock: Clock) -> None:
        """`urls` are where this member is reached, unless the cluster knows better; `tls` is this member's as a client of others."""
        self.own, self.cluster, self._urls = own, cluster, tuple(urls)
        self._tls, self._clock = tls, clock
        self._engine: PeerEngine | None = None
        self._peers: dict[int, Peer] = {}
        self._known: Mapping[int, MemberInfo] = {}
        self.removed: Set[int] = frozenset()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._running = False
        self.snapshots_sent = self.snapshots_failed = 0

    def attach(self, engine: PeerEngine) -> None:
        """Once, before anything else but `members_changed`."""
        self._engine = engine

    # The engine's Transport

    def send(self, messages: Sequence[Message]) -> None:
        to: dict[int, list[Message]] = {}
        for message in messages:
            to.setdefault(message.to, []).append(message)
        for member, mine in to.items():
            peer = self._peers.get(member)
            if peer is not None:
                peer.send(mine)
            else:
                log.debug("%d messages to member %x, whom nobody knows, are dropped", len(mine), member)

    def send_snapshot(self, message: Message) -> None:
        task = asyncio.get_running_loop().create_task(self._send_snapshot(message), name=f"snapshot to {message.to:x}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def members_changed(self, members: Mapping[int, MemberInfo], removed: Set[int]) -> None:
        strangers = {member: peer for member, peer in self._peers.items() if member not in self._known and member not in removed}
        self._known, self.removed = dict(members), frozenset(removed)
        for gone in self._peers.keys() - members.keys() - strangers.keys():
            log.info("member %x is none any more: nothing is sent to it", gone)
            del self._peers[gone]
            if gone in self._tasks:
                self._tasks.pop(gone).cancel()
        for member, info in members.items():
            if member != self.own and info.peer_urls:
                self._reach(member, info.peer_urls)

    # Who there is

    def __getitem__(self, member: int) -> Peer:
        """Raises Unavailable."""
        peer = self._peers.get(member)
        if peer is None:
            raise Unavailable(f"member {member:x} is not known here")
        return peer

    def all(self) -> list[Peer]:
        return list(self._peers.values())

    def active_since(self, member: int) -> float | None:
        peer = self._peers.get(member)
        return peer.active_since_s if peer is not None else None

    def urls(self) -> tuple[str, ...]:
        """Of this member, for those who do not know it."""
        own = self._known.get(self.own)
        return own.peer_urls if own is not None and own.peer_urls else self._urls

    def heard_of(self, member: int, urls: Iterable[str]) -> None:
        """A member of this cluster has spoken; `urls` are where it says it is reached."""
        peer = self._peers.get(member)
        if peer is not None:
            peer.awake()
        elif sum(each not in self._known for each in self._peers) < STRANGERS_MAX:
            try:
                told = [check_url(url) for url in urls]
            except ValueError:
                return
            if told:
                log.info("member %x, which is not known here yet, says that it is at %s", member, ",".join(told))
                self._reach(member, told)

    def _reach(self, member: int, urls: Sequence[str]) -> None:
        peer = self._peers.get(member)
        if peer is None:
            peer = self._peers[member] = Peer(wire.Caller(self.cluster, self.own, member), urls, self._tls, self._clock, self)
            if self._running:
                self._start(peer)
        else:
            peer.move(urls)

    def _start(self, peer: Peer) -> None:
        self._tasks[peer.id] = asyncio.get_running_loop().create_task(peer.run(), name=f"peer {peer.id:x}")

    # What a peer has to tell

    def unreachable(self, member: int) -> None:
        if self._engine is not None:
            self._engine.report_unreachable(member)

    def told_removed(self) -> None:
        if self._engine is not None:
            self._engine.told_removed()

    # Life

    async def run(self) -> None:
        """Keeps links to all, until cancelled."""
        self._running = True
        for peer in self._peers.values():
            self._start(peer)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            tasks = [*self._tasks.values(), *self._sending]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    # Snapshots

    async def _send_snapshot(self, message: Message) -> None:
        engine = self._engine
        assert engine is not None, "a snapshot before there is an engine"
        sent = False
        try:
            peer = self[message.to]
            async with engine.snapshot_for_peer(message) as (actual, file):
                log.info("sending a snapshot at index %d to member %x", actual.snapshot.index if actual.snapshot else 0, message.to)
                link = await connect(peer.urls[0], self._tls())
                try:
                    await _stream(link, peer.metadata, actual, file)
                finally:
                    link.close()
            sent = True
            log.info("member %x has the snapshot", message.to)
        except (StorageError, PeerRefused, OSError) as error:
            log.warning("a snapshot for member %x failed: %s", message.to, error)
        finally:
            if sent:
                self.snapshots_sent += 1
            else:
                self.snapshots_failed += 1
            engine.report_snapshot(message.to, ok=sent)


async def _stream(link: PeerLink, metadata: Sequence[tuple[str, str]], message: Message, file: BinaryIO) -> None:
    """Raises Unavailable, PeerRefused, OSError."""
    stream, answer = link.ask(wire.SNAPSHOT, metadata)
    try:
        link.send(stream, wire.pb.SnapshotPart(message=raftpb.encode_message(message)).SerializeToString())
        checksum, size = hashlib.sha256(), 0
        while blob := await asyncio.to_thread(file.read, PART_BYTES):
            checksum.update(blob)
            size += len(blob)
            link.send(stream, wire.pb.SnapshotPart(blob=blob).SerializeToString())
            await link.room(stream, PART_WAITS_BYTES, answer, SNAPSHOT_STALLED_S)
        end = wire.pb.SnapshotEnd(size_bytes=size, sha256=checksum.digest())
        link.send(stream, wire.pb.SnapshotPart(end=end).SerializeToString(), end=True)
        async with asyncio.timeout(SNAPSHOT_STALLED_S):
            await answer
    except TimeoutError as error:
        raise Unavailable("the receiver does not go on") from error
    finally:
        answer.cancel()
