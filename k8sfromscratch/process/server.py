"""An HTTP server around one Handler: aiohttp's protocol without its application layer.

    socket ─► aiohttp parses ─► Request ─► handler ─► Response (whole, or streamed chunk by chunk)
                                                  └─► Upgrade (process.upgrade)

What a client may cost us is bounded: the size of a head and a body, the time to send either, the time to take what we send.
"""

import asyncio
import logging
from typing import cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict

from k8sfromscratch.api.errors import ApiError, BadRequest, RequestEntityTooLarge, Timeout
from k8sfromscratch.process import upgrade
from k8sfromscratch.process.answer import answer, error_response
from k8sfromscratch.process.http import Handler, Request, Response, Upgrade
from k8sfromscratch.process.sockets import watch_peer
from k8sfromscratch.process.tls import RELOAD_EVERY_S, CertificateReload, TlsError, TlsFiles, server_context

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 3 * 1024 * 1024
"""Upstream's limit of a request's body."""
LINE_MAX_BYTES = 64 * 1024
"""Of the request line and of one header: a label selector or a token may be long."""
BODY_READ_S = 30.0
"""A client that sends its body slower than this is cut off: it must not hold a slot."""
IDLE_S = 75.0
"""A connection on which no whole head arrives for so long is closed.  Longer than clients keep theirs, so that they close first."""
UNTAKEN_S = 300.0
"""How long sent data may wait to be taken: someone may look at a page of `kubectl logs -f` for a while, a hung watcher must go."""


class Server:
    """A listening server; made by `serve`."""

    def __init__(self, inner: web.Server, listener: asyncio.base_events.Server, renewing: asyncio.Task[None] | None) -> None:
        self._inner, self._listener, self._renewing = inner, listener, renewing
        self.port = int(listener.sockets[0].getsockname()[1])

    async def close(self, grace_s: float = 5.0) -> None:
        """Takes no more connections, lets requests end for `grace_s`, then cuts what is left."""
        self._listener.close()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        await self._inner.shutdown(max(grace_s, 0.01))  # to aiohttp 0 means for ever
        await self._listener.wait_closed()


async def serve(
    handler: Handler,
    *,
    host: str,
    port: int,
    tls: TlsFiles | None = None,
    client_ca_file: str = "",
    body_max_bytes: int = BODY_MAX_BYTES,
) -> Server:
    """Port 0 lets the system choose.  Certificate files that change are read again.
    Raises OSError where the address cannot be had, TlsError where a certificate cannot be used."""
    context = server_context(tls, client_ca_file=client_ca_file) if tls is not None else None
    inner = _Connections(
        _Adapter(handler, body_max_bytes).handle,
        access_log=None,
        keepalive_timeout=IDLE_S,
        handler_cancellation=True,
        auto_decompress=False,
        max_line_size=LINE_MAX_BYTES,
        max_field_size=LINE_MAX_BYTES,
    )
    listener = await asyncio.get_running_loop().create_server(inner, host, port, ssl=context, backlog=1024)
    renewing = asyncio.create_task(_renew(CertificateReload(context, tls)), name="certificate") if context is not None and tls is not None else None
    return Server(inner, listener, renewing)


async def _renew(certificate: CertificateReload) -> None:
    while True:
        await asyncio.sleep(RELOAD_EVERY_S)
        try:
            if certificate.look():
                log.info("serving the new certificate of %s", certificate.files.cert_file)
        except TlsError as error:
            log.error("keeping the certificate served so far: %s", error)


class _Connection(RequestHandler):
    """Knows of its connection what every request on it is told; asking the transport costs more than a small request."""

    __slots__ = ("peer_certificate", "remote")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer, tls, sock = (transport.get_extra_info(name) for name in ("peername", "ssl_object", "socket"))
        self.remote = str(peer[0]) if peer else ""
        self.peer_certificate: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
        if sock is not None:
            watch_peer(sock, untaken_s=UNTAKEN_S)
        super().connection_made(transport)


class _Connections(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Adapter:
    """Between aiohttp's requests and responses and ours."""

    def __init__(self, handler: Handler, body_max_bytes: int) -> None:
        self._handler, self._body_max_bytes = handler, body_max_bytes

    async def handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        try:
            request = await self._request(incoming)
        except ApiError as error:
            response: Response | Upgrade = error_response(error)
        else:
            response = await answer(self._handler, request)
        if isinstance(response, Upgrade):
            return await upgrade.hand_over(incoming, response)
        if isinstance(response.body, bytes):
            return web.Response(status=response.status, body=response.body, headers=_headers(response))
        return await _stream(incoming, response)

    async def _request(self, incoming: web.BaseRequest) -> Request:
        connection = cast("_Connection", incoming.protocol)
        url = incoming.rel_url
        query: dict[str, list[str]] = {}
        if url.raw_query_string:
            for name, value in url.query.items():
                query.setdefault(name, []).append(value)
        return Request(
            method=incoming.method,
            path=url.path,
            query=query,
            headers=_joined(incoming),
            body=await self._body(incoming) if incoming.body_exists and not upgrade.wanted(incoming) else b"",
            remote=connection.remote,
            raw_path=incoming.raw_path,
            peer_certificate=connection.peer_certificate,
        )

    async def _body(self, incoming: web.BaseRequest) -> bytes:
        if incoming.headers.get("Expect", "").lower() == "100-continue":
            await incoming.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            incoming.writer.output_size = 0  # to aiohttp nothing of the answer has been sent
        chunks, size = [], 0
        try:
            async with asyncio.timeout(BODY_READ_S):
                async for chunk in incoming.content.iter_any():
                    size += len(chunk)
                    if size > self._body_max_bytes:
                        raise RequestEntityTooLarge(f"the request's body is larger than the limit of {self._body_max_bytes} bytes")
                    chunks.append(chunk)
        except TimeoutError as error:
            raise Timeout("the request's body did not arrive in time") from error
        except web.RequestPayloadError as error:
            raise BadRequest(f"the request's body cannot be read: {error}") from error
        return b"".join(chunks)


def _joined(incoming: web.BaseRequest) -> dict[str, str]:
    """A header that is sent several times means its values in one list (RFC 9110 §5.3): SPDY clients offer their protocols so."""
    headers = {name.lower(): value for name, value in incoming.headers.items()}
    if len(headers) < len(incoming.headers):
        headers = {name: ", ".join(incoming.headers.getall(name)) for name in headers}
    return headers


def _headers(response: Response) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict(response.headers)
    if response.content_type:
        headers["Content-Type"] = response.content_type
    return headers


async def _stream(incoming: web.BaseRequest, response: Response) -> web.StreamResponse:
    """Chunks go out as they come; a slow reader holds the iterator back, one that goes away closes it."""
    chunks = response.body
    assert not isinstance(chunks, bytes)
    outgoing = web.StreamResponse(status=response.status, headers=_headers(response))
    try:
        await outgoing.prepare(incoming)
        async for chunk in chunks:
            await outgoing.write(chunk)
        await outgoing.write_eof()
    except ConnectionError as error:
        log.debug("%s: the client went away: %s", incoming.raw_path, error)
    except Exception:
        log.exception("%s %s broke off", incoming.method, incoming.raw_path)
        incoming.protocol.force_close()  # the client must not take this for the end
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    return outgoing
