"""One other member, as this one reaches it: a link that is made again whenever it breaks, and Raft's messages on it.

    connect ─► probe: is it the one, of our cluster? ─► active: messages leave in order, without waiting for answers
       ▲            └─ no: told in the log, once              │ broken, silent, refused
       └─────────── pause, twice as long each time ◄──────────┘

A message that cannot leave is dropped and Raft is told that the member is unreachable: it sends again what matters.  So nothing piles up for a member
that is down or slow, and the sender never waits.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from k8sfromscratch.components.etcd import peer_messages as wire
from k8sfromscratch.components.etcd.certificates import ClientTls
from k8sfromscratch.components.etcd.peer_link import PeerLink, PeerRefused, connect
from k8sfromscratch.core.raft import raftpb
from k8sfromscratch.core.raft.types import Message
from k8sfromscratch.process.clock import Clock
from k8sfromscratch.storage.interface import Unavailable

log = logging.getLogger(__name__)

UNSENT_MAX_BYTES = 32 * 1024 * 1024
"""What may wait for a member that reads slowly: some windows of Raft's (8 MiB in flight).  What is more is dropped."""
PAUSE_FIRST_S, PAUSE_MAX_S = 0.02, 0.5
"""Between two attempts.  An election waits for connections, so the longest is shorter than most election timeouts."""
PROBE_EVERY_S, PROBE_S = 2.0, 5.0
"""A member that answers no probe for so long is taken for gone, even though its machine resets no connection."""


class Listener(Protocol):
    """Who is told what becomes of a peer."""

    def unreachable(self, member: int) -> None:
        """Messages to it were dropped."""
        ...

    def told_removed(self) -> None:
        """It says that this member was removed."""
        ...

    def urls(self) -> Sequence[str]:
        """Where this member is reached."""
        ...


class Peer:
    def __init__(self, caller: wire.Caller, urls: Sequence[str], tls: ClientTls, clock: Clock, listener: Listener) -> None:
        self.id, self.urls = caller.to, tuple(urls)
        self._caller, self._tls = caller, tls
        self._clock, self._listener = clock, listener
        self._link: PeerLink | None = None
        self._stream = 0
        self._told = ""
        """The last complaint, so that each is logged once."""
        self._look_again = asyncio.Event()
        self._reported = False
        self.active_since_s: float | None = None
        """Of the monotonic clock."""
        self.round_trip_s = 0.0
        self.sent_bytes = self.dropped = self.disconnected = 0

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return wire.metadata(self._caller, self._listener.urls())

    def send(self, messages: Sequence[Message]) -> None:
        """In order, or not at all."""
        link = self._link
        if link is None or link.unsent_bytes(self._stream) > UNSENT_MAX_BYTES:
            self._drop(len(messages))
            return
        for message in messages:
            raw = raftpb.encode_message(message)
            self.sent_bytes += len(raw)
            link.send(self._stream, raw)

    async def ask(self, method: str, message: bytes, timeout_s: float) -> bytes:
        """Raises PeerRefused, Unavailable."""
        if self._link is None:
            raise Unavailable(f"member {self.id:x} cannot be reached")
        return await self._link.request(method, message, self.metadata, timeout_s)

    def awake(self) -> None:
        """It has been heard of: an attempt that would wait is made now."""
        self._look_again.set()

    def move(self, urls: Sequence[str]) -> None:
        """It is reached elsewhere now.  A link that is good is kept: what is on it would be lost, and nobody asks again for a proposal on its way."""
        self.urls = tuple(urls)

    async def run(self) -> None:
        """Keeps a link, until cancelled."""
        attempt, pause_s = 0, PAUSE_FIRST_S
        while True:
            url = self.urls[attempt % len(self.urls)]
            attempt += 1
            self._look_again.clear()
            try:
                await self._keep(url)
                pause_s = PAUSE_FIRST_S
            except Unavailable as error:
                self._tell(str(error))
            except PeerRefused as error:
                self._tell(f"{url} refuses this member: {error}")
                if str(error) == wire.REMOVED:
                    self._listener.told_removed()
            try:
                async with asyncio.timeout(pause_s):
                    await self._look_again.wait()
            except TimeoutError:
                pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _keep(self, url: str) -> None:
        """Returns when a link that was good is lost.  Raises Unavailable, PeerRefused for one that never was."""
        link = await connect(url, self._tls())
        try:
            await self._probe(link)
            self._link, self._stream = link, link.open(wire.MESSAGES, self.metadata)
            self.active_since_s, self._told = self._clock.monotonic(), ""
            log.info("peer %x became active at %s", self.id, url)
            probing = asyncio.create_task(self._probe_often(link), name=f"probe {self.id:x}")
            try:
                reason = await asyncio.shield(link.lost)
            finally:
                probing.cancel()
                await asyncio.wait([probing])
            log.warning("peer %x became inactive: %s", self.id, reason)
            if reason == wire.REMOVED:
                self._listener.told_removed()
            self.disconnected += 1
        finally:
            self._link, self.active_since_s = None, None
            link.close()

    async def _probe(self, link: PeerLink) -> None:
        begun = self._clock.monotonic()
        await link.request(wire.PROBE, b"", self.metadata, PROBE_S)
        self.round_trip_s = self._clock.monotonic() - begun

    async def _probe_often(self, link: PeerLink) -> None:
        try:
            while True:
                await asyncio.sleep(PROBE_EVERY_S)
                await self._probe(link)
        except (Unavailable, PeerRefused) as error:
            link.abort(str(error))

    def _drop(self, count: int) -> None:
        """Raft is told once a turn, and not from within its own sending."""
        self.dropped += count
        if not self._reported:
            self._reported = True
            asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        self._reported = False
        self._listener.unreachable(self.id)

    def _tell(self, complaint: str) -> None:
        if complaint != self._told:
            self._told = complaint
            log.warning("peer %x: %s", self.id, complaint)
