"""The kubelet's tunnel between a client and the runtime's streaming server, over real sockets."""

import asyncio

from k8sfromscratch.components.kubelet.streaming import tunnel
from k8sfromscratch.process.http import Request, Response, Upgrade
from k8sfromscratch.process.server import serve

HEAD = (
    b"POST /exec/default/web/app?command=cat HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: channel.k8s.io\r\nAuthorization: Bearer secret\r\nContent-Length: 0\r\n\r\n"
)


async def _through(runtime_says, story) -> None:
    runtime = await asyncio.start_server(runtime_says, "127.0.0.1", 0)
    port = runtime.sockets[0].getsockname()[1]

    async def handle(request: Request) -> Response | Upgrade:
        return tunnel(request, f"http://127.0.0.1:{port}/exec/TOKEN")

    server = await serve(handle, host="127.0.0.1", port=0)
    try:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await story(reader, writer)
            writer.close()
            await writer.wait_closed()
    finally:
        runtime.close()
        await runtime.wait_closed()
        await server.close(grace_s=0)


def test_the_head_is_passed_on_and_bytes_flow_both_ways_with_half_close():
    heads: list[bytes] = []

    async def runtime_says(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\n")
        sent = await reader.read()
        writer.write(sent[::-1])
        writer.close()

    async def story(reader, writer):
        writer.write(HEAD)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(b"bytes")
        writer.write_eof()
        assert await reader.read() == b"bytes"[::-1]

    asyncio.run(_through(runtime_says, story))
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "POST /exec/TOKEN HTTP/1.1"
    assert [line for line in lines if line.startswith("x-stream")] == [
        "x-stream-protocol-version: v4.channel.k8s.io",
        "x-stream-protocol-version: channel.k8s.io",
    ]
    assert not any("secret" in line for line in lines)
    assert "upgrade: SPDY/3.1" in lines


def test_a_runtime_that_refuses_is_heard():
    async def runtime_says(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def story(reader, writer):
        writer.write(HEAD)
        assert (await reader.read()).startswith(b"HTTP/1.1 404 Not Found")

    asyncio.run(_through(runtime_says, story))


def test_a_client_that_leaves_ends_the_other_side():
    left = asyncio.Event()

    async def runtime_says(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        assert await reader.read() == b""
        left.set()
        writer.close()

    async def story(reader, writer):
        writer.write(HEAD)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await left.wait()

    asyncio.run(_through(runtime_says, story))


def test_no_streaming_server_is_a_bad_gateway():
    async def main() -> bytes:
        async def handle(request: Request) -> Response | Upgrade:
            return tunnel(request, "http://127.0.0.1:1/exec/TOKEN")

        server = await serve(handle, host="127.0.0.1", port=0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEAD)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        await server.close(grace_s=0)
        return answer

    assert asyncio.run(main()).startswith(b"HTTP/1.1 502 Bad Gateway")
