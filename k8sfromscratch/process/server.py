"""An HTTP server around one Handler: aiohttp's protocol without its application layer.

    socket ─► aiohttp parses ─► Request ─► handler ─► Response (whole, or streamed chunk by chunk)
                                                  └─► Upgrade: the transport is taken from aiohttp and handed over as a raw stream

aiohttp itself upgrades to WebSocket only.  For anything else (SPDY/3.1) we swap the transport's protocol beneath it.
"""

import asyncio
import contextlib
import logging
import ssl
from typing import Any, cast
from urllib.parse import parse_qs

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict

from k8sfromscratch.api.errors import ApiError, InternalError, RequestEntityTooLarge, Timeout
from k8sfromscratch.process.http import Connection, Handler, Request, Response, Upgrade
from k8sfromscratch.process.tls import TlsFiles, load_pair, server_context

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 3 * 1024 * 1024
"""Upstream's limit of a request's body."""
BODY_READ_S = 30.0
"""A client that sends its body slower than this is cut off: it must not hold a slot."""
KEEPALIVE_S = 75.0
STREAM_BUFFER_BYTES = 2**16


class Server:
    """A listening server; made by `serve`."""

    def __init__(self, inner: web.Server, sites: list[asyncio.base_events.Server], context: ssl.SSLContext | None) -> None:
        self._inner, self._sites, self._context = inner, sites, context

    @property
    def port(self) -> int:
        return int(self._sites[0].sockets[0].getsockname()[1])

    def reload_certificate(self, files: TlsFiles) -> None:
        """New connections are shown the new certificate."""
        if self._context is not None:
            load_pair(self._context, files)

    async def close(self, grace_s: float = 5.0) -> None:
        """Takes no more connections, lets requests end for `grace_s`, then cuts what is left."""
        for site in self._sites:
            site.close()
        await self._inner.shutdown(max(grace_s, 0.01))  # to aiohttp 0 means for ever
        for site in self._sites:
            await site.wait_closed()


async def serve(
    handler: Handler,
    *,
    host: str,
    port: int,
    tls: TlsFiles | None = None,
    client_ca_file: str = "",
    body_max_bytes: int = BODY_MAX_BYTES,
) -> Server:
    """Raises OSError where the address cannot be had, TlsError where a certificate cannot be used."""
    context = server_context(tls, client_ca_file=client_ca_file) if tls is not None else None
    adapter = _Adapter(handler, body_max_bytes)
    inner = web.Server(adapter.handle, access_log=None, keepalive_timeout=KEEPALIVE_S, handler_cancellation=True, auto_decompress=False)
    site = await asyncio.get_running_loop().create_server(inner, host, port, ssl=context, backlog=1024)
    return Server(inner, [site], context)


class _Adapter:
    def __init__(self, handler: Handler, body_max_bytes: int) -> None:
        self._handler, self._body_max_bytes = handler, body_max_bytes

    async def handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        try:
            request = await self._request(incoming)
            answer = await self._handler(request)
        except ApiError as error:
            answer = _error(error)
        except Exception:
            log.exception("%s %s failed", incoming.method, incoming.raw_path)
            answer = _error(InternalError("an error on the server has prevented the request from succeeding; the server's log tells more"))
        if isinstance(answer, Upgrade):
            return await _hand_over(incoming, answer)
        if isinstance(answer.body, bytes):
            return web.Response(status=answer.status, body=answer.body, headers=_headers(answer))
        return await _stream(incoming, answer)

    async def _request(self, incoming: web.BaseRequest) -> Request:
        body = b""
        if incoming.body_exists and not _upgrading(incoming):
            try:
                async with asyncio.timeout(BODY_READ_S):
                    body = await self._body(incoming)
            except TimeoutError as error:
                raise Timeout("the request's body did not arrive in time") from error
        query_text = incoming.rel_url.raw_query_string
        transport = incoming.transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        return Request(
            method=incoming.method,
            path=incoming.rel_url.path,
            query=parse_qs(query_text, keep_blank_values=True, max_num_fields=1000) if query_text else {},
            headers=_joined(incoming),
            body=body,
            remote=str(peer[0]) if peer else "",
            raw_path=incoming.raw_path,
            peer_certificate=_peer_certificate(transport),
        )

    async def _body(self, incoming: web.BaseRequest) -> bytes:
        chunks, size = [], 0
        async for chunk in incoming.content.iter_any():
            size += len(chunk)
            if size > self._body_max_bytes:
                raise RequestEntityTooLarge(f"the request's body is larger than the limit of {self._body_max_bytes} bytes")
            chunks.append(chunk)
        return b"".join(chunks)


def _joined(incoming: web.BaseRequest) -> dict[str, str]:
    """A header that is sent several times means its values in one list (RFC 9110 §5.3): SPDY clients offer their protocols so."""
    headers: dict[str, str] = {}
    for name, value in incoming.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _peer_certificate(transport: asyncio.Transport | None) -> bytes | None:
    """Read from the TLS layer once a connection: asking costs more than a small request."""
    if transport is None:
        return None
    protocol = transport.get_protocol()
    known = getattr(protocol, "_kfs_peer_certificate", False)
    if known is not False:
        return cast("bytes | None", known)
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    with contextlib.suppress(AttributeError):  # a protocol with slots simply is asked again
        protocol._kfs_peer_certificate = certificate  # type: ignore[attr-defined]
    return certificate


def _headers(answer: Response) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict(answer.headers)
    if answer.content_type:
        headers["Content-Type"] = answer.content_type
    return headers


def _error(error: ApiError) -> Response:
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else {}
    return Response(error.http_code, orjson.dumps(error.status()), headers=headers)


async def _stream(incoming: web.BaseRequest, answer: Response) -> web.StreamResponse:
    """Chunks go out as they come; a slow reader holds the iterator back, one that goes away closes it."""
    chunks = answer.body
    assert not isinstance(chunks, bytes)
    outgoing = web.StreamResponse(status=answer.status, headers=_headers(answer))
    try:
        await outgoing.prepare(incoming)
        async for chunk in chunks:
            await outgoing.write(chunk)
        await outgoing.write_eof()
    except (ConnectionError, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError):
            raise
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    return outgoing


def _upgrading(incoming: web.BaseRequest) -> bool:
    return "upgrade" in incoming.headers.get("Connection", "").lower()


async def _hand_over(incoming: web.BaseRequest, answer: Upgrade) -> web.StreamResponse:
    """Takes the transport from aiohttp: from here on bytes go to a plain StreamReader, those already read first."""
    handler: Any = incoming.protocol
    assert isinstance(handler, RequestHandler)
    transport = incoming.transport
    if transport is None:
        raise ConnectionResetError("the client went away before its upgrade")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=STREAM_BUFFER_BYTES, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.pause_reading()
    initial = _unread(handler, incoming)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    if initial:
        reader.feed_data(initial)
    with contextlib.suppress(RuntimeError):  # raised where the reader has paused it itself meanwhile
        transport.resume_reading()
    try:
        await answer.run(Connection(reader, writer))
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        log.debug("upgraded connection %s ended: %s", incoming.raw_path, error)
    except Exception:
        log.exception("upgraded connection %s failed", incoming.raw_path)
    finally:
        writer.close()
    if handler._manager is not None:  # aiohttp no longer hears of the connection's end, so it is told
        handler._manager.connection_lost(handler, None)
    handler.force_close()
    return _Done()


def _unread(handler: Any, incoming: web.BaseRequest) -> bytes:
    """What the client sent behind its request head and aiohttp has already taken from the socket."""
    tail = bytes(getattr(handler, "_message_tail", b"") or b"")
    handler._message_tail = b""
    payload = getattr(incoming, "_payload", None)
    buffered = b"".join(getattr(payload, "_buffer", ())) if payload is not None else b""
    return buffered + tail


class _Done(web.StreamResponse):
    """Tells aiohttp that nothing is left to send."""

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None
