"""Giving a connection away, for protocols that the server does not speak (SPDY/3.1, and WebSocket frames that we relay unread).

HttpConnection         ◄── transport          before
StreamReaderProtocol   ◄── transport          after: a plain StreamReader gets every byte behind the request's head, those first
                                              that were read already
"""

import asyncio
import contextlib
import logging

from k8sfromscratch.process.http import Connection, Upgrade
from k8sfromscratch.process.sockets import watch_peer

log = logging.getLogger(__name__)

BUFFER_BYTES = 2**16
"""asyncio's own limit for a StreamReader: the peer is held back at twice as much unread."""

LINGER_S = 5.0
"""For a peer to read what is left and to close."""


async def hand_over(transport: asyncio.Transport, unread: bytes, upgrade: Upgrade, name: str) -> None:
    """Runs the upgrade to its end; the connection is closed behind it."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        watch_peer(sock, untaken_s=0)  # a person may leave a full pager for as long as they like
    connection = _take(transport, unread)
    try:
        await upgrade.run(connection)
        await _linger(connection)
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        log.debug("upgraded connection %s ended: %s", name, error)
    except Exception:
        log.exception("upgraded connection %s failed", name)
    finally:
        connection.writer.close()


async def _linger(connection: Connection) -> None:
    """Reads what the peer still sends until it closes, for a while: a connection that is closed with something unread in it is reset, and the
    peer would lose what it has not read yet, such as how its command ended."""
    reader, writer = connection.reader, connection.writer
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            while await reader.read(BUFFER_BYTES):
                pass


def _take(transport: asyncio.Transport, unread: bytes) -> Connection:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=BUFFER_BYTES, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.pause_reading()
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if unread:
        reader.feed_data(unread)
    with contextlib.suppress(RuntimeError):  # raised where the reader has paused it itself meanwhile
        transport.resume_reading()
    return Connection(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
