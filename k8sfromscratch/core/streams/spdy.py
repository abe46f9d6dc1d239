"""SPDY/3.1, sans-IO: bytes in, events out; what is to be sent collects in `take()`.

Kubernetes multiplexes exec, attach and port-forward over it (draft-mbelshe-httpbis-spdy-00, as spdystream speaks it):

    SYN_STREAM  a new stream, with headers     ─►       data frames carry a stream's bytes, both ways
    SYN_REPLY   taken                          ◄─       FIN on a frame half-closes the stream, RST_STREAM ends it at once
    PING        answered by itself             ◄►       GOAWAY: the peer opens no more

Headers are compressed with one zlib stream a direction, primed with a dictionary.  There is no flow control beyond the connection's: spdystream
sends no WINDOW_UPDATE and heeds none, nor do we.  A peer's data for a stream it has not replied to yet is dropped by spdystream, so wait for
`Replied` before sending.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
_VERSION = 3
_FIN = 0x01

PROTOCOL_ERROR, REFUSED_STREAM = 1, 3

HEADERS_BYTES_MAX = 64 * 1024
"""Of one control frame, compressed and not: Kubernetes' headers are a few words."""
DATA_BYTES_MAX = 2**24 - 1

_DICTIONARY_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization cache-control "
    "connection content-base content-encoding content-language content-length content-location content-md5 content-range content-type date etag expect "
    "expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning "
    "www-authenticate method get status"
)
_DICTIONARY_WORDS = [*_DICTIONARY_NAMES.split(), "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]
_DICTIONARY_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information204 No Content"
    "301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in _DICTIONARY_WORDS) + _DICTIONARY_TAIL.encode()
"""§2.6.10.1; its Adler-32, which both sides compare, is e3c6a7c2."""


class SpdyError(Exception):
    """The peer broke the protocol; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream.  Answer with `reply` or `reset`."""

    stream: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class Replied:
    """The peer took a stream of ours."""

    stream: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a stream, as it arrived; `fin` with the last one, which may be empty."""

    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class Reset:
    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class GoAway:
    status: int


Event = Opened | Replied | Data | Reset | GoAway


@dataclass(slots=True)
class SpdyConnection:
    """One end.  A client's streams have odd numbers, a server's even ones."""

    client: bool
    _next: int = field(init=False)
    _received: bytearray = field(default_factory=bytearray)
    _out: list[bytes] = field(default_factory=list)
    _left: int = 0
    """Bytes of the present data frame that are yet to come."""
    _stream: int = 0
    _fin: bool = False
    _deflate: "zlib._Compress" = field(init=False)
    _inflate: "zlib._Decompress" = field(init=False)

    def __post_init__(self) -> None:
        self._next = 1 if self.client else 2
        self._deflate = zlib.compressobj(zlib.Z_BEST_SPEED, zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    # -- to the peer

    def open(self, headers: Mapping[str, str]) -> int:
        """The new stream's number.  Names go in lower case."""
        stream, self._next = self._next, self._next + 2
        self._control(_SYN_STREAM, 0, struct.pack(">IIBB", stream, 0, 0, 0) + self._packed(headers))
        return stream

    def reply(self, stream: int, headers: Mapping[str, str] | None = None) -> None:
        self._control(_SYN_REPLY, 0, struct.pack(">I", stream) + self._packed(headers or {}))

    def send(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        first, rest = data[:DATA_BYTES_MAX], data[DATA_BYTES_MAX:]
        while rest:
            self._out.append(struct.pack(">II", stream, len(first)) + first)
            first, rest = rest[:DATA_BYTES_MAX], rest[DATA_BYTES_MAX:]
        self._out.append(struct.pack(">II", stream, (_FIN << 24 if fin else 0) | len(first)) + first)

    def reset(self, stream: int, status: int) -> None:
        self._control(_RST_STREAM, 0, struct.pack(">II", stream, status))

    def go_away(self) -> None:
        self._control(_GOAWAY, 0, struct.pack(">II", 0, 0))

    def take(self) -> bytes:
        """What is to be written to the peer now."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    # -- from the peer

    def receive(self, data: bytes) -> list[Event]:
        """Raises SpdyError."""
        self._received += data
        events: list[Event] = []
        while self._step(events):
            pass
        return events

    def _step(self, events: list[Event]) -> bool:
        """One frame, or one piece of a data frame; False where more bytes are needed."""
        if self._left:
            if not self._received:
                return False
            piece = bytes(self._received[: self._left])
            del self._received[: len(piece)]
            self._left -= len(piece)
            events.append(Data(self._stream, piece, self._fin and not self._left))
            return True
        if len(self._received) < 8:
            return False
        first, second = struct.unpack_from(">II", self._received)
        flags, length = second >> 24, second & 0xFFFFFF
        if not first >> 31:
            del self._received[:8]
            self._stream, self._fin, self._left = first, bool(flags & _FIN), length
            if not length:
                events.append(Data(self._stream, b"", self._fin))
            return True
        if (first >> 16) & 0x7FFF != _VERSION:
            raise SpdyError(f"a frame of SPDY version {(first >> 16) & 0x7FFF}, expected {_VERSION}")
        if length > HEADERS_BYTES_MAX:
            raise SpdyError(f"a control frame of {length} bytes, at most {HEADERS_BYTES_MAX} are taken")
        if len(self._received) < 8 + length:
            return False
        payload = bytes(self._received[8 : 8 + length])
        del self._received[: 8 + length]
        try:
            self._frame(first & 0xFFFF, flags, payload, events)
        except struct.error as error:
            raise SpdyError(f"a control frame of type {first & 0xFFFF} is too short") from error
        return True

    def _frame(self, kind: int, flags: int, payload: bytes, events: list[Event]) -> None:
        if kind == _SYN_STREAM:
            (stream,) = struct.unpack_from(">I", payload)
            events.append(Opened(stream & 0x7FFFFFFF, self._unpacked(payload[10:]), bool(flags & _FIN)))
        elif kind == _SYN_REPLY:
            (stream,) = struct.unpack_from(">I", payload)
            events.append(Replied(stream & 0x7FFFFFFF, self._unpacked(payload[4:])))
            if flags & _FIN:
                events.append(Data(stream & 0x7FFFFFFF, b"", True))
        elif kind == _HEADERS:
            (stream,) = struct.unpack_from(">I", payload)
            # Nobody sends these; but they are part of the compressed stream and must be read.
            self._unpacked(payload[4:])
            if flags & _FIN:
                events.append(Data(stream & 0x7FFFFFFF, b"", True))
        elif kind == _RST_STREAM:
            stream, status = struct.unpack_from(">II", payload)
            events.append(Reset(stream & 0x7FFFFFFF, status))
        elif kind == _GOAWAY:
            _, status = struct.unpack_from(">II", payload)
            events.append(GoAway(status))
        elif kind == _PING:
            (number,) = struct.unpack_from(">I", payload)
            # A ping of the peer's has its parity; one of ours that comes back is an answer.
            if bool(number & 1) != self.client:
                self._control(_PING, 0, struct.pack(">I", number))
        elif kind not in (_SETTINGS, _WINDOW_UPDATE):
            raise SpdyError(f"a control frame of unknown type {kind}")

    # -- frames and headers

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        self._out.append(struct.pack(">HHI", 0x8000 | _VERSION, kind, flags << 24 | len(payload)) + payload)

    def _packed(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower(), value):
                encoded = text.encode()
                parts += [struct.pack(">I", len(encoded)), encoded]
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def _unpacked(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, HEADERS_BYTES_MAX)
        except zlib.error as error:
            raise SpdyError(f"headers cannot be decompressed: {error}") from error
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"headers of more than {HEADERS_BYTES_MAX} bytes")
        (count,), at = struct.unpack_from(">I", plain), 4
        headers: dict[str, str] = {}
        for _ in range(count):
            words = []
            for _ in range(2):
                (length,) = struct.unpack_from(">I", plain, at)
                if at + 4 + length > len(plain):
                    raise SpdyError("a header is longer than its frame")
                words.append(plain[at + 4 : at + 4 + length].decode("latin-1"))
                at += 4 + length
            # Several values of one name are separated by NUL.
            headers[words[0]] = words[1].replace("\0", ", ")
        return headers
