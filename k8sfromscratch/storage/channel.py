"""A gRPC connection as an asyncio protocol: calls and streams of `core.rpc.grpc` over a socket.

One connection carries everything.  When it breaks, all that is under way fails with Unavailable, and the next call connects again: to the first
endpoint that takes a connection, and where none does again after a pause that doubles up to a bound.

With several endpoints a connection is also left when a call over it is Unavailable.  A member that is cut off from the others takes connections and
keeps watches open, but answers nothing that needs them: whoever stayed with it would see a world that stands still.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.storage.interface import Unavailable

CONNECT_S = 5.0
CALL_S = 10.0
"""How long a unary call may take.  Longer than a healthy store needs under any load, and than the election of a leader."""
ACK_S = 0.02
"""What only acknowledges (pings, settings, windows) goes out with the next request, or after this.  grpc-go measures the link by a ping with
nearly every request: to answer each at once woke both sides once more for every call.  Our windows leave room for far longer."""
CLOSE_S = 1.0
"""How long the other side may take to say goodbye in TLS."""
PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 2.0
DOUBLINGS_MAX = 10
"""More than PAUSE_MAX_S needs; without a bound the power outgrows a float after half an hour."""
PING_EVERY_S = 10.0
"""A connection with calls under way that was silent so long is asked for a sign of life, and given up after as long again: a machine that lost
its power resets nothing.  etcd takes offence at pings more often than every 5 s, and at pings without calls."""
STREAM_QUEUE_MAX = 100_000
"""Messages of a stream that its reader has not taken; then the stream is given up."""


class RpcError(Exception):
    """The server ended a call with a status other than OK."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Incoming:
    """What a streaming call receives, in order; then its end."""

    def __init__(self, channel: "_Connection", stream: int) -> None:
        self._channel, self._stream = channel, stream
        self._messages: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self._end: Exception | None = None

    def put(self, message: bytes) -> None:
        if len(self._messages) >= STREAM_QUEUE_MAX:
            self.finish(Unavailable("a stream's reader fell too far behind"))
            self._channel.cancel(self._stream)
            return
        self._messages.append(message)
        self._filled.set()

    def finish(self, error: Exception) -> None:
        if self._end is None:
            self._end = error
            self._filled.set()

    def send(self, message: bytes) -> None:
        self._channel.send(self._stream, message)

    def cancel(self) -> None:
        self._channel.cancel(self._stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises RpcError or Unavailable at the end; an end with OK is the end of the iteration."""
        while True:
            while self._messages:
                yield self._messages.popleft()
            if self._end is not None:
                if isinstance(self._end, RpcError) and self._end.code == grpc.OK:
                    return
                raise self._end
            self._filled.clear()
            await self._filled.wait()


class _Call(NamedTuple):
    """A unary call that waits for its answer, until `end_s` of the loop's clock."""

    answer: asyncio.Future[bytes]
    method: str
    end_s: float


class _Connection(asyncio.Protocol):
    def __init__(self, authority: str, *, secure: bool) -> None:
        self.rpc = grpc.GrpcClient(authority, secure=secure)
        self._transport: asyncio.Transport | None = None
        self._unary: dict[int, _Call] = {}
        self._call_timer: asyncio.TimerHandle | None = None
        self._ack_timer: asyncio.TimerHandle | None = None
        self._answers: dict[int, bytes] = {}
        self._streams: dict[int, Incoming] = {}
        self._flushing = False
        self._usable = True
        self.lost = asyncio.Event()
        self._heard = self._asked = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> bool:
        return self._usable and not self.rpc.http.exhausted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(PING_EVERY_S, self._watch_over)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for timer in (self._timer, self._call_timer, self._ack_timer):
            if timer is not None:
                timer.cancel()
        self.lost.set()
        self._fail_all(f"the connection to the store broke: {exc or 'closed by the server'}")

    def data_received(self, data: bytes) -> None:
        self._heard = True
        streamed: list[grpc.Message | grpc.Finished] = []
        for event in self.rpc.receive(data):
            if isinstance(event, grpc.Message):
                if event.stream in self._unary:
                    self._answers[event.stream] = event.data
                elif event.stream in self._streams:
                    streamed.append(event)
            elif isinstance(event, grpc.Finished):
                if event.stream in self._unary:
                    self._finished(event.stream, event.code, event.text)
                else:
                    streamed.append(event)
            else:
                self._usable = False
                if event.fatal:
                    self._fail_all(f"the store gave the connection up: {event.reason}")
                    self.close()
        # A write's own event comes just before its answer: whoever waits for the answer goes first, the watch can wait a moment.
        for event in streamed:
            if isinstance(event, grpc.Finished):
                self._finished(event.stream, event.code, event.text)
            elif (incoming := self._streams.get(event.stream)) is not None:
                incoming.put(event.data)
        if self.rpc.http.has_output and self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_S, self._flush_acks)

    def _flush_acks(self) -> None:
        self._ack_timer = None
        self._flush()

    def call(self, method: str, message: bytes) -> "tuple[int, asyncio.Future[bytes]]":
        """The call's stream, and its answer; who no longer waits for that cancels the stream."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        stream = self.rpc.call(method)
        self._unary[stream] = _Call(future, method, loop.time() + CALL_S)
        if self._call_timer is None:
            self._call_timer = loop.call_later(CALL_S, self._end_overdue)
        self.rpc.send(stream, message, end=True)
        if len(self._unary) == 1:
            self._flush()  # alone: the turn of the loop that would gather others makes it a tenth slower
        else:
            self._flush_soon()
        return stream, future

    def _end_overdue(self) -> None:
        """One timer for all calls, which end in the order in which they began: a timer each cost as much as their frames."""
        self._call_timer, loop = None, asyncio.get_running_loop()
        for stream, call in list(self._unary.items()):
            left_s = call.end_s - loop.time()
            if left_s > 0:
                self._call_timer = loop.call_later(left_s, self._end_overdue)
                return
            self.cancel(stream)
            if not call.answer.done():
                call.answer.set_exception(Unavailable(f"the store did not answer {call.method} within {CALL_S:g} s"))

    def open(self, method: str) -> Incoming:
        stream = self.rpc.call(method)
        incoming = self._streams[stream] = Incoming(self, stream)
        self._flush_soon()
        return incoming

    def send(self, stream: int, message: bytes) -> None:
        self.rpc.send(stream, message)
        self._flush_soon()

    def cancel(self, stream: int) -> None:
        self._unary.pop(stream, None)
        self._answers.pop(stream, None)
        self._streams.pop(stream, None)
        self.rpc.cancel(stream)
        self._flush_soon()

    def close(self) -> None:
        self._usable = False
        if self._transport is not None:
            self._transport.close()

    def give_up(self, reason: str) -> None:
        """Not waiting for anything more from a server that may be gone."""
        self._fail_all(reason)
        if self._transport is not None:
            self._transport.abort()

    async def closed(self) -> None:
        self.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.lost.wait()
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()

    def _watch_over(self) -> None:
        if self._transport is None:
            return
        if self._asked and not self._heard:
            self.give_up(f"the store was silent for {2 * PING_EVERY_S:g} s")
            return
        self._asked = not self._heard and bool(self._unary or self._streams)
        if self._asked:
            self.rpc.http.ping(b"kfs-ping")
            self._flush_soon()
        self._heard = False
        self._timer = asyncio.get_running_loop().call_later(PING_EVERY_S, self._watch_over)

    def _finished(self, stream: int, code: int, text: str) -> None:
        call = self._unary.pop(stream, None)
        answer = self._answers.pop(stream, None)
        if call is not None:
            future = call.answer
            if future.done():
                return
            if code == grpc.OK and answer is not None:
                future.set_result(answer)
            elif code == grpc.OK:
                future.set_exception(RpcError(grpc.INTERNAL, "the answer has no message"))
            else:
                future.set_exception(RpcError(code, text))
            return
        incoming = self._streams.pop(stream, None)
        if incoming is not None:
            incoming.finish(RpcError(code, text))

    def _fail_all(self, reason: str) -> None:
        self._usable = False
        unary, self._unary = self._unary, {}
        streams, self._streams = self._streams, {}
        for call in unary.values():
            if not call.answer.done():
                call.answer.set_exception(Unavailable(reason))
        for incoming in streams.values():
            incoming.finish(Unavailable(reason))

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_later)

    def _flush_later(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        data = self.rpc.http.take_output() if self._transport is not None else b""
        if data and self._transport is not None:
            self._transport.write(data)


class Channel:
    """`endpoints` are URLs, the nearest first; with https a TLS context is needed.  Nothing is opened before the first call."""

    def __init__(self, endpoints: Sequence[str], tls: ssl.SSLContext | None = None) -> None:
        self._endpoints = [urlsplit(url if "//" in url else f"http://{url}") for url in endpoints]
        self._tls = tls
        self._connection: _Connection | None = None
        """The one for new calls."""
        self._open: list[_Connection] = []
        """It, and those that only finish what they have begun."""
        self._connecting: asyncio.Task[_Connection] | None = None
        self._attempts = 0
        """Since one succeeded."""
        self._place = 0
        """Of the connection's endpoint."""
        self._first = 0
        """Place of the endpoint that is tried first when it has broken."""
        self._closed = False

    async def call(self, method: str, message: bytes) -> bytes:
        """Raises RpcError, Unavailable."""
        connection = self._connection
        if connection is None or not connection.usable or self._closed:
            try:
                async with asyncio.timeout(CALL_S):
                    connection = await self._connected()
            except TimeoutError as error:
                raise Unavailable(f"the store was not reached within {CALL_S:g} s") from error
        stream, answer = connection.call(method, message)
        try:
            return await answer
        except asyncio.CancelledError:
            connection.cancel(stream)
            raise
        except (RpcError, Unavailable) as error:
            if isinstance(error, Unavailable) or error.code == grpc.UNAVAILABLE:
                self._leave(connection, str(error))
            raise

    async def open(self, method: str) -> Incoming:
        """Raises Unavailable."""
        return (await self._connected()).open(method)

    def _leave(self, connection: _Connection, reason: str) -> None:
        """For the endpoint after it, if there is another."""
        if len(self._endpoints) > 1 and connection is self._connection and connection.usable:
            self._first = (self._place + 1) % len(self._endpoints)
            connection.give_up(f"the store at {self._endpoints[self._place].geturl()} was left: {reason}")

    async def close(self) -> None:
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await asyncio.gather(*(connection.closed() for connection in self._open if not connection.lost.is_set()))

    async def _connected(self) -> _Connection:
        if self._closed:
            raise Unavailable("the store's client was closed")
        if self._connection is not None and self._connection.usable:
            return self._connection
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._settle)
        try:
            return await asyncio.shield(self._connecting)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise Unavailable("the store's client was closed") from error  # not who asked was cancelled, but the connecting
            raise

    def _settle(self, task: "asyncio.Task[_Connection]") -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # all who waited have it

    async def _connect(self) -> _Connection:
        if self._attempts:
            await asyncio.sleep(min(PAUSE_FIRST_S * 2 ** min(self._attempts, DOUBLINGS_MAX), PAUSE_MAX_S))
        self._attempts += 1
        problems = []
        for step in range(len(self._endpoints)):
            place = (self._first + step) % len(self._endpoints)
            try:
                connection = await self._dial(self._endpoints[place])
            except Unavailable as error:
                problems.append(error)
                continue
            self._attempts, self._place, self._first = 0, place, 0
            self._connection = connection
            self._open = [each for each in self._open if not each.lost.is_set()] + [connection]
            return connection
        raise Unavailable("; ".join(map(str, problems))) from problems[0]

    async def _dial(self, endpoint: SplitResult) -> _Connection:
        """Raises Unavailable."""
        secure = endpoint.scheme == "https"
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(endpoint.netloc, secure=secure), endpoint.hostname or "", endpoint.port or 2379, ssl=self._tls if secure else None
                )
        except (OSError, TimeoutError, ssl.SSLError) as error:
            raise Unavailable(f"the store at {endpoint.geturl()} cannot be reached: {error or 'no answer in time'}") from error
        return connection
