"""The seam between the client library and the way its requests travel: HTTPS, or a direct call in one process."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

Query = Sequence[tuple[str, str]]


class TransportError(Exception):
    """The server was not reached, or the connection broke: nothing is known about what it did.  The cause is chained."""


class NotConnected(TransportError):
    """There was no connection at all: the server has seen nothing of the request."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class StreamReply:
    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    """The body as it arrives, in pieces of any size.  Raises TransportError when the connection breaks."""


class Transport(Protocol):
    async def request(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None, body: bytes = b"", timeout_s: float = 60.0
    ) -> Reply: ...

    def stream(
        self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> AbstractAsyncContextManager[StreamReply]:
        """A request whose body is read as it comes (watch, followed log).  No total timeout."""
        ...

    async def close(self) -> None: ...
