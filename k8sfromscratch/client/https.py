"""Requests over HTTP(S) with aiohttp: one connection pool a client, TLS client certificates or bearer tokens.

Tokens and certificates that come from files are read again: both are renewed while we run.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from k8sfromscratch.client.transport import NotConnected, Query, Reply, StreamReply, TransportError
from k8sfromscratch.process.sockets import watch_peer
from k8sfromscratch.process.tls import CertificateReload, TlsError

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 256
CONNECT_S = 10.0
UNTAKEN_S = 30.0
"""A server that takes nothing of what we send for so long is gone."""
REREAD_S = 60.0
"""How long a token or a certificate read from a file is used before the file is looked at again, as client-go does."""


class HttpsTransport:
    """`server` is a URL, `https://10.0.0.1:6443`.  `certificate` renews the client certificate in `tls`.
    Nothing is opened before the first request."""

    def __init__(
        self, server: str, *, tls: ssl.SSLContext | None = None, token: str = "", token_file: str = "", certificate: CertificateReload | None = None
    ) -> None:
        self._server = server.rstrip("/")
        self._tls, self._token, self._token_file, self._certificate = tls, token, token_file, certificate
        self._read_at = float("-inf")
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None, body: bytes = b"", timeout_s: float = 60.0
    ) -> Reply:
        try:
            timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
            async with self._open().request(
                method, self._url(path, query), headers=self._authorized(headers), data=body or None, timeout=timeout, allow_redirects=False
            ) as response:
                return Reply(response.status, _lower(response.headers), await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _failure(f"{method} {self._server}{path}", error) from error

    def stream(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> AbstractAsyncContextManager[StreamReply]:
        return self._stream(method, path, query, headers, body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _stream(self, method: str, path: str, query: Query, headers: Mapping[str, str] | None, body: bytes) -> AsyncIterator[StreamReply]:
        where = f"{method} {self._server}{path}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        try:
            response = await self._open().request(
                method, self._url(path, query), headers=self._authorized(headers), data=body or None, timeout=timeout, allow_redirects=False
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _failure(where, error) from error
        try:
            yield StreamReply(response.status, _lower(response.headers), _chunks(response, where))
        finally:
            response.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=self._tls if self._tls is not None else True, ttl_dns_cache=30, socket_factory=_socket)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=2**18)
        return self._session

    def _url(self, path: str, query: Query) -> URL:
        return URL(self._server + path, encoded=True).extend_query(list(query)) if query else URL(self._server + path, encoded=True)

    def _authorized(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        now = asyncio.get_running_loop().time()
        if now - self._read_at > REREAD_S:
            self._reread()
            self._read_at = now
        return {**(headers or {}), "Authorization": f"Bearer {self._token}"} if self._token else dict(headers or {})

    def _reread(self) -> None:
        """What cannot be read now does not matter while the old still holds; the server says when it does not."""
        if self._token_file:
            try:
                self._token = Path(self._token_file).read_text().strip()
            except OSError as error:
                if not self._token:
                    raise TransportError(f"the token file {self._token_file} cannot be read: {error.strerror}") from error
                log.warning("keeping the token used so far: %s: %s", self._token_file, error.strerror)
        if self._certificate is not None:
            try:
                self._certificate.look()
            except TlsError as error:
                log.warning("keeping the client certificate used so far: %s", error)


def _socket(address: Any) -> socket.socket:
    """A connection that finds out when its server is gone: a watch only listens, and would wait for ever."""
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    watch_peer(sock, untaken_s=UNTAKEN_S)
    return sock


def _failure(what: str, error: BaseException) -> TransportError:
    refused = isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError)
    return (NotConnected if refused else TransportError)(f"{what}: {_text(error)}")


async def _chunks(response: aiohttp.ClientResponse, where: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError) as error:
        raise TransportError(f"{where}: the stream broke: {_text(error)}") from error


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
