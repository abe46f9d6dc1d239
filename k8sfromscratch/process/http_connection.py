"""One HTTP/1.1 connection of a server: an asyncio protocol around httptools' parser.

    bytes ─► parser ─► head, body ─► Request ─► queue ─► one task: handler ─► Response (whole, or chunk by chunk) ─► bytes
                                                                         └─► Upgrade: the transport is given away (`upgrade`)

The general server of an HTTP library was here before: of a GET that costs the handler 45 µs it took 70.  What is left is what the API needs:
keep-alive and pipelining in order, bodies with a length or in chunks, Expect, HEAD, HTTP/1.0; no compression, cookies, forms.

What a client may cost us is bounded: the size of a head and a body, the requests it sends ahead, the time to send either, the time to take what
we send.  What is wrong is answered with a Status; the connection is closed behind it where the next request could not be told from the rest.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import cast

import httptools

from k8sfromscratch.api.errors import ApiError, BadRequest, RequestEntityTooLarge, Timeout
from k8sfromscratch.process import http_head, upgrade
from k8sfromscratch.process.answer import answer, error_response
from k8sfromscratch.process.http import Handler, Request, Response, Upgrade
from k8sfromscratch.process.sockets import watch_peer

log = logging.getLogger(__name__)

HEAD_MAX_BYTES = 96 * 1024
"""Of the request line and all headers: a label selector or a token may be long, and a proxy adds its own."""
HEADER_COST_BYTES = 32
"""What a header counts besides its text, so that thousands of tiny ones are no way around the limit."""
FRAMING_MAX = 2
"""A body in chunks may be so many times its limit as sent: the sizes of tiny chunks, what is written beside them, and trailers are bounded too."""
BODY_READ_S = 30.0
"""A client that sends its body slower than this is cut off: it must not hold a slot."""
IDLE_S = 75.0
"""A connection on which no whole head arrives for so long is closed.  Longer than clients keep theirs, so that they close first."""
UNTAKEN_S = 300.0
"""How long sent data may wait to be taken: someone may look at a page of `kubectl logs -f` for a while, a hung watcher must go."""
LINGER_S = 1.0
"""For a client to read why it was refused: closing a connection with something unread in it would reset it, and the answer be lost."""
AHEAD_MAX = 16
"""Requests that a client may send before the first is answered; then it is not read from."""
SLICE_BYTES = 128 * 1024
"""A large body is given to TLS in slices: encrypted at once, a list of 8 MB needed three buffers of its size, whose fresh pages cost more
than the encryption; a slice stays in the processor's cache, and the client decrypts one while we encrypt the next."""


@dataclass(slots=True)
class Shared:
    """What the connections of one server have in common."""

    handler: Handler
    body_max_bytes: int
    open: "set[HttpConnection]" = field(default_factory=set)
    draining: bool = False
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection is gone of a server that takes no more."""
    _date: tuple[int, bytes] = (-1, b"")

    def forget(self, connection: "HttpConnection") -> None:
        self.open.discard(connection)
        if self.draining and not self.open:
            self.empty.set()

    def date(self, now_s: float) -> bytes:
        """The header line, made once a second of the loop's clock."""
        if int(now_s) != self._date[0]:
            self._date = (int(now_s), f"Date: {formatdate(usegmt=True)}\r\n".encode())
        return self._date[1]


@dataclass(slots=True)
class _Exchange:
    """A request to be answered in its turn, or what was wrong with it."""

    request: Request | ApiError
    keep_alive: bool = False
    http11: bool = True
    bodiless: bool = False
    """HEAD: the answer's head alone."""


class HttpConnection(asyncio.Protocol):
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        # The message being read.
        self._url = b""
        self._headers: dict[str, str] = {}
        self._repeated: dict[str, list[str]] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._fed_bytes = 0
        self._in_head = self._in_body = False
        self._fault: ApiError | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        # The requests behind it.
        self._waiting: deque[_Exchange] = deque()
        self.task: asyncio.Task[None] | None = None
        """One for all requests of the connection: a task each cost more than to parse them."""
        self.busy = False
        """A request is being answered."""
        self._next: asyncio.Future[_Exchange] | None = None
        """What the task waits for between two requests."""
        self._deaf = False
        """Nothing more is parsed: the connection was upgraded, or ends."""
        self._tail: bytes | None = None
        """What came behind an upgrade's head."""
        self._given_away = False
        """The transport tells another protocol of its end."""
        # The writing side.
        self._full = False
        self._room: asyncio.Future[None] | None = None
        self._lost = False
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_since_s = 0.0

    # -- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Asked once: asking the transport costs more than a small request.
        peer, tls, sock = (transport.get_extra_info(name) for name in ("peername", "ssl_object", "socket"))
        self._transport = cast("asyncio.Transport", transport)
        self._remote = str(peer[0]) if peer else ""
        self._certificate: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
        if sock is not None:
            watch_peer(sock, untaken_s=UNTAKEN_S)
        self._shared.open.add(self)
        self._rest()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = self._deaf = True
        self._shared.forget(self)
        self._stop_timers()
        self.resume_writing()
        self._waiting.clear()
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            if self._tail is not None:
                self._tail += data
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as found:
            self._deaf, self._tail = True, data[found.args[0] :]
            self._transport.pause_reading()
        except httptools.HttpParserError as error:
            self._refuse(self._fault or BadRequest(f"the request is not HTTP: {error}"))
        if self._in_head:
            self._fed_bytes += len(data)
            if self._fed_bytes > HEAD_MAX_BYTES + len(data) and not self._deaf:
                self._refuse(_head_too_large())
        elif self._in_body and not self._deaf:
            self._fed_bytes += len(data)
            if self._fed_bytes > HEAD_MAX_BYTES + FRAMING_MAX * self._shared.body_max_bytes + len(data):
                return self._refuse(_body_too_large(self._shared.body_max_bytes))
            if self._body_timer is None:
                self._body_timer = self._loop.call_later(BODY_READ_S, self._refuse, Timeout("the request's body did not arrive in time"))

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # -- the parser's calls

    def on_message_begin(self) -> None:
        self._url, self._headers, self._repeated, self._body = b"", {}, {}, []
        self._body_bytes = self._head_bytes = self._fed_bytes = 0
        self._in_head, self._fault = True, None

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer behind a chunked body
        self._count(len(name) + len(value) + HEADER_COST_BYTES)
        key, text = http_head.header_name(name), value.decode("utf-8", "replace")
        # A header that is sent several times means its values in one list (RFC 9110 §5.3): SPDY clients offer their protocols so.
        before = self._headers.get(key)
        if before is None:
            self._headers[key] = text
        else:
            self._repeated.setdefault(key, [before]).append(text)
            self._headers[key] = f"{before}, {text}"

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        announced = self._headers.get("content-length", "")
        if announced.isdigit() and int(announced[:19]) > self._shared.body_max_bytes:
            self._raise_too_large()
        elif self._headers.get("expect", "").lower() == "100-continue" and not self.busy and self._parser.get_http_version() == "1.1":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, chunk: bytes) -> None:
        self._body_bytes += len(chunk)
        if self._body_bytes > self._shared.body_max_bytes:
            self._raise_too_large()
        self._body.append(chunk)

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        parser, method = self._parser, self._parser.get_method().decode("latin-1")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        try:
            raw_path, path, query = http_head.target(self._url)
        except ApiError as error:
            request: Request | ApiError = error
        else:
            request = Request(method, path, query, self._headers, body, self._remote, raw_path, self._certificate, repeated=self._repeated)
        self._enqueue(_Exchange(request, parser.should_keep_alive(), parser.get_http_version() != "1.0", method == "HEAD"))

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_MAX_BYTES:
            self._fault = _head_too_large()
            raise self._fault

    def _raise_too_large(self) -> None:
        self._fault = _body_too_large(self._shared.body_max_bytes)
        raise self._fault

    # -- one request after the other

    def _enqueue(self, exchange: _Exchange) -> None:
        if self.busy:
            self._waiting.append(exchange)
            if len(self._waiting) == AHEAD_MAX:
                self._transport.pause_reading()
            return
        self.busy = True
        if self._next is None:
            self.task = self._loop.create_task(self._serve(exchange))
        elif not self._next.done():
            self._next.set_result(exchange)

    def _refuse(self, error: ApiError) -> None:
        """The last answer: where one request ends and the next begins is not known any more, or not waited for."""
        self._deaf = True
        self._stop_timers()
        self._enqueue(_Exchange(error))

    async def _serve(self, exchange: _Exchange) -> None:
        try:
            while True:
                request = exchange.request
                response = await answer(self._shared.handler, request) if isinstance(request, Request) else error_response(request)
                if isinstance(response, Upgrade):
                    assert isinstance(request, Request)
                    self._deaf = self._given_away = True
                    self._stop_timers()
                    return await upgrade.hand_over(self._transport, request.body + (self._tail or b""), response, request.raw_path)
                # Deaf with nothing waiting: an answer to what asked for an upgrade, so that what follows may be of the other protocol already.
                keep_alive = bool(self._waiting) or (exchange.keep_alive and not self._deaf and not self._shared.draining)
                if isinstance(response.body, bytes):
                    await self._whole(exchange, response, response.body, keep_alive)
                else:
                    keep_alive = keep_alive and exchange.http11  # to HTTP/1.0 the end of the connection is the body's
                    await self._stream(exchange, response, response.body, keep_alive)
                if self._waiting:
                    exchange = self._waiting.popleft()
                    if len(self._waiting) == AHEAD_MAX - 1 and not self._deaf:
                        # Of one that was to be upgraded nothing is read until that has been answered: it would only be piled up.
                        self._transport.resume_reading()
                    continue
                if not keep_alive or self._deaf or self._shared.draining:
                    return self._end()
                self.busy = False
                self._rest()
                self._next = self._loop.create_future()
                exchange = await self._next
        except ConnectionError as error:
            log.debug("%s: the client went away: %s", self._remote, error)
            self._transport.abort()
        except Exception:
            log.exception("a connection of %s broke off", self._remote)
            self._transport.abort()  # the client must not take this for the end
        finally:
            self.task, self.busy = None, False
            if self._given_away:
                self._shared.forget(self)

    async def _whole(self, exchange: _Exchange, response: Response, body: bytes, keep_alive: bool) -> None:
        length = len(body) if response.status not in http_head.BODILESS else None
        head = http_head.response_head(response, self._shared.date(self._loop.time()), length=length, keep_alive=keep_alive, http11=exchange.http11)
        if exchange.bodiless or length is None:
            self._transport.write(head)
        elif length <= SLICE_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            await self._write_large(body)
        if self._full:
            await self._drained()

    async def _stream(self, exchange: _Exchange, response: Response, chunks: AsyncIterator[bytes], keep_alive: bool) -> None:
        """Chunks go out as they come; a slow reader holds the iterator back, one that goes away closes it."""
        write, http11 = self._transport.write, exchange.http11
        write(http_head.response_head(response, self._shared.date(self._loop.time()), length=None, keep_alive=keep_alive, http11=http11))
        try:
            if exchange.bodiless:
                return
            async for chunk in chunks:
                if not chunk:
                    continue
                framed = b"%x\r\n%b\r\n" % (len(chunk), chunk) if http11 else chunk
                if len(framed) <= SLICE_BYTES:
                    write(framed)
                else:
                    await self._write_large(framed)
                if self._full:
                    await self._drained()
            if http11:
                write(b"0\r\n\r\n")
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    async def _write_large(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(data), SLICE_BYTES):
            if self._full:
                await self._drained()
            self._transport.write(view[start : start + SLICE_BYTES])

    async def _drained(self) -> None:
        """Returns when the client has taken enough.  Raises ConnectionResetError when it is gone."""
        while self._full:
            self._room = self._loop.create_future()
            await self._room
        if self._lost:
            raise ConnectionResetError("the connection was lost")

    # -- between requests, and at the end

    def _rest(self) -> None:
        """Nothing to do until the next request: one timer looks after the connection, now and then, rather than one for each request."""
        self._idle_since_s = self._loop.time()
        if self._idle_timer is None and not self._lost:
            self._idle_timer = self._loop.call_later(IDLE_S, self._look)

    def _look(self) -> None:
        self._idle_timer = None
        if self.busy or self._in_body:
            return self._rest()
        left_s = self._idle_since_s + IDLE_S - self._loop.time()
        if left_s <= 0:
            return self._transport.close()
        self._idle_timer = self._loop.call_later(left_s, self._look)

    def _end(self) -> None:
        """Closes behind the last answer; where the client was cut short, it gets a moment to read that."""
        if not self._deaf or self._lost:
            return self._transport.close()
        self._tail = None
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._idle_timer = self._loop.call_later(LINGER_S, self._transport.close)

    def close_idle(self) -> None:
        """What is between two requests when the server stops."""
        if not self.busy:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self._idle_timer, self._body_timer):
            if timer is not None:
                timer.cancel()
        self._idle_timer = self._body_timer = None


def _body_too_large(body_max_bytes: int) -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"Request entity too large: limit is {body_max_bytes}")


def _head_too_large() -> BadRequest:
    return BadRequest(f"the request's head is larger than the limit of {HEAD_MAX_BYTES} bytes")
