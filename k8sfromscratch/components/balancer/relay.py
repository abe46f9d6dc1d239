"""One connection passed on: what either side sends the other gets, byte for byte, and no faster than it takes it.

    client ── End ── End ── server          each End writes what it receives to its peer

An end of stream is passed on as such, so that a side that has said all still hears the answer.  Once both sides have said all, or one breaks off, both
are closed.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from k8sfromscratch.process.sockets import watch_peer

UNTAKEN_S = 30.0
"""A side that takes nothing of what it is sent for so long is gone."""


class End(asyncio.Protocol):
    """`on_made` is called when there is a connection, `on_end` when it is closed."""

    def __init__(self, on_made: Callable[[], None], on_end: Callable[[], None]) -> None:
        self._on_made, self._on_end = on_made, on_end
        self._peer: End | None = None
        self._transport: asyncio.Transport | None = None
        self._ended = False
        """It has said all it has to say."""
        self._early = b""
        """What it said before it had a peer: uvloop begins to read after `connection_made`, and undoes a pause that was asked for there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = cast("socket.socket", transport.get_extra_info("socket"))
        watch_peer(sock, untaken_s=UNTAKEN_S)
        self._on_made()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._peer is not None:
            if exc is None:
                self._peer.close()
            else:
                self._peer.abort()
        self._on_end()

    def data_received(self, data: bytes) -> None:
        if self._peer is None:
            self._early += data
            assert self._transport is not None
            self._transport.pause_reading()  # until there is somebody to give it to
        elif self._peer._transport is not None:
            self._peer._transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        peer = self._peer
        if peer is None:
            return True  # told to the peer once there is one
        if peer._transport is None or peer._ended:
            peer.close()
            return False
        peer._transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.resume_reading()

    @property
    def open(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        """After what is still to be written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def join(client: End, server: End) -> None:
    """From now on they hear one another.  Where one is gone already, the other is closed."""
    if client._transport is None or server._transport is None:
        client.abort()
        server.abort()
        return
    client._peer, server._peer = server, client
    for end, own, other in ((client, client._transport, server._transport), (server, server._transport, client._transport)):
        if end._early:
            own.resume_reading()  # before the write, which may have to pause it
            other.write(end._early)
            end._early = b""
        if end._ended:
            other.write_eof()
