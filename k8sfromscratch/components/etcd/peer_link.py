"""One connection to another member, as its client: gRPC of our own layer, over TLS where the URL says https.

It carries any number of calls: the stream of Raft's messages, and questions with one answer each.  What is sent in one turn of the loop leaves in one
write.  A link is used until it breaks and never mended: who wants to go on makes another.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import cast
from urllib.parse import urlsplit

from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.storage.interface import Unavailable

CONNECT_S = 2.0
"""Members are near one another: who does not answer in that time is tried again."""
LOOK_EVERY_S = 0.005
"""How often it is looked whether a receiver that is slower than the sender has read on."""

Metadata = Sequence[tuple[str, str]]


class PeerRefused(Exception):
    """The other member ended a call with a status other than OK."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class _Question:
    """A call with one answer."""

    __slots__ = ("answer", "result")

    def __init__(self) -> None:
        self.answer = b""
        self.result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()


class PeerLink(asyncio.Protocol):
    def __init__(self, authority: str, *, secure: bool) -> None:
        self._rpc = grpc.GrpcClient(authority, secure=secure)
        self._transport: asyncio.Transport | None = None
        self._questions: dict[int, _Question] = {}
        self._flushing = False
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done with the reason when the link can be used no more."""
        self.received_bytes = self.sent_bytes = 0

    # As the loop calls it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(str(exc) if exc is not None else "closed by the other side")

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        for event in self._rpc.receive(data):
            match event:
                case grpc.Message(stream, message):
                    if stream in self._questions:
                        self._questions[stream].answer = message
                case grpc.Finished(stream, code, text):
                    self._finished(stream, code, text)
                case grpc.Disconnected(_, _, reason):
                    self.abort(reason or "the other side is going down")
                    return
        self._flush()

    # Calls

    def open(self, method: str, metadata: Metadata) -> int:
        """Begins a call of many messages that has no answer; its end is the link's end."""
        return self._rpc.call(method, metadata)

    def ask(self, method: str, metadata: Metadata) -> tuple[int, "asyncio.Future[bytes]"]:
        """Begins a call: messages are sent with `send`, the last with `end`; then it is answered once."""
        stream = self._rpc.call(method, metadata)
        question = self._questions[stream] = _Question()
        if self.lost.done():
            self._finished(stream, grpc.UNAVAILABLE, self.lost.result())
        return stream, question.result

    async def request(self, method: str, message: bytes, metadata: Metadata, timeout_s: float) -> bytes:
        """Raises PeerRefused, Unavailable."""
        stream, answer = self.ask(method, metadata)
        self.send(stream, message, end=True)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            raise Unavailable(f"{method} was not answered within {timeout_s:g} s") from error
        finally:
            if self._questions.pop(stream, None) is not None:
                self._rpc.cancel(stream)
                self._flush_soon()

    def send(self, stream: int, message: bytes, *, end: bool = False) -> None:
        self._rpc.send(stream, message, end=end)
        self._flush_soon()

    def unsent_bytes(self, stream: int) -> int:
        """What waits for the other side to read."""
        buffered = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return buffered + self._rpc.http.pending_bytes(stream)

    async def room(self, stream: int, most_bytes: int, answer: "asyncio.Future[bytes]", stalled_s: float) -> None:
        """Returns when less than that waits for the other side to read.  Raises what ends the call meanwhile; TimeoutError when nothing moves."""
        self._flush()
        unsent, left_s = self.unsent_bytes(stream), stalled_s
        while unsent > most_bytes:
            await asyncio.wait([answer], timeout=LOOK_EVERY_S)
            if answer.done():
                break
            now = self.unsent_bytes(stream)
            left_s = stalled_s if now < unsent else left_s - LOOK_EVERY_S
            unsent = now
            if left_s <= 0:
                raise TimeoutError
        if answer.done():
            answer.result()  # it ends before it has everything: refused, or lost
            raise PeerRefused(grpc.INTERNAL, "the other side answered before it had everything")

    def abort(self, reason: str) -> None:
        self._fail(reason)
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """In order: what was sent still leaves."""
        self._flush()
        self._fail("this member closed it")
        if self._transport is not None:
            self._transport.close()

    def _finished(self, stream: int, code: int, text: str) -> None:
        question = self._questions.pop(stream, None)
        if question is None:
            self.abort(text or "the other side ended the stream")
        elif not question.result.done():
            if code == grpc.OK:
                question.result.set_result(question.answer)
            else:
                question.result.set_exception(PeerRefused(code, text))

    def _fail(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
        questions, self._questions = self._questions, {}
        for question in questions.values():
            if not question.result.done():
                question.result.set_exception(Unavailable(reason))

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is not None and (data := self._rpc.http.take_output()):
            self.sent_bytes += len(data)
            self._transport.write(data)


async def connect(url: str, tls: ssl.SSLContext | None) -> PeerLink:
    """Raises Unavailable."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    if secure and tls is None:
        raise Unavailable(f"{url} needs TLS, and this member has no --peer-cert-file")
    try:
        async with asyncio.timeout(CONNECT_S):
            _, link = await asyncio.get_running_loop().create_connection(
                lambda: PeerLink(parts.netloc, secure=secure), parts.hostname or "", parts.port or 0, ssl=tls if secure else None
            )
    except (OSError, TimeoutError, ssl.SSLError) as error:
        raise Unavailable(f"{url} cannot be reached: {error or 'no answer in time'}") from error
    return link
