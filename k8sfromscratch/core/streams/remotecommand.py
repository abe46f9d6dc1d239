"""exec and attach for a WebSocket client, carried as SPDY streams to the kubelet: the translation, sans-IO.

    client (WebSocket)                    channel   SPDY stream      kubelet
    binary message: channel byte, data       0      stdin            ◄── data
                                             1      stdout           ──► data
                                             2      stderr           ──► data
                                             3      error            ──► a metav1.Status as JSON, at the end
                                             4      resize           ◄── {"Width":80,"Height":24}
    v5 only: message [255, channel]                 half-closes that channel: FIN

So `cat file | kubectl exec -i` ends: v4 clients cannot half-close, v5's CLOSE becomes SPDY's FIN.  Sources: KEP-4006,
kubelet/pkg/cri/streaming/remotecommand.
"""

from dataclasses import dataclass, field

from k8sfromscratch.core.streams.spdy import REFUSED_STREAM, Data, GoAway, Opened, Replied, Reset, SpdyConnection
from k8sfromscratch.core.streams.websocket import Closed, WebSocketServer

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
SPDY_PROTOCOL = "v4.channel.k8s.io"
"""What is spoken to the kubelet: errors as a Status, resize, half-close."""

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_NAMES = {ERROR: "error", STDIN: "stdin", STDOUT: "stdout", STDERR: "stderr", RESIZE: "resize"}
_FROM_CLIENT = frozenset({STDIN, RESIZE})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams the client asked for.  With a terminal there is no stderr of its own."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def channels(self) -> list[int]:
        """In the order the kubelet's peers expect them to be opened."""
        asked = {ERROR: True, STDIN: self.stdin, STDOUT: self.stdout, STDERR: self.stderr and not self.tty, RESIZE: self.tty}
        return [channel for channel, wanted in asked.items() if wanted]


@dataclass(slots=True)
class Translator:
    """After every call, write `to_kubelet()` and `to_client()`.  `ready`: all streams are taken, so the client may be read.
    `done`: everything has been said; both connections can be closed."""

    wanted: Wanted
    protocol: str
    kubelet: SpdyConnection = field(default_factory=lambda: SpdyConnection(client=True))
    client: WebSocketServer = field(default_factory=WebSocketServer)
    done: bool = False
    _channel_of: dict[int, int] = field(default_factory=dict)
    _stream_of: dict[int, int] = field(default_factory=dict)
    _unreplied: set[int] = field(default_factory=set)
    _open: set[int] = field(default_factory=set)
    _said_error: bool = False

    def __post_init__(self) -> None:
        for channel in self.wanted.channels():
            stream = self.kubelet.open({"streamtype": _NAMES[channel]})
            self._channel_of[stream], self._stream_of[channel] = channel, stream
            self._unreplied.add(stream)
        self._open = {channel for channel in self._stream_of if channel not in _FROM_CLIENT}

    @property
    def ready(self) -> bool:
        return not self._unreplied

    def to_kubelet(self) -> bytes:
        return self.kubelet.take()

    def to_client(self) -> bytes:
        return self.client.take()

    def from_client(self, data: bytes) -> None:
        """A client that breaks the protocol is closed."""
        for event in self.client.receive(data):
            if isinstance(event, Closed):
                self.done = True
                return
            self._message(event.data)

    def from_kubelet(self, data: bytes) -> None:
        """Raises SpdyError."""
        for event in self.kubelet.receive(data):
            match event:
                case Replied(stream):
                    self._unreplied.discard(stream)
                    if self.ready:
                        # An empty message tells the client that the command runs.
                        self.client.send(bytes([min(self._open - {ERROR}, default=ERROR)]))
                case Data(stream, piece, fin):
                    self._said(stream, piece, fin)
                case Reset(stream):
                    self._unreplied.discard(stream)
                    self._said(stream, b"", True)
                case Opened(stream):
                    self.kubelet.reset(stream, REFUSED_STREAM)
                case GoAway():
                    pass

    def kubelet_gone(self, status: bytes) -> None:
        """The connection ended.  `status`: the Status that says so, where the kubelet had not told how the command ended."""
        if not self._said_error:
            self.client.send(bytes([ERROR]) + status)
        self._finish()

    def _said(self, stream: int, piece: bytes, fin: bool) -> None:
        channel = self._channel_of.get(stream)
        if channel is None or channel in _FROM_CLIENT:
            return
        if piece:
            self._said_error = self._said_error or channel == ERROR
            self.client.send(bytes([channel]) + piece)
        if fin:
            self._open.discard(channel)
            if not self._open and self._said_error:
                self._finish()

    def _finish(self) -> None:
        self.client.close()
        self.done = True

    def _message(self, data: bytes) -> None:
        if not data:
            return
        channel, payload = data[0], data[1:]
        if channel == CLOSE and self.protocol == PROTOCOLS[0]:
            closed = self._stream_of.get(payload[0]) if payload else None
            if closed is not None:
                self.kubelet.send(closed, b"", fin=True)
        elif channel in _FROM_CLIENT and channel in self._stream_of and payload:
            self.kubelet.send(self._stream_of[channel], payload)
