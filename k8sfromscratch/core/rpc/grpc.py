"""gRPC over HTTP/2 (the protocol of PROTOCOL-HTTP2.md), both sides, without sockets.

    server   receive(bytes) ─► Request of a unary call                       reply / finish ─► bytes
                           ─► Called, Message, HalfClosed, Cancelled        send / finish ─► bytes
    client   call / send / half_close / cancel ─► bytes                      receive(bytes) ─► Message, Finished, Disconnected

Nearly all calls of a server are unary: one question in one frame, one answer.  Such a call is one event, and nothing is made for it but that: what its
headers mean is remembered with them, and the bytes are only gathered where they come in pieces.

Every message is a flag byte, a length of four, and the bytes.  Compressed messages are refused as UNIMPLEMENTED: we announce no encoding.
"""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from k8sfromscratch.core.rpc import http2
from k8sfromscratch.core.rpc.headers import Headers, encode_headers, header

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 0, 1, 2, 3, 4, 5
PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE = 7, 8, 9, 10, 11
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED = 12, 13, 14, 15, 16

MESSAGE_MAX_BYTES = 128 * 1024 * 1024
"""A longer answer is refused, and a longer request where the server sets no lower bound."""
HEADS_MAX = 256
"""Different headers and trailers remembered a connection."""

_RESPONSE = encode_headers([(":status", "200"), ("content-type", "application/grpc")])
_TRAILERS_OK = encode_headers([("grpc-status", "0")])
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


@dataclass(slots=True)
class Request:
    """A whole unary call, to be answered with `reply` or `finish`."""

    stream: int
    head: "Head"
    message: bytes


@dataclass(slots=True)
class Called:
    """A client began a call of `method`, e.g. `/etcdserverpb.KV/Put`."""

    stream: int
    method: str
    metadata: Headers

    @property
    def timeout_s(self) -> float | None:
        found = _TIMEOUT.fullmatch(header(self.metadata, "grpc-timeout"))
        return int(found[1]) * _UNITS_S[found[2]] if found else None


@dataclass(slots=True)
class Message:
    stream: int
    data: bytes


@dataclass(slots=True)
class HalfClosed:
    """The client sends no more."""

    stream: int


@dataclass(slots=True)
class Cancelled:
    stream: int


@dataclass(slots=True)
class Finished:
    """A call's end, as the client sees it; `code` OK or an error with its text."""

    stream: int
    code: int
    text: str


@dataclass(slots=True)
class Disconnected:
    """No new calls on this connection.  Those above `last_stream` were not begun by the server; `fatal`: none goes on."""

    last_stream: int
    fatal: bool
    reason: str


class TooLarge(ValueError):
    """A message is longer than the receiver takes."""


class _Assembler:
    """Cuts a stream's bytes into messages.  `given`: a unary call's one has been told."""

    __slots__ = ("_buffer", "_max_bytes", "_needed", "given")

    def __init__(self, max_bytes: int) -> None:
        self.given = False
        self._buffer = bytearray()
        self._max_bytes = max_bytes
        self._needed = 5
        """How much must have come before it is worth looking again."""

    def feed(self, data: bytes) -> list[bytes]:
        """Raises ValueError on what is not a gRPC message, TooLarge."""
        buffer = self._buffer
        if not buffer and len(data) >= 5 and len(data) == 5 + int.from_bytes(data[1:5], "big") and not data[0]:
            if len(data) - 5 > self._max_bytes:
                raise TooLarge(f"received message larger than max ({len(data) - 5} vs. {self._max_bytes})")
            return [data[5:]]
        buffer += data
        if len(buffer) < self._needed:
            return []
        found, at = [], 0
        self._needed = 5
        while len(buffer) - at >= 5:
            if buffer[at]:
                raise ValueError("compressed messages are not supported")
            size = int.from_bytes(buffer[at + 1 : at + 5], "big")
            if size > self._max_bytes:
                raise TooLarge(f"received message larger than max ({size} vs. {self._max_bytes})")
            if len(buffer) - at - 5 < size:
                self._needed = 5 + size
                break
            found.append(bytes(buffer[at + 5 : at + 5 + size]))
            at += 5 + size
        del buffer[:at]
        return found

    @property
    def incomplete(self) -> bool:
        return bool(self._buffer)


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


@dataclass(slots=True)
class Head:
    """What a call's headers mean: the same object for all calls that begin with the same.  `method` is "" where they are no gRPC call."""

    method: str
    metadata: Headers
    unary: bool


ServerEvent = Request | Called | Message | HalfClosed | Cancelled | Disconnected


class GrpcServer:
    """The server's side of one connection.  The calls of `unary` methods are told as Requests, all others in their parts."""

    def __init__(self, message_max_bytes: int = MESSAGE_MAX_BYTES, unary: Container[str] = ()) -> None:
        self.http = http2.Http2Connection(client=False)
        self._message_max_bytes, self._unary = message_max_bytes, unary
        self._heads: dict[int, Head] = {}
        """By the identity of the headers, which are nearly always the same few objects out of the reader's memo: to hash their texts cost as much as
        reading a frame.  An entry keeps its headers, so no others can have their identity."""
        self._calls: dict[int, Head] = {}
        self._parts: dict[int, _Assembler] = {}
        """Of calls whose messages are streamed, or come in pieces."""
        self._answered: set[int] = set()
        """Streams whose response headers are out."""

    def receive(self, data: bytes) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        for event in self.http.receive(data):
            # Two of these are every call: told apart by type, which is cheaper than matching their fields.
            if isinstance(event, http2.DataReceived):
                self._on_data(event.stream, event.data, event.ended, events)
            elif isinstance(event, http2.HeadersReceived):
                self._on_headers(event.stream, event.headers, event.ended, events)
            elif isinstance(event, http2.StreamReset):
                if self._forget(event.stream):
                    events.append(Cancelled(event.stream))
            elif isinstance(event, http2.ConnectionClosed):
                events.append(Disconnected(event.last_stream, event.code != 0 or self.http.closed, event.reason))
        return events

    def reply(self, stream: int, message: bytes) -> None:
        """A unary call's whole answer."""
        if self._forget(stream):
            self.http.respond(stream, _RESPONSE, framed(message), _TRAILERS_OK)

    def send(self, stream: int, message: bytes) -> None:
        """One message of a streaming answer."""
        if stream in self._calls or stream in self._answered:
            if stream not in self._answered:
                self._answered.add(stream)
                self.http.send_headers(stream, _RESPONSE)
            self.http.send_data(stream, framed(message))

    def start(self, stream: int) -> None:
        """Sends the response headers of a streaming answer whose first message is not there yet."""
        if stream in self._calls and stream not in self._answered:
            self._answered.add(stream)
            self.http.send_headers(stream, _RESPONSE)

    def finish(self, stream: int, code: int = OK, text: str = "") -> None:
        """Ends a call; a second end is ignored, since the client may have gone meanwhile."""
        answered = stream in self._answered
        if not self._forget(stream) and not answered:
            return
        trailers = (
            _TRAILERS_OK if code == OK else encode_headers([("grpc-status", str(code)), ("grpc-message", quote(text, safe=" !\"#$&'()*+,-./:;<=>?@[]^_`{|}~"))])
        )
        if not answered:
            self.http.send_headers(stream, _RESPONSE)
        self.http.send_headers(stream, trailers, end=True)

    def reset(self, stream: int, code: int) -> None:
        """Ends a call at once, without what still waits for the client."""
        self._forget(stream)
        self.http.reset(stream, code)

    def _on_headers(self, stream: int, headers: Headers, ended: bool, events: list[ServerEvent]) -> None:
        if stream in self._calls:  # trailers from a client mean nothing in gRPC
            if ended:
                self._on_end(stream, self._calls[stream], events)
            return
        head = self._heads.get(id(headers))
        if head is None:
            path = _called_path(headers)
            head = Head(path, headers, path in self._unary)
            if len(self._heads) < HEADS_MAX:
                self._heads[id(headers)] = head
        if not head.method:
            self.http.send_headers(stream, encode_headers([(":status", "415"), ("content-type", "text/plain")]), end=True)
            return
        self._calls[stream] = head
        if not head.unary:
            events.append(Called(stream, head.method, headers))
        if ended:
            self._on_end(stream, head, events)

    def _on_data(self, stream: int, chunk: bytes, ended: bool, events: list[ServerEvent]) -> None:
        head = self._calls.get(stream)
        if head is None:
            return
        size = len(chunk) - 5
        if ended and head.unary and chunk[:1] == b"\0" and int.from_bytes(chunk[1:5], "big") == size <= self._message_max_bytes and stream not in self._parts:
            events.append(Request(stream, head, chunk[5:]))
            return
        self._on_part(stream, head, chunk, events)
        if ended and stream in self._calls:
            self._on_end(stream, head, events)

    def _on_part(self, stream: int, head: Head, chunk: bytes, events: list[ServerEvent]) -> None:
        parts = self._parts.get(stream)
        if parts is None:
            parts = self._parts[stream] = _Assembler(self._message_max_bytes)
        try:
            messages = parts.feed(chunk)
        except ValueError as error:
            self.finish(stream, RESOURCE_EXHAUSTED if isinstance(error, TooLarge) else UNIMPLEMENTED, f"grpc: {error}")
            events.append(Cancelled(stream))
            return
        for message in messages:
            if not head.unary:
                events.append(Message(stream, message))
            elif not parts.given:  # a unary call has one: more are ignored
                parts.given = True
                events.append(Request(stream, head, message))

    def _on_end(self, stream: int, head: Head, events: list[ServerEvent]) -> None:
        """The client sends no more."""
        parts = self._parts.get(stream)
        if parts is not None and parts.incomplete:
            self.finish(stream, INTERNAL, "grpc: the request ends in the middle of a message")
            events.append(Cancelled(stream))
        elif not head.unary:
            events.append(HalfClosed(stream))
        elif parts is None or not parts.given:
            self.finish(stream, INTERNAL, "grpc: the call ended without a request")

    def _forget(self, stream: int) -> bool:
        self._answered.discard(stream)
        self._parts.pop(stream, None)
        return self._calls.pop(stream, None) is not None


def _called_path(headers: Headers) -> str:
    """The path of a gRPC call; "" for another request."""
    if header(headers, ":method") != "POST" or not header(headers, "content-type").startswith("application/grpc"):
        return ""
    return header(headers, ":path")


ClientEvent = Message | Finished | Disconnected


class GrpcClient:
    """The client's side of one connection."""

    def __init__(self, authority: str, *, secure: bool) -> None:
        self.http = http2.Http2Connection(client=True)
        self._authority, self._scheme = authority, "https" if secure else "http"
        self._calls: dict[int, _Assembler] = {}
        self._blocks: dict[str, bytes] = {}
        self._ends: dict[Headers, tuple[int, str]] = {}
        """What trailers say: nearly always that all is well."""

    def call(self, method: str, metadata: Sequence[tuple[str, str]] = ()) -> int:
        """Begins a call; the number of its stream."""
        block = self._blocks.get(method)
        if block is None:
            block = self._blocks[method] = encode_headers(
                [
                    (":method", "POST"),
                    (":scheme", self._scheme),
                    (":path", method),
                    (":authority", self._authority),
                    ("content-type", "application/grpc"),
                    ("te", "trailers"),
                    ("user-agent", "k8sfromscratch"),
                ]
            )
        stream = self.http.open_stream(block + encode_headers(metadata) if metadata else block)
        self._calls[stream] = _Assembler(MESSAGE_MAX_BYTES)
        return stream

    def send(self, stream: int, message: bytes, *, end: bool = False) -> None:
        self.http.send_data(stream, framed(message), end=end)

    def half_close(self, stream: int) -> None:
        self.http.send_data(stream, b"", end=True)

    def cancel(self, stream: int) -> None:
        if self._calls.pop(stream, None) is not None:
            self.http.reset(stream)

    def receive(self, data: bytes) -> list[ClientEvent]:
        events: list[ClientEvent] = []
        for event in self.http.receive(data):
            # Three of these end every call: told apart by type, which is cheaper than matching their fields.
            if isinstance(event, http2.DataReceived):
                self._on_data(event.stream, event.data, event.ended, events)
            elif isinstance(event, http2.HeadersReceived):
                self._on_headers(event.stream, event.headers, event.ended, events)
            elif isinstance(event, http2.StreamReset):
                if self._calls.pop(event.stream, None) is not None:
                    code = UNAVAILABLE if event.code == http2.REFUSED_STREAM else INTERNAL
                    events.append(Finished(event.stream, code, f"the stream was reset with code {event.code}"))
            elif isinstance(event, http2.ConnectionClosed):
                events.append(Disconnected(event.last_stream, event.code != 0 or self.http.closed, event.reason))
        return events

    def _on_headers(self, stream: int, headers: Headers, ended: bool, events: list[ClientEvent]) -> None:
        if stream not in self._calls:
            return
        if ended:
            del self._calls[stream]
            known = self._ends.get(headers)
            if known is None:
                known = _end_of(headers)
                if len(self._ends) < HEADS_MAX:
                    self._ends[headers] = known
            events.append(Finished(stream, *known))
            return
        status = header(headers, ":status")
        if status not in ("", "200"):
            self.cancel(stream)
            events.append(Finished(stream, UNAVAILABLE if status in ("429", "502", "503", "504") else UNKNOWN, f"HTTP {status}"))

    def _on_data(self, stream: int, chunk: bytes, ended: bool, events: list[ClientEvent]) -> None:
        assembler = self._calls.get(stream)
        if assembler is None:
            return
        try:
            for message in assembler.feed(chunk):
                events.append(Message(stream, message))
        except ValueError as error:
            self.cancel(stream)
            events.append(Finished(stream, INTERNAL, str(error)))
            return
        if ended:
            del self._calls[stream]
            events.append(Finished(stream, INTERNAL, "the answer ended without a status"))


def _end_of(headers: Headers) -> tuple[int, str]:
    code = header(headers, "grpc-status")
    if code.isdigit():
        return int(code), unquote(header(headers, "grpc-message"))
    return UNKNOWN, f"the answer has no grpc-status (HTTP {header(headers, ':status') or 'trailers'})"
