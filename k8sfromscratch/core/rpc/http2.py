"""HTTP/2 framing (RFC 9113) for gRPC: bytes in, events out; no sockets.

    receive(bytes) ─► frames ─► events          send_…() ─► out (bytes to write, taken by `take_output`)

What gRPC does not use is refused or ignored: push, priorities, upgrades from HTTP/1.  Header compression is in `headers`.

Events are not frozen: there are several for every call, and freezing makes each four times as dear.

Errors: a connection error makes `receive` answer with ConnectionClosed and puts GOAWAY into the output; a stream error resets the stream.
"""

import struct
from collections import deque
from dataclasses import dataclass, field

from k8sfromscratch.core.rpc.headers import HeaderError, HeaderReader, Headers

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0x0, 0x1, 0x2, 0x3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x5, 0x6, 0x7, 0x8, 0x9, 0xB

FRAME_MAX_BYTES = 2**20
"""What we let the peer send in one frame."""
WINDOW_BYTES = 2**24
"""What we let the peer send ahead, a stream and in all: it is never the limit on a fast link, and bounds what we hold."""
HEADER_BLOCK_MAX_BYTES = 2**16
STREAMS_MAX = 2**16
"""Streams open at once that we grant a client: each of our own watches is one; more are refused, and the client may try them again."""
STREAM_NUMBER_MAX = 2**31 - 1


_HEAD = struct.Struct("!HBBBL")
_PLAIN = END_HEADERS | PADDED | PRIORITY_FLAG
"""Of these flags, a header block has only the first where all of its frame is the block."""


@dataclass(slots=True)
class HeadersReceived:
    """The first headers of a stream, or trailers; `ended`: nothing follows."""

    stream: int
    headers: Headers
    ended: bool


@dataclass(slots=True)
class DataReceived:
    stream: int
    data: bytes
    ended: bool


@dataclass(slots=True)
class StreamReset:
    stream: int
    code: int


@dataclass(slots=True)
class ConnectionClosed:
    """No more is read.  `code` 0 is an orderly GOAWAY; `last_stream` the last one that the peer has handled."""

    code: int
    last_stream: int
    reason: str


@dataclass(slots=True)
class Ponged:
    payload: bytes


Event = HeadersReceived | DataReceived | StreamReset | ConnectionClosed | Ponged


@dataclass(slots=True)
class _Unsent:
    """What waits for the peer's window, `size` bytes of it; then the end of the stream, or `end_block`, the trailers."""

    chunks: deque[memoryview] = field(default_factory=deque)
    size: int = 0
    end_after: bool = False
    end_block: bytes | None = None


class _Stream:
    """Most streams are one short question and one short answer: what the others need is made when they do."""

    __slots__ = ("closed_here", "closed_there", "received", "send_window", "unsent")

    def __init__(self, send_window: int) -> None:
        self.send_window, self.received = send_window, 0
        self.unsent: _Unsent | None = None
        self.closed_here = self.closed_there = False


class _Refused(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


class Http2Connection:
    """One side of a connection.  A client's streams are odd and it makes them; a server only answers."""

    def __init__(self, *, client: bool) -> None:
        self._client = client
        self._buffer = bytearray()
        self._needed = 0
        """How long the buffer must be before the frame that it begins with can be complete."""
        self._preface_missing = not client
        self._headers = HeaderReader(HEADER_BLOCK_MAX_BYTES)
        self._streams: dict[int, _Stream] = {}
        self._next_stream = 1
        self._last_peer_stream = 0
        self._send_window = 65535
        self._initial_send_window = 65535
        self._peer_frame_max = 16384
        self._received = 0
        self._block: tuple[int, int, bytearray] | None = None
        """A header block in parts: stream, flags, bytes."""
        self._blocked: dict[int, None] = {}
        """Streams with pending data, in the order they began to wait."""
        self.closed = False
        self._out: list[bytes | memoryview] = [PREFACE] if client else []
        self._out.append(frame(SETTINGS, 0, 0, struct.pack("!HLHLHL", 0x4, WINDOW_BYTES, 0x5, FRAME_MAX_BYTES, 0x3, STREAMS_MAX)))
        self._out.append(frame(WINDOW_UPDATE, 0, 0, struct.pack("!L", WINDOW_BYTES - 65535)))

    # Out

    def take_output(self) -> bytes:
        """Everything to write now; empty when there is nothing."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    @property
    def has_output(self) -> bool:
        return bool(self._out)

    def open_stream(self, block: bytes, *, end: bool = False) -> int:
        """Client: a new stream with this header block."""
        stream = self._next_stream
        self._next_stream += 2
        self._streams[stream] = _Stream(self._initial_send_window)
        self._send_block(stream, block, END_STREAM if end else 0)
        return stream

    @property
    def exhausted(self) -> bool:
        """Client: no number is left for a new stream (RFC 9113 §5.1.1); a new connection is needed."""
        return self._next_stream > STREAM_NUMBER_MAX

    def respond(self, stream: int, block: bytes, data: bytes, trailers: bytes) -> None:
        """A whole answer at once; where nothing stands in its way, three frames in one piece."""
        state, size = self._streams.get(stream), len(data)
        if state is None or state.closed_here:
            return
        if state.unsent is not None or size > state.send_window or size > self._send_window or size > self._peer_frame_max:
            self.send_headers(stream, block)
            self.send_data(stream, data)
            self.send_headers(stream, trailers, end=True)
            return
        self._send_window -= size
        self._out += (
            _HEAD.pack(0, len(block), HEADERS, END_HEADERS, stream),
            block,
            _HEAD.pack(size >> 8, size & 0xFF, DATA, 0, stream),
            data,
            _HEAD.pack(0, len(trailers), HEADERS, END_HEADERS | END_STREAM, stream),
            trailers,
        )
        if state.closed_there:
            del self._streams[stream]
        else:
            self._close_here(stream, state)

    def send_headers(self, stream: int, block: bytes, *, end: bool = False) -> None:
        """Headers or trailers; trailers wait behind data that waits for the window.  A stream that is gone takes nothing."""
        state = self._streams.get(stream)
        if state is None or state.closed_here:
            return
        if end and state.unsent is not None:
            state.unsent.end_block = block
            return
        self._send_block(stream, block, END_STREAM if end else 0)
        if end:
            self._close_here(stream, state)

    def send_data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        state = self._streams.get(stream)
        if state is None or state.closed_here:
            return
        size = len(data)
        if state.unsent is None and size <= state.send_window and size <= self._send_window and size <= self._peer_frame_max:
            state.send_window -= size
            self._send_window -= size
            self._out.append(_HEAD.pack(size >> 8, size & 0xFF, DATA, END_STREAM if end else 0, stream))
            self._out.append(data)
            if end:
                self._close_here(stream, state)
            return
        unsent = state.unsent
        if unsent is None:
            unsent = state.unsent = _Unsent()
        if data:
            unsent.chunks.append(memoryview(data))
            unsent.size += size
        unsent.end_after = end
        self._blocked[stream] = None
        self._drain(stream, state)

    def pending_bytes(self, stream: int) -> int:
        """What waits for the peer's window: a producer slows down on it."""
        state = self._streams.get(stream)
        return state.unsent.size if state is not None and state.unsent is not None else 0

    def reset(self, stream: int, code: int = CANCEL) -> None:
        if self._streams.pop(stream, None) is not None:
            self._blocked.pop(stream, None)
            self._out.append(frame(RST_STREAM, 0, stream, struct.pack("!L", code)))

    def ping(self, payload: bytes) -> None:
        self._out.append(frame(PING, 0, 0, payload))

    def go_away(self, code: int = NO_ERROR, reason: str = "") -> None:
        self._out.append(frame(GOAWAY, 0, 0, struct.pack("!LL", self._last_peer_stream, code) + reason.encode()))

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    def _send_block(self, stream: int, block: bytes, flags: int) -> None:
        """A block that is longer than the peer's frames goes on in continuations."""
        most = self._peer_frame_max
        if len(block) <= most:
            self._out.append(frame(HEADERS, END_HEADERS | flags, stream, block))
            return
        self._out.append(frame(HEADERS, flags, stream, block[:most]))
        for at in range(most, len(block), most):
            self._out.append(frame(CONTINUATION, END_HEADERS if at + most >= len(block) else 0, stream, block[at : at + most]))

    # In

    def receive(self, data: bytes) -> list[Event]:
        """Whatever these bytes complete, in order."""
        if self.closed:
            return []
        events: list[Event] = []
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
        try:
            self._buffer += data[self._read_frames(data, events) :]
        except _Refused as error:
            self.go_away(error.code, str(error))
            self.closed = True
            events.append(ConnectionClosed(error.code, self._last_peer_stream, str(error)))
        return events

    def _read_frames(self, data: bytes, events: list[Event]) -> int:
        """How far it came."""
        at, length = 0, len(data)
        if self._preface_missing:
            if not data.startswith(PREFACE[:length]):
                raise _Refused(PROTOCOL_ERROR, "this is not HTTP/2")
            self._needed = len(PREFACE)
            if length < len(PREFACE):
                return 0
            self._preface_missing = False
            at = len(PREFACE)
        self._needed = 9
        while length - at >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            size = (high << 8) | low
            if size > FRAME_MAX_BYTES:
                raise _Refused(FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            end = at + 9 + size
            if length < end:
                self._needed = 9 + size
                break
            payload = data[at + 9 : end]
            at = end
            stream &= 0x7FFFFFFF
            if self._block is not None and (kind != CONTINUATION or stream != self._block[0]):
                raise _Refused(PROTOCOL_ERROR, "a header block was interrupted")
            if kind == DATA:
                self._on_data(stream, flags, payload, events)
            elif kind == HEADERS and flags & _PLAIN == END_HEADERS:
                self._headers_done(stream, flags, payload, events)
            elif kind == HEADERS:
                self._on_headers(stream, flags, payload, events)
            else:
                self._on_other(kind, stream, flags, payload, events)
        return at

    def _on_data(self, stream: int, flags: int, payload: bytes, events: list[Event]) -> None:
        size = len(payload)
        self._received += size
        if self._received >= WINDOW_BYTES // 2:
            self._out.append(frame(WINDOW_UPDATE, 0, 0, struct.pack("!L", self._received)))
            self._received = 0
        state = self._streams.get(stream)
        if state is None or state.closed_there:
            if stream == 0 or (stream > self._last_peer_stream if not self._client else stream >= self._next_stream):
                raise _Refused(PROTOCOL_ERROR, f"data on the idle stream {stream}")
            return  # we have ended it; the peer did not know yet
        ended = bool(flags & END_STREAM)
        if not ended:
            state.received += size
            if state.received >= WINDOW_BYTES // 2:
                self._out.append(frame(WINDOW_UPDATE, 0, stream, struct.pack("!L", state.received)))
                state.received = 0
        events.append(DataReceived(stream, _unpadded(payload) if flags & PADDED else payload, ended))
        if ended:
            self._close_there(stream, state)

    def _on_headers(self, stream: int, flags: int, payload: bytes, events: list[Event]) -> None:
        if flags & PADDED:
            payload = _unpadded(payload)
        if flags & PRIORITY_FLAG:
            if len(payload) < 5:
                raise _Refused(FRAME_SIZE_ERROR, "headers without room for their priority")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._headers_done(stream, flags, payload, events)
        else:
            self._block = (stream, flags, bytearray(payload))

    def _headers_done(self, stream: int, flags: int, block: bytes, events: list[Event]) -> None:
        try:
            headers = self._headers.read(block)
        except HeaderError as error:
            raise _Refused(COMPRESSION_ERROR, str(error)) from error
        state = self._streams.get(stream)
        ended = bool(flags & END_STREAM)
        if state is None:
            if self._client:
                return  # of a stream that we have cancelled
            if stream % 2 == 0 or stream <= self._last_peer_stream:
                if stream % 2 and stream:
                    return
                raise _Refused(PROTOCOL_ERROR, f"a request on stream {stream}")
            self._last_peer_stream = stream
            if len(self._streams) >= STREAMS_MAX:
                self._out.append(frame(RST_STREAM, 0, stream, struct.pack("!L", REFUSED_STREAM)))
                return
            state = self._streams[stream] = _Stream(self._initial_send_window)
        events.append(HeadersReceived(stream, headers, ended))
        if ended:
            self._close_there(stream, state)

    def _on_other(self, kind: int, stream: int, flags: int, payload: bytes, events: list[Event]) -> None:
        if kind == CONTINUATION:
            if self._block is None:
                raise _Refused(PROTOCOL_ERROR, "a continuation of nothing")
            self._block[2].extend(payload)
            if len(self._block[2]) > HEADER_BLOCK_MAX_BYTES:
                raise _Refused(ENHANCE_YOUR_CALM, "a header block without an end")
            if flags & END_HEADERS:
                started, first_flags, block = self._block
                self._block = None
                self._headers_done(started, first_flags, bytes(block), events)
        elif kind in (SETTINGS, PING, GOAWAY) and stream:
            raise _Refused(PROTOCOL_ERROR, "a frame of the connection on a stream")
        elif kind == SETTINGS:
            if not flags & ACK:
                self._on_settings(payload)
        elif kind == WINDOW_UPDATE:
            self._on_window(stream, payload)
        elif kind == PING:
            if len(payload) != 8:
                raise _Refused(FRAME_SIZE_ERROR, "a ping is 8 bytes")
            if flags & ACK:
                events.append(Ponged(payload))
            else:
                self._out.append(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            if len(payload) != 4 or stream == 0:
                raise _Refused(PROTOCOL_ERROR, "a malformed reset")
            self._blocked.pop(stream, None)
            if self._streams.pop(stream, None) is not None:
                events.append(StreamReset(stream, struct.unpack("!L", payload)[0]))
        elif kind == GOAWAY:
            if len(payload) < 8:
                raise _Refused(FRAME_SIZE_ERROR, "a GOAWAY is 8 bytes or more")
            last, code = struct.unpack_from("!LL", payload)
            events.append(ConnectionClosed(code, last & 0x7FFFFFFF, payload[8:200].decode(errors="replace")))
        elif kind == PUSH_PROMISE:
            raise _Refused(PROTOCOL_ERROR, "push is not supported")

    def _on_settings(self, payload: bytes) -> None:
        if len(payload) % 6:
            raise _Refused(FRAME_SIZE_ERROR, "settings are 6 bytes each")
        for name, value in struct.iter_unpack("!HL", payload):
            if name == 0x4:
                if value > 0x7FFFFFFF:
                    raise _Refused(FLOW_CONTROL_ERROR, "a window that is too large")
                for state in self._streams.values():
                    state.send_window += value - self._initial_send_window
                self._initial_send_window = value
            elif name == 0x5:
                if not 16384 <= value <= 16777215:
                    raise _Refused(PROTOCOL_ERROR, "a frame size out of bounds")
                self._peer_frame_max = value
        self._out.append(frame(SETTINGS, ACK, 0))
        self._drain_all()

    def _on_window(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise _Refused(FRAME_SIZE_ERROR, "a window update is 4 bytes")
        increment = struct.unpack("!L", payload)[0] & 0x7FFFFFFF
        if stream == 0:
            self._send_window += increment
            if increment == 0 or self._send_window > 0x7FFFFFFF:
                raise _Refused(FLOW_CONTROL_ERROR, "a window update out of bounds")
            if self._blocked:
                self._drain_all()
            return
        state = self._streams.get(stream)
        if state is not None:
            state.send_window += increment
            if state.unsent is not None:
                self._drain(stream, state)

    def _drain_all(self) -> None:
        for stream in list(self._blocked):
            state = self._streams.get(stream)
            if state is None:
                self._blocked.pop(stream, None)
            else:
                self._drain(stream, state)

    def _drain(self, stream: int, state: _Stream) -> None:
        """Sends what the windows allow."""
        unsent = state.unsent
        if unsent is None:
            self._blocked.pop(stream, None)
            return
        chunks = unsent.chunks
        while chunks:
            head = chunks[0]
            size = min(len(head), state.send_window, self._send_window, self._peer_frame_max)
            if size <= 0:
                return
            if size == len(head):
                chunks.popleft()
            else:
                chunks[0] = head[size:]
            unsent.size -= size
            last = unsent.end_after and not chunks
            state.send_window -= size
            self._send_window -= size
            self._out.append(_HEAD.pack(size >> 8, size & 0xFF, DATA, END_STREAM if last else 0, stream))
            self._out.append(head[:size])
            if last:
                self._close_here(stream, state)
        self._blocked.pop(stream, None)
        state.unsent = None
        if unsent.end_after and not state.closed_here:
            self._out.append(frame(DATA, END_STREAM, stream))
            self._close_here(stream, state)
        elif unsent.end_block is not None and not state.closed_here:
            self._send_block(stream, unsent.end_block, END_STREAM)
            self._close_here(stream, state)

    def _close_here(self, stream: int, state: _Stream) -> None:
        state.closed_here = True
        if state.closed_there:
            self._streams.pop(stream, None)
        elif not self._client:
            # The answer is complete and the request is not: the rest is not wanted (RFC 9113 §8.1).
            self._streams.pop(stream, None)
            self._out.append(frame(RST_STREAM, 0, stream, struct.pack("!L", NO_ERROR)))

    def _close_there(self, stream: int, state: _Stream) -> None:
        state.closed_there = True
        if state.closed_here or self._client:
            self._streams.pop(stream, None)


def _unpadded(payload: bytes) -> bytes:
    padding = payload[0] if payload else 0
    if padding >= len(payload):
        raise _Refused(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - padding]
