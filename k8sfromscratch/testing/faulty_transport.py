"""A transport whose network fails as it is told to: what a client must survive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

from k8sfromscratch.client.transport import NotConnected, Reply, StreamReply, Transport, TransportError

Fault = Literal["refuse", "hang", "lose answers"]
HANG_S = 1e6


class FaultyTransport:
    """`fault` is what befalls every request from now on, or None:

    refuse          no connection: the server sees nothing
    hang            neither an answer nor an end
    lose answers    the server does it, the client never hears
    """

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.fault: Fault | None = None
        self.asked: list[str] = []
        """`GET /path` of every request, in order."""

    async def request(self, method: str, path: str, **rest: Any) -> Reply:
        await self._before(method, path)
        reply = await self.inner.request(method, path, **rest)
        if self.fault == "lose answers":
            raise TransportError(f"{method} {path}: the connection broke")
        return reply

    @asynccontextmanager
    async def stream(self, method: str, path: str, **rest: Any) -> AsyncIterator[StreamReply]:
        await self._before(method, path)
        async with self.inner.stream(method, path, **rest) as reply:
            yield StreamReply(reply.status, reply.headers, self._chunks(reply.chunks))

    async def close(self) -> None:
        await self.inner.close()

    async def _before(self, method: str, path: str) -> None:
        self.asked.append(f"{method} {path}")
        if self.fault == "refuse":
            raise NotConnected(f"{method} {path}: connection refused")
        if self.fault == "hang":
            await asyncio.sleep(HANG_S)

    async def _chunks(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A stream that was open when the network began to hang stays silent, also when its server has ended it."""
        async for chunk in chunks:
            if self.fault == "hang":
                break
            yield chunk
        if self.fault == "hang":
            await asyncio.sleep(HANG_S)
