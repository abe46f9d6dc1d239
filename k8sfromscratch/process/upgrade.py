"""Taking a connection from aiohttp, for protocols it does not speak (SPDY/3.1, and WebSocket frames that we relay unread).

    aiohttp's RequestHandler ◄── transport          before
    StreamReaderProtocol     ◄── transport          after: a plain StreamReader gets every byte behind the request's head, those first
                                                    that aiohttp had read already

From then on aiohttp hears nothing of the connection, so it is told when it is over.
"""

import asyncio
import contextlib
import logging

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from k8sfromscratch.process.http import Connection, Upgrade
from k8sfromscratch.process.sockets import watch_peer

log = logging.getLogger(__name__)

BUFFER_BYTES = 2**16
"""asyncio's own limit for a StreamReader: the peer is held back at twice as much unread."""

LINGER_S = 5.0
"""For a peer to read what is left and to close."""


def wanted(incoming: web.BaseRequest) -> bool:
    """The client asks to speak something else: what follows the head is not a body."""
    return "upgrade" in incoming.headers.get("Connection", "").lower()


async def hand_over(incoming: web.BaseRequest, upgrade: Upgrade) -> web.StreamResponse:
    """Runs the upgrade to its end; the connection is closed behind it."""
    handler = incoming.protocol
    transport = incoming.transport
    if transport is None:
        raise ConnectionResetError("the client went away before its upgrade")
    sock = transport.get_extra_info("socket")
    if sock is not None:
        watch_peer(sock, untaken_s=0)  # a person may leave a full pager for as long as they like
    connection = _take(transport, _unread(handler, incoming))
    try:
        await upgrade.run(connection)
        await _linger(connection)
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        log.debug("upgraded connection %s ended: %s", incoming.raw_path, error)
    except Exception:
        log.exception("upgraded connection %s failed", incoming.raw_path)
    finally:
        connection.writer.close()
    if handler._manager is not None:
        handler._manager.connection_lost(handler, None)
    handler.force_close()
    return _Done()


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


def _unread(handler: RequestHandler, incoming: web.BaseRequest) -> bytes:
    """A body's bytes, then what came behind a head that aiohttp's parser saw as an upgrade."""
    body = incoming.content.read_nowait()
    tail, handler._message_tail = handler._message_tail, b""
    return body + tail


class _Done(web.StreamResponse):
    """Tells aiohttp that nothing is left to send."""

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None
