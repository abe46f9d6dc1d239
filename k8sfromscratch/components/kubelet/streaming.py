"""exec, attach and port-forward: the client's upgraded connection is carried to the runtime's streaming server, byte for byte.

    apiserver ══TLS══► kubelet ──TCP──► runtime's streaming server on this machine
              request head, with the path of the URL the runtime gave; then whatever either side sends

The kubelet does not speak SPDY or WebSocket here: the runtime does, with the client.  So everything works that those two agree on, the
half-closed stdin of `kubectl exec -i` too.
"""

import asyncio
import contextlib
import logging
from urllib.parse import urlsplit

from k8sfromscratch.process.http import Connection, Request, Upgrade

log = logging.getLogger(__name__)

PROTOCOLS_HEADER = "x-stream-protocol-version"
"""Runtimes read one protocol a line, as SPDY clients send them; our server has joined the lines."""

CONNECT_TIMEOUT_S = 10.0
CHUNK_BYTES = 64 * 1024


def tunnel(request: Request, url: str) -> Upgrade:
    """`url` is where the runtime waits for this one connection."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    head = _head(request, target, parts.netloc)

    async def run(client: Connection) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError) as error:
            log.warning("the runtime's streaming server at %s was not reached: %s", parts.netloc, error)
            client.writer.write(_bad_gateway(f"the runtime's streaming server was not reached: {error}"))
            await client.writer.drain()
            return
        try:
            writer.write(head + client.initial)
            async with asyncio.TaskGroup() as tasks:
                upstream = tasks.create_task(_pump(client.reader, writer))
                await _pump(reader, client.writer)
                # The runtime has said all it will: what the client may still send is for nobody.
                upstream.cancel()
        except* ConnectionError as errors:
            log.debug("stream %s ended: %s", request.path, errors.exceptions[0])
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):  # the runtime was the first to go
                await writer.wait_closed()

    return Upgrade(run)


def _head(request: Request, target: str, host: str) -> bytes:
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {host}"]
    for name, value in request.headers.items():
        if name == PROTOCOLS_HEADER:
            lines += [f"{name}: {protocol.strip()}" for protocol in value.split(",")]
        elif name not in ("host", "authorization"):
            lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until the source ends; then the sink is told so, where it can be told (TLS cannot)."""
    while data := await source.read(CHUNK_BYTES):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


def _bad_gateway(text: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
