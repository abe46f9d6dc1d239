"""Requests that travel by a function call: the client and the server in one process.

Bodies cross as bytes, so neither side can see the other's objects; failures, timeouts and broken streams look as they do over HTTP, so that
nothing behaves differently in one process; a stream is closed on the server's side when the client leaves it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import unquote

from k8sfromscratch.client.transport import Query, Reply, StreamReply, TransportError
from k8sfromscratch.process.answer import answer
from k8sfromscratch.process.http import Handler, Request, Response

log = logging.getLogger(__name__)


class DirectTransport:
    """`user` is who calls: handed to the server as it is, in place of a credential."""

    def __init__(self, handler: Handler, user: object) -> None:
        self._handler, self._user = handler, user

    async def request(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None, body: bytes = b"", timeout_s: float = 60.0
    ) -> Reply:
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._answer(method, path, query, headers, body)
        except TimeoutError as error:
            raise TransportError(f"{method} {path}: no answer in {timeout_s} s") from error
        if not isinstance(response.body, bytes):
            raise TransportError(f"{method} {path} answers with a stream; use stream()")
        return Reply(response.status, _headers(response), response.body)

    def stream(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> AbstractAsyncContextManager[StreamReply]:
        return self._stream(method, path, query, headers, body)

    async def close(self) -> None:
        return None

    @asynccontextmanager
    async def _stream(self, method: str, path: str, query: Query, headers: Mapping[str, str] | None, body: bytes) -> AsyncIterator[StreamReply]:
        response = await self._answer(method, path, query, headers, body)
        chunks = _once(response.body) if isinstance(response.body, bytes) else _unbroken(response.body, f"{method} {path}")
        try:
            yield StreamReply(response.status, _headers(response), chunks)
        finally:
            await chunks.aclose()

    async def _answer(self, method: str, path: str, query: Query, headers: Mapping[str, str] | None, body: bytes) -> Response:
        arguments: dict[str, list[str]] = {}
        for name, value in query:
            arguments.setdefault(name, []).append(value)
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        request = Request(method, unquote(path), arguments, lower, body, remote="in-process", raw_path=path, direct_user=self._user)
        response = await answer(self._handler, request)
        if not isinstance(response, Response):
            raise TransportError(f"{method} {path} wants to upgrade the connection; in one process there is none")
        return response


def _headers(response: Response) -> dict[str, str]:
    return {"content-type": response.content_type, **{name.lower(): value for name, value in response.headers.items()}}


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def _unbroken(chunks: AsyncIterator[bytes], what: str) -> AsyncGenerator[bytes, None]:
    """The server's chunks; where it fails half way the client sees what it would see of a connection that broke."""
    try:
        async for chunk in chunks:
            yield chunk
    except Exception as error:
        log.exception("%s broke off", what)
        raise TransportError(f"{what}: the stream broke") from error
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
