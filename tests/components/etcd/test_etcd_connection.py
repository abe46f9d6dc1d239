"""A client's connection without a network: what a client that does not read, or sends too much, gets."""

import asyncio

import pytest

from k8sfromscratch.components.etcd import connection as connection_module
from k8sfromscratch.components.etcd.connection import Call, ClientConnection
from k8sfromscratch.core.rpc import grpc, http2


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.open = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.open = False

    def take(self) -> bytes:
        data, self.written = self.written, b""
        return data


class Flood:
    """A streaming method that answers each message with a hundred."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.ended = False

    def message(self, data: bytes) -> None:
        for _ in range(100):
            self._call.send(b"x" * 1000)

    def half_closed(self) -> None:
        self._call.finish()

    def closed(self) -> None:
        self.ended = True


class Pair:
    """A gRPC client and a connection of ours, joined by hand."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.floods: list[Flood] = []
        self.connection = ClientConnection({"/s/Echo": lambda data, call: call.reply(data)}, {"/s/Flood": self._flood}, lambda path: (404, "", b""), set())
        self.connection.connection_made(self.wire)
        self.client = grpc.GrpcClient("test", secure=False)

    def _flood(self, call: Call) -> Flood:
        self.floods.append(Flood(call))
        return self.floods[-1]

    async def exchange(self) -> list[grpc.ClientEvent]:
        events: list[grpc.ClientEvent] = []
        while True:
            await asyncio.sleep(0)
            up, down = self.client.http.take_output(), self.wire.take()
            if not up and not down:
                return events
            if up:
                self.connection.data_received(up)
            events += self.client.receive(down)


def test_a_stream_that_nobody_reads_is_reset_and_the_connection_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(http2, "WINDOW_BYTES", 70_000)
    monkeypatch.setattr(connection_module, "STREAM_PENDING_MAX_BYTES", 200_000)

    async def main() -> None:
        pair = Pair()
        monkeypatch.setattr(pair.client.http, "_on_data", lambda *args: None)  # it takes nothing, and gives no window back
        stream = pair.client.call("/s/Flood")
        await pair.exchange()
        for _ in range(2):
            pair.client.send(stream, b"more")
            assert await pair.exchange() == [] and not pair.floods[0].ended
        pair.client.send(stream, b"more")
        (finished,) = await pair.exchange()
        assert isinstance(finished, grpc.Finished) and pair.floods[0].ended
        assert pair.wire.open
        assert "does not read a stream" in caplog.text
        again = pair.client.call("/s/Nothing")
        assert [e.code for e in await pair.exchange() if isinstance(e, grpc.Finished)] == [grpc.UNIMPLEMENTED], again

    asyncio.run(main())


def test_a_request_that_is_too_long_is_refused_before_it_is_read() -> None:
    async def main() -> None:
        pair = Pair()
        stream = pair.client.call("/s/Echo")
        pair.client.http.send_data(stream, b"\0" + (3 * 1024 * 1024).to_bytes(4, "big"))
        (finished,) = await pair.exchange()
        assert finished == grpc.Finished(stream, grpc.RESOURCE_EXHAUSTED, "grpc: received message larger than max (3145728 vs. 2097152)")

    asyncio.run(main())
