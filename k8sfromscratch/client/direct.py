"""Requests that travel by a function call: the client and the server in one process.

Bodies cross as bytes, so neither side can see the other's objects; a stream is closed on the server's side when the client leaves it.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import unquote

import orjson

from k8sfromscratch.api.errors import ApiError
from k8sfromscratch.client.transport import Query, Reply, StreamReply, TransportError
from k8sfromscratch.process.http import Handler, Request, Response


class DirectTransport:
    """`user` is who calls: handed to the server as it is, in place of a credential."""

    def __init__(self, handler: Handler, user: object) -> None:
        self._handler, self._user = handler, user

    async def request(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None, body: bytes = b"", timeout_s: float = 60.0
    ) -> Reply:
        response = await self._answer(method, path, query, headers, body)
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
        chunks = _once(response.body) if isinstance(response.body, bytes) else response.body
        try:
            yield StreamReply(response.status, _headers(response), chunks)
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    async def _answer(self, method: str, path: str, query: Query, headers: Mapping[str, str] | None, body: bytes) -> Response:
        arguments: dict[str, list[str]] = {}
        for name, value in query:
            arguments.setdefault(name, []).append(value)
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        request = Request(method, unquote(path), arguments, lower, body, remote="in-process", raw_path=path, direct_user=self._user)
        try:
            response = await self._handler(request)
        except ApiError as error:
            return Response(error.http_code, orjson.dumps(error.status()))
        if not isinstance(response, Response):
            raise TransportError(f"{method} {path} wants to upgrade the connection; in one process there is none")
        return response


def _headers(response: Response) -> dict[str, str]:
    return {"content-type": response.content_type, **{name.lower(): value for name, value in response.headers.items()}}


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
