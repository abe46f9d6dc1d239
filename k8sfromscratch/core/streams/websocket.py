"""The server's end of a WebSocket (RFC 6455), sans-IO: wsproto's frames, put together to messages, with pings and closing answered.

The opening handshake is here as far as it is text: which subprotocol, and the head of the answer.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

MESSAGE_BYTES_MAX = 2**20
"""kubectl sends 32 KiB at a time; a browser may paste more."""


@dataclass(frozen=True, slots=True)
class Message:
    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer closed, or broke the protocol; the answer is in `take()`, after which nothing more is to be said."""

    code: int
    reason: str


Event = Message | Closed


def negotiate(offered: str, supported: Sequence[str]) -> str | None:
    """The first of the client's subprotocols (Sec-WebSocket-Protocol) that is ours."""
    return next((name for name in (part.strip() for part in offered.split(",")) if name in supported), None)


def accept_head(key: str, protocol: str) -> bytes:
    """The 101 for Sec-WebSocket-Key."""
    digest = base64.b64encode(hashlib.sha1(key.strip().encode() + _GUID, usedforsecurity=False).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {digest}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    ).encode("latin-1")


@dataclass(slots=True)
class WebSocketServer:
    _frames: FrameProtocol = field(default_factory=lambda: FrameProtocol(client=False, extensions=[]))
    _message: bytearray = field(default_factory=bytearray)
    _out: list[bytes] = field(default_factory=list)
    closed: bool = False

    def send(self, data: bytes) -> None:
        """One binary message; nothing once it is closed."""
        if not self.closed:
            self._out.append(bytes(self._frames.send_data(data)))

    def close(self, code: int = CloseReason.NORMAL_CLOSURE, reason: str = "") -> None:
        if not self.closed:
            self._out.append(bytes(self._frames.close(code, reason)))
            self.closed = True

    def take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def receive(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self.closed:
            return events
        self._frames.receive_bytes(data)
        try:
            for frame in self._frames.received_frames():
                if frame.opcode is Opcode.PING:
                    assert isinstance(frame.payload, bytes | bytearray)
                    self._out.append(bytes(self._frames.pong(bytes(frame.payload))))
                elif frame.opcode is Opcode.CLOSE:
                    assert isinstance(frame.payload, tuple)
                    return [*events, self._closed(*frame.payload)]
                elif not frame.opcode.iscontrol():
                    self._message += frame.payload.encode() if isinstance(frame.payload, str) else frame.payload  # type: ignore[arg-type]
                    if len(self._message) > MESSAGE_BYTES_MAX:
                        return [*events, self._closed(CloseReason.MESSAGE_TOO_BIG, f"more than {MESSAGE_BYTES_MAX} bytes in a message")]
                    if frame.message_finished:
                        events.append(Message(bytes(self._message)))
                        self._message.clear()
        except ParseFailed as error:
            events.append(self._closed(error.code, str(error)))
        return events

    def _closed(self, code: int, reason: str | None) -> Closed:
        self.close(CloseReason.NORMAL_CLOSURE if code == CloseReason.NO_STATUS_RCVD else code, reason or "")
        return Closed(int(code), reason or "")
