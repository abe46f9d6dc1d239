"""Requests over HTTP(S) with aiohttp: one connection pool a client, TLS client certificates or bearer tokens.

A token file is read again when it changes: projected service account tokens are renewed while we run.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from k8sfromscratch.client.transport import Query, Reply, StreamReply, TransportError

CONNECTIONS_MAX = 256
CONNECT_S = 10.0
TOKEN_REREAD_S = 60.0
"""How long a token read from a file is used before the file is looked at again, as client-go does."""


class HttpsTransport:
    """`server` is a URL, `https://10.0.0.1:6443`.  Nothing is opened before the first request."""

    def __init__(self, server: str, *, tls: ssl.SSLContext | None = None, token: str = "", token_file: str = "") -> None:
        self._server = server.rstrip("/")
        self._tls, self._token, self._token_file = tls, token, token_file
        self._token_read_at = float("-inf")
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
            raise TransportError(f"{method} {self._server}{path}: {_text(error)}") from error

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
            response = await self._open().request(method, self._url(path, query), headers=self._authorized(headers), data=body or None, timeout=timeout)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransportError(f"{where}: {_text(error)}") from error
        try:
            yield StreamReply(response.status, _lower(response.headers), _chunks(response, where))
        finally:
            response.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=self._tls if self._tls is not None else True, ttl_dns_cache=30)
            self._session = aiohttp.ClientSession(connector=connector, read_bufsize=2**18, auto_decompress=True)
        return self._session

    def _url(self, path: str, query: Query) -> URL:
        return URL(self._server + path, encoded=True).extend_query(list(query)) if query else URL(self._server + path, encoded=True)

    def _authorized(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        now = asyncio.get_running_loop().time()
        if self._token_file and now - self._token_read_at > TOKEN_REREAD_S:
            try:
                self._token = Path(self._token_file).read_text().strip()
            except OSError as error:
                raise TransportError(f"the token file {self._token_file} cannot be read: {error.strerror}") from error
            self._token_read_at = now
        return {**(headers or {}), "Authorization": f"Bearer {self._token}"} if self._token else dict(headers or {})


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
