"""A WebSocket client of exec and a kubelet that do not keep pace with each other: nothing is lost, nothing waits for what cannot come.

The kubelet's end is our SPDY connection behind a plain socket; the client's is wsproto's.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from wsproto.frame_protocol import FrameProtocol, Opcode

from k8sfromscratch.components.apiserver.streaming_kubelet import Endpoint
from k8sfromscratch.components.apiserver.streaming_tunnel import command
from k8sfromscratch.core.streams.remotecommand import ERROR, STDIN, STDOUT, Wanted
from k8sfromscratch.core.streams.spdy import Data, Opened, SpdyConnection
from k8sfromscratch.process.http import Request, Response, Upgrade
from k8sfromscratch.process.server import serve

OUTPUT = bytes(range(256)) * 32 * 1024
"""8 MiB: more than all buffers on the way."""
STATUS = b'{"status":"Success"}'


class Runtime:
    """The kubelet's side of one connection, its streams taken."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.spdy = reader, writer, SpdyConnection(client=False)
        self.streams: dict[str, int] = {}

    async def start(self, expected: int) -> None:
        await self.reader.readuntil(b"\r\n\r\n")
        self.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
        while len(self.streams) < expected:
            for event in self.spdy.receive(await self.reader.read(4096)):
                assert isinstance(event, Opened)
                self.streams[event.headers["streamtype"]] = event.stream
                self.spdy.reply(event.stream)
        await self.flush()

    async def say(self, stream: str, data: bytes, *, fin: bool = False) -> None:
        for at in range(0, max(len(data), 1), 32768):
            self.spdy.send(self.streams[stream], data[at : at + 32768], fin=fin and at + 32768 >= len(data))
            await self.flush()

    async def flush(self) -> None:
        self.writer.write(self.spdy.take())
        await self.writer.drain()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.frames = reader, writer, FrameProtocol(client=True, extensions=[])
        self.heard: dict[int, bytearray] = {STDOUT: bytearray(), ERROR: bytearray()}

    async def until_closed(self) -> None:
        message = bytearray()
        while True:
            data = await self.reader.read(65536)
            assert data, "the connection ended without a closing handshake"
            self.frames.receive_bytes(data)
            for frame in self.frames.received_frames():
                if frame.opcode is Opcode.CLOSE:
                    return
                if not frame.opcode.iscontrol():
                    assert isinstance(frame.payload, bytes | bytearray)
                    message += frame.payload
                    if frame.message_finished:
                        self.heard[message[0]] += message[1:]
                        message.clear()


@asynccontextmanager
async def connected(kubelet: Callable[[Runtime], Awaitable[None]]) -> AsyncIterator[Client]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        runtime = Runtime(reader, writer)
        try:
            await runtime.start(3)
            await kubelet(runtime)
            while await reader.read(65536):  # as the kubelet's server does: what is unread would reset the connection
                pass
        finally:
            writer.close()

    backend = await asyncio.start_server(accept, "127.0.0.1", 0)
    endpoint = Endpoint("127.0.0.1", backend.sockets[0].getsockname()[1], None)

    async def handle(request: Request) -> Response | Upgrade:
        return command(request, endpoint, "/exec/x", Wanted(stdin=True, stdout=True, stderr=False, tty=False), "v5.channel.k8s.io")

    server = await serve(handle, host="127.0.0.1", port=0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        yield Client(reader, writer)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        await server.close(grace_s=0)
        backend.close()
        await backend.wait_closed()


def test_output_passes_a_command_that_does_not_read_its_input() -> None:
    flooded = asyncio.Event()

    async def kubelet(runtime: Runtime) -> None:
        await flooded.wait()
        await runtime.say("stdout", OUTPUT, fin=True)
        await runtime.say("error", STATUS, fin=True)

    async def story() -> None:
        async with asyncio.timeout(30), connected(kubelet) as client:

            async def flood() -> None:
                """Writes until nothing more is taken."""
                while True:
                    client.writer.write(bytes(client.frames.send_data(bytes([STDIN]) + bytes(32768))))
                    try:
                        async with asyncio.timeout(0.5):
                            await client.writer.drain()
                    except TimeoutError:
                        flooded.set()
                        return

            await asyncio.gather(flood(), client.until_closed())
            assert client.heard[STDOUT] == OUTPUT and client.heard[ERROR] == STATUS

    asyncio.run(story())


def test_a_client_that_reads_late_and_talks_on_loses_nothing() -> None:
    """What it sends behind our back must not reset the connection under what it has not read yet."""
    said = asyncio.Event()

    async def kubelet(runtime: Runtime) -> None:
        await runtime.say("stdout", OUTPUT[: 2**16], fin=True)
        await runtime.say("error", STATUS, fin=True)
        said.set()

    async def story() -> None:
        async with asyncio.timeout(30), connected(kubelet) as client:
            await said.wait()
            for _ in range(20):
                client.writer.write(bytes(client.frames.ping(b"still here")))
                await client.writer.drain()
                await asyncio.sleep(0)
            await client.until_closed()
            assert client.heard[STDOUT] == OUTPUT[: 2**16] and client.heard[ERROR] == STATUS

    asyncio.run(story())


def test_input_is_half_closed() -> None:
    got = bytearray()

    async def kubelet(runtime: Runtime) -> None:
        ended = False
        while not ended:
            for event in runtime.spdy.receive(await runtime.reader.read(65536)):
                assert isinstance(event, Data) and event.stream == runtime.streams["stdin"]
                got.extend(event.data)
                ended = event.fin
        await runtime.say("stdout", bytes(got[::-1]), fin=True)
        await runtime.say("error", STATUS, fin=True)

    async def story() -> None:
        async with asyncio.timeout(30), connected(kubelet) as client:
            client.writer.write(bytes(client.frames.send_data(bytes([STDIN]) + b"abc")) + bytes(client.frames.send_data(bytes([255, STDIN]))))
            await client.until_closed()
            assert (client.heard[STDOUT], client.heard[ERROR]) == (b"cba", STATUS)

    asyncio.run(story())


def test_a_kubelet_that_breaks_off_is_told_as_the_commands_end() -> None:
    async def kubelet(runtime: Runtime) -> None:
        await runtime.say("stdout", b"half")
        runtime.writer.close()

    async def story() -> None:
        async with asyncio.timeout(30), connected(kubelet) as client:
            await client.until_closed()
            assert client.heard[STDOUT] == b"half"
            assert b"the kubelet closed the connection before the command had ended" in client.heard[ERROR]

    asyncio.run(story())
