"""One client's connection: gRPC over HTTP/2, or a plain HTTP/1 GET of /health, /version and /metrics on the same port.

data_received ─► core.rpc.grpc ─► events ─► the method's function ─► Call.reply, now or when the write is durable ─► one write a loop turn
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from k8sfromscratch.core.rpc import grpc, http2
from k8sfromscratch.core.rpc.headers import Headers

log = logging.getLogger(__name__)

HEAD_MAX_BYTES = 16 * 1024
WRITE_HIGH_BYTES = 64 * 1024 * 1024
"""What may wait for a client that does not read before its connection is cut."""
STREAM_PENDING_MAX_BYTES = 256 * 1024 * 1024
"""What may wait for the window of one stream before it is reset: a watch that nobody reads; room for a long history told at once."""
MESSAGE_MAX_BYTES = 2 * 1024 * 1024
"""A longer request is not read to its end: etcd's --max-request-bytes and its half MiB for what is around it."""


class Call:
    """One call under way; to be answered once."""

    __slots__ = ("_connection", "metadata", "stream")

    def __init__(self, connection: "ClientConnection", stream: int, metadata: Headers = ()) -> None:
        self._connection, self.stream, self.metadata = connection, stream, metadata

    @property
    def common_name(self) -> str:
        """Of the client's certificate; "" where there is none."""
        return self._connection.common_name()

    @property
    def unsent_bytes(self) -> int:
        """What waits for the client to read this stream."""
        return self._connection.rpc.http.pending_bytes(self.stream)

    def reply(self, message: bytes) -> None:
        self._connection.rpc.reply(self.stream, message)
        self._connection.flush_soon()

    def send(self, message: bytes) -> None:
        self._connection.send(self.stream, message)

    def start(self) -> None:
        self._connection.rpc.start(self.stream)
        self._connection.flush_soon()

    def finish(self, code: int = grpc.OK, text: str = "") -> None:
        self._connection.forget(self.stream)
        self._connection.rpc.finish(self.stream, code, text)
        self._connection.flush_soon()


class Stream(Protocol):
    """A streaming call's server side."""

    def message(self, data: bytes) -> None: ...

    def half_closed(self) -> None: ...

    def closed(self) -> None:
        """The client cancelled, or went away."""
        ...


Unary = Callable[[bytes, Call], None]
OpenStream = Callable[[Call], Stream]
Page = Callable[[str, Callable[[int, str, bytes], None]], None]
"""HTTP/1: (path with its query, answer); `answer(status, content type, body)` is called once, now or later."""


class ClientConnection(asyncio.Protocol):
    def __init__(
        self,
        unary: Mapping[str, Unary],
        streams: Mapping[str, OpenStream],
        page: Page,
        connections: "set[ClientConnection]",
        message_max_bytes: int = MESSAGE_MAX_BYTES,
    ) -> None:
        self.rpc = grpc.GrpcServer(message_max_bytes, unary)
        self._unary, self._open_stream, self._page, self._connections = unary, streams, page, connections
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._speaks: str = ""
        self._head = b""
        self._flushing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        for stream in list(self._streams.values()):
            stream.closed()
        self._streams.clear()

    def data_received(self, data: bytes) -> None:
        if self._speaks == "http/1":
            return  # it has asked, and is answered once
        if self._speaks != "h2":
            self._head += data
            if not self._recognise():
                return
            data, self._head = self._head, b""
        for event in self.rpc.receive(data):
            if isinstance(event, grpc.Request):  # nearly all of them, so it is asked first
                self._unary[event.head.method](event.message, Call(self, event.stream, event.head.metadata))
                continue
            match event:
                case grpc.Message(stream, message):
                    if stream in self._streams:
                        self._streams[stream].message(message)
                case grpc.Called():
                    self._on_call(event)
                case grpc.HalfClosed(stream):
                    if stream in self._streams:
                        self._streams[stream].half_closed()
                case grpc.Cancelled(stream):
                    cancelled = self._streams.pop(stream, None)
                    if cancelled is not None:
                        cancelled.closed()
                case grpc.Disconnected(_, fatal, reason):
                    if fatal:
                        log.debug("a client's connection is given up: %s", reason)
                        self._flush()
                        self._close()
                        return
        self._flush()

    def common_name(self) -> str:
        tls = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        certificate = tls.getpeercert() if tls is not None else None
        subject = certificate.get("subject", ()) if certificate else ()
        return next((value for names in subject for key, value in names if key == "commonName"), "")

    def forget(self, stream: int) -> None:
        self._streams.pop(stream, None)

    def send(self, number: int, message: bytes) -> None:
        self.rpc.send(number, message)
        self.flush_soon()
        if self.rpc.http.pending_bytes(number) > STREAM_PENDING_MAX_BYTES:
            log.warning("a client does not read a stream that it asked for; the stream is reset")
            self.rpc.reset(number, http2.ENHANCE_YOUR_CALM)
            stream = self._streams.pop(number, None)
            if stream is not None:
                stream.closed()

    def flush_soon(self) -> None:
        """Everything that is answered in one turn of the loop leaves in one write."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def go_away(self) -> None:
        """The server is going down: streams end, and the client looks elsewhere."""
        self.rpc.http.go_away()
        for number in list(self._streams):
            self.rpc.finish(number, grpc.UNAVAILABLE, "etcdserver: server stopped")
        self._flush()
        self._close()

    def _on_call(self, called: grpc.Called) -> None:
        opener = self._open_stream.get(called.method)
        if opener is not None:
            self._streams[called.stream] = opener(Call(self, called.stream, called.metadata))
            return
        self.rpc.finish(called.stream, grpc.UNIMPLEMENTED, f"etcdserver: {called.method} is not supported by this server")

    def _flush(self) -> None:
        self._flushing = False
        data = self.rpc.http.take_output() if self._speaks == "h2" else b""
        if data and self._transport is not None:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > WRITE_HIGH_BYTES:
                log.warning("a client does not read what it asked for; its connection is cut")
                self._transport.abort()

    def _recognise(self) -> bool:
        """Whether it is HTTP/2; a complete HTTP/1 request is answered and the connection closed."""
        if http2.PREFACE.startswith(self._head[: len(http2.PREFACE)]):
            self._speaks = "h2" if len(self._head) >= len(http2.PREFACE) else ""
            return self._speaks == "h2"
        if b"\r\n\r\n" not in self._head:
            if len(self._head) > HEAD_MAX_BYTES:
                self._close()
            return False
        words, self._head, self._speaks = self._head.split(b"\r\n", 1)[0].split(b" "), b"", "http/1"
        if len(words) == 3 and words[0] in (b"GET", b"HEAD"):
            self._page(words[1].decode("latin-1"), lambda *answer: self._answer(*answer, head=words[0] == b"HEAD"))
        else:
            self._answer(405, "text/plain", b"only GET is served here in HTTP/1\n")
        return False

    def _answer(self, status: int, content_type: str, body: bytes, *, head: bool = False) -> None:
        phrase = "OK" if status == 200 else "Error"
        start = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        if self._transport is not None:
            self._transport.write(start.encode() + (b"" if head else body))
        self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
