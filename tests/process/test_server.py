"""The server to raw sockets and to aiohttp's client: bodies, streams, upgrades, TLS."""

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
import uvloop

from k8sfromscratch.api.errors import NotFound
from k8sfromscratch.client import HttpsTransport, TransportError
from k8sfromscratch.process import http_connection as connection_module
from k8sfromscratch.process import pki
from k8sfromscratch.process import server as server_module
from k8sfromscratch.process.http import Connection, Request, Response, Upgrade
from k8sfromscratch.process.http_head import response_head
from k8sfromscratch.process.server import Server, serve
from k8sfromscratch.process.tls import TlsError, TlsFiles, client_context


class Site:
    """A handler with one path a behaviour."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.release = asyncio.Event()
        self.seen: list[Request] = []

    async def handle(self, request: Request) -> Response | Upgrade:
        self.seen.append(request)
        match request.path:
            case "/echo":
                return Response(200, request.body, "text/plain", {"X-Method": request.method})
            case "/stream":
                return Response(200, self._chunks())
            case "/breaks":
                return Response(200, self._breaks())
            case "/endless":
                return Response(200, self._endless())
            case "/upgrade":
                return Upgrade(self._echo)
            case "/missing":
                raise NotFound("nothing here")
            case "/broken":
                raise RuntimeError("secret detail")
        return Response(404, b"")

    async def _chunks(self) -> AsyncIterator[bytes]:
        try:
            yield b"first\n"
            await self.release.wait()
            yield b"second\n"
        finally:
            self.closed.set()

    async def _breaks(self) -> AsyncIterator[bytes]:
        yield b"first\n"
        raise RuntimeError("planted")

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            self.closed.set()

    async def _echo(self, connection: Connection) -> None:
        connection.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
        while data := await connection.reader.read(1000):
            connection.writer.write(b"<" + data + b">")
        connection.writer.write(b"end")
        await connection.writer.drain()


Story = Callable[[Site, Server], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture(params=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Play:
    """Components run on uvloop, tests and embedders on asyncio's own loop: transports differ, what we promise does not."""

    def run(story: Story, **options: object) -> None:
        async def main() -> None:
            site = Site()
            server = await serve(site.handle, host="127.0.0.1", port=0, **options)  # type: ignore[arg-type]
            try:
                async with asyncio.timeout(100):
                    await story(site, server)
            finally:
                await server.close(0.1)

        with asyncio.Runner(loop_factory=asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop) as runner:
            runner.run(main())

    return run


async def exchange(port: int, sent: bytes) -> bytes:
    """All that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    received = await reader.read()
    writer.close()
    return received


def test_requests_and_answers(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        transport = HttpsTransport(f"http://127.0.0.1:{server.port}")
        reply = await transport.request("PUT", "/echo", query=[("a", "1"), ("a", "2"), ("b", "x=y&z")], headers={"X-Thing": "v"}, body=b"\x00body")
        assert (reply.status, reply.body, reply.headers["x-method"]) == (200, b"\x00body", "PUT")
        request = site.seen[0]
        assert request.query == {"a": ["1", "2"], "b": ["x=y&z"]} and request.arg("a") == "2"
        assert request.headers["x-thing"] == "v" and request.remote == "127.0.0.1" and request.peer_certificate is None
        await transport.close()

    play(story)


def test_errors_become_a_status_and_tell_nothing_of_our_insides(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        transport = HttpsTransport(f"http://127.0.0.1:{server.port}")
        missing = await transport.request("GET", "/missing")
        assert missing.status == 404 and orjson.loads(missing.body)["reason"] == "NotFound"
        broken = await transport.request("GET", "/broken")
        assert broken.status == 500 and orjson.loads(broken.body)["kind"] == "Status" and b"secret" not in broken.body
        await transport.close()

    play(story)


def test_a_body_that_is_too_large_is_refused(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        transport = HttpsTransport(f"http://127.0.0.1:{server.port}")
        reply = await transport.request("POST", "/echo", body=b"x" * 2000)
        assert reply.status == 413 and orjson.loads(reply.body)["reason"] == "RequestEntityTooLarge"
        assert orjson.loads(reply.body)["message"].startswith("Request entity too large: limit is "), "what people look for"
        await transport.close()

    play(story, body_max_bytes=1000)


def test_a_stream_comes_chunk_by_chunk_and_ends_with_its_reader(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        transport = HttpsTransport(f"http://127.0.0.1:{server.port}")
        async with transport.stream("GET", "/stream") as reply:
            assert await anext(reply.chunks) == b"first\n"
            site.release.set()
            assert await anext(reply.chunks) == b"second\n"
        site.closed.clear()
        site.release.clear()
        async with transport.stream("GET", "/stream") as reply:
            assert await anext(reply.chunks) == b"first\n"
        await site.closed.wait()
        await transport.close()

    play(story)


def test_a_stream_that_breaks_is_an_error_to_its_reader() -> None:
    async def main() -> None:
        site = Site()
        server = await serve(site.handle, host="127.0.0.1", port=0)
        transport = HttpsTransport(f"http://127.0.0.1:{server.port}")
        async with transport.stream("GET", "/stream") as reply:
            await anext(reply.chunks)
            await server.close(0)
            with pytest.raises(TransportError):
                await anext(reply.chunks)
        with pytest.raises(TransportError):
            await transport.request("GET", "/echo")
        await transport.close()

    asyncio.run(main())


async def upgraded(
    port: int, context: ssl.SSLContext | None = None, *, request: bytes = b"POST", to: bytes = b"SPDY/3.1", rest: bytes = b"Content-Length: 0\r\n\r\n"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(request + b" /upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + to + b"\r\n" + rest)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    return reader, writer


def test_an_upgrade_is_a_raw_stream_with_half_close(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        reader, writer = await upgraded(server.port)
        writer.write(b"abc")
        assert await reader.readexactly(5) == b"<abc>"
        writer.write_eof()
        assert await reader.read() == b"end"
        writer.close()
        assert server.connections == 0, "the connection is forgotten"

    play(story)


@pytest.mark.parametrize(
    ("request_line", "to", "rest", "echoed"),
    [
        (b"GET", b"SPDY/3.1", b"\r\n", b""),
        (b"POST", b"SPDY/3.1", b"Content-Length: 4\r\n\r\nbody", b"<body>"),
        (b"GET", b"websocket", b"Sec-WebSocket-Version: 13\r\n\r\nearly", b"<early>"),
    ],
)
def test_an_upgrade_loses_none_of_the_bytes_behind_its_head(play: Play, request_line: bytes, to: bytes, rest: bytes, echoed: bytes) -> None:
    async def story(site: Site, server: Server) -> None:
        reader, writer = await upgraded(server.port, request=request_line, to=to, rest=rest)
        assert await reader.readexactly(len(echoed)) == echoed
        writer.write(b"late")
        assert await reader.readexactly(6) == b"<late>"
        writer.close()

    play(story)


def test_a_stream_that_fails_half_way_does_not_look_complete(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def story(site: Site, server: Server) -> None:
        transport = HttpsTransport(f"http://127.0.0.1:{server.port}")
        async with transport.stream("GET", "/breaks") as reply:
            assert await anext(reply.chunks) == b"first\n"
            with pytest.raises(TransportError):
                await anext(reply.chunks)
        await transport.close()

    with caplog.at_level(logging.ERROR):
        play(story)
    assert "planted" in caplog.text


def test_a_reader_that_takes_nothing_is_cut_off(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "UNTAKEN_S", 0.2)

    async def story(site: Site, server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1000)
        writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await site.closed.wait()
        with pytest.raises(ConnectionError):
            while await reader.read(1 << 20):
                pass
        writer.close()

    play(story)


def test_a_body_that_does_not_come_is_not_waited_for(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "BODY_READ_S", 0.05)

    async def story(site: Site, server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        assert (await reader.readline()).startswith(b"HTTP/1.1 504")
        assert site.seen == []
        writer.close()

    play(story)


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(4) == b"body"
        writer.close()

    play(story)


def test_paths_are_decoded_and_headers_joined(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        sent = b"GET /a%20b/c?x=1%2C2&y=&x=%26+ HTTP/1.1\r\nHost: h\r\nX-Proto: v4\r\nx-proto: v5\r\nConnection: close\r\n\r\n"
        assert (await exchange(server.port, sent)).startswith(b"HTTP/1.1 404")
        request = site.seen[0]
        assert (request.path, request.raw_path) == ("/a b/c", "/a%20b/c?x=1%2C2&y=&x=%26+")
        assert request.query == {"x": ["1,2", "& "], "y": [""]}
        assert request.headers["x-proto"] == "v4, v5"

    play(story)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["no-http", "bad-chunk", "header-too-long"],
)
def test_what_is_not_http_is_a_bad_request(play: Play, sent: bytes) -> None:
    async def story(site: Site, server: Server) -> None:
        assert (await exchange(server.port, sent)).startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
        assert site.seen == []

    play(story)


def test_a_renewed_certificate_is_shown_to_new_connections(
    play: Play, certificates: Callable[[str], TlsFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "RELOAD_EVERY_S", 0.01)
    served = certificates("server")

    async def shown(port: int) -> bytes | None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context(ca_file=str(tmp_path / "ca.crt")))
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return bytes(certificate)

    def replace(cert: bytes, key: bytes) -> None:
        for path, content in ((served.key_file, key), (served.cert_file, cert)):
            Path(path + ".new").write_bytes(content)
            os.replace(path + ".new", path)

    async def story(site: Site, server: Server) -> None:
        first = await shown(server.port)
        other = certificates("other")
        replace(Path(other.cert_file).read_bytes(), b"nonsense")
        while "keeping the certificate" not in caplog.text:
            await asyncio.sleep(0.01)
        assert await shown(server.port) == first
        replace(Path(other.cert_file).read_bytes(), Path(other.key_file).read_bytes())
        while await shown(server.port) == first:
            await asyncio.sleep(0.01)

    play(story, tls=served)


@pytest.fixture
def certificates(tmp_path: Path) -> Callable[[str], TlsFiles]:
    now = datetime.now(UTC)
    ca_key = pki.make_key()
    ca = pki.issue(pki.Spec("ca", usages=(), ca=True), ca_key, None, now)
    (tmp_path / "ca.crt").write_bytes(pki.certificate_pem(ca))

    def issue(name: str) -> TlsFiles:
        key = pki.make_key()
        spec = pki.Spec(name, ("group",), ("localhost",), ("127.0.0.1",), ("server", "client"))
        files = TlsFiles(str(tmp_path / f"{name}.crt"), str(tmp_path / f"{name}.key"))
        Path(files.cert_file).write_bytes(pki.certificate_pem(pki.issue(spec, key, pki.Authority(ca, ca_key), now)))
        Path(files.key_file).write_bytes(pki.key_pem(key))
        return files

    return issue


def test_tls_with_and_without_a_client_certificate(play: Play, certificates: Callable[[str], TlsFiles], tmp_path: Path) -> None:
    ca_file = str(tmp_path / "ca.crt")
    served, mine = certificates("server"), certificates("client")

    async def story(site: Site, server: Server) -> None:
        known = HttpsTransport(f"https://127.0.0.1:{server.port}", tls=client_context(ca_file=ca_file, files=mine))
        for _ in range(2):
            assert (await known.request("GET", "/echo")).status == 200
        assert all(request.peer_certificate for request in site.seen)
        unknown = HttpsTransport(f"https://127.0.0.1:{server.port}", tls=client_context(ca_file=ca_file))
        assert (await unknown.request("GET", "/echo")).status == 200
        assert site.seen[-1].peer_certificate is None
        reader, writer = await upgraded(server.port, client_context(ca_file=ca_file))
        writer.write(b"x" * 100_000)
        received = b""
        while len(received.replace(b"<", b"").replace(b">", b"")) < 100_000:
            received += await reader.read(65536)
        writer.close()
        stranger = HttpsTransport(f"https://127.0.0.1:{server.port}", tls=client_context())
        with pytest.raises(TransportError, match="certificate"):
            await stranger.request("GET", "/echo")
        for transport in (known, unknown, stranger):
            await transport.close()

    play(story, tls=served, client_ca_file=ca_file)


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.crt"
    bad.write_text("nonsense")
    with pytest.raises(TlsError, match=r"bad\.crt"):
        client_context(files=TlsFiles(str(bad), str(bad)))
    with pytest.raises(TlsError, match="there is no file"):
        client_context(files=TlsFiles(str(tmp_path / "none"), str(bad)))
    with pytest.raises(TlsError, match=r"bad\.crt"):
        client_context(ca_file=str(bad))


def test_requests_sent_ahead_are_answered_in_order(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        count = 3 * connection_module.AHEAD_MAX
        sent = b"".join(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n%03d" % index for index in range(count))
        received = await exchange(server.port, sent + b"GET /missing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = received.split(b"HTTP/1.1 ")[1:]
        assert [answer[-3:] for answer in answers[:-1]] == [b"%03d" % index for index in range(count)]
        assert answers[-1].startswith(b"404") and b"Connection: close" in answers[-1]
        assert all(b"Connection: close" not in answer for answer in answers[:-1])

    play(story)


def test_a_body_in_chunks_is_put_together(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n"
        received = await exchange(server.port, head + b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-End: 1\r\n\r\n")
        assert received.endswith(b"\r\n\r\nabcde")
        assert "x-end" not in site.seen[0].headers

    play(story)


def test_head_is_answered_without_a_body(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        received = await exchange(server.port, b"HEAD /missing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 404") and received.endswith(b"\r\n\r\n") and b"Content-Length: 0" not in received

    play(story)


@pytest.mark.parametrize(("more", "kept"), [(b"", False), (b"Connection: keep-alive\r\n", True)])
def test_an_old_client_keeps_its_connection_if_it_says_so(play: Play, more: bytes, kept: bool) -> None:
    async def story(site: Site, server: Server) -> None:
        received = await exchange(
            server.port, b"GET /echo HTTP/1.0\r\n" + more + b"\r\nGET /stream HTTP/1.0\r\n\r\n" if kept else b"GET /echo HTTP/1.0\r\n\r\n"
        )
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        if kept:
            # Its stream is what comes until the connection ends: an old client knows no chunks.
            assert b"Connection: keep-alive\r\n" in received and received.endswith(b"\r\n\r\nfirst\nsecond\n")

    async def released(site: Site, server: Server) -> None:
        site.release.set()
        await story(site, server)

    play(released)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET http://[/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: x\r\n" + b"X-Many: 1\r\n" * 10_000,
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["no-http", "no-url", "many-headers", "two-lengths"],
)
def test_what_cannot_be_read_is_told_in_a_status(play: Play, sent: bytes) -> None:
    async def story(site: Site, server: Server) -> None:
        head, _, body = (await exchange(server.port, sent)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400") and b"Connection: close" in head
        assert orjson.loads(body)["reason"] == "BadRequest" and site.seen == []

    play(story)


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        sent = b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n"
        assert (await exchange(server.port, sent)).startswith(b"HTTP/1.1 413")

    play(story, body_max_bytes=1000)


def test_what_asked_for_an_upgrade_and_got_an_answer_is_over(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        sent = b"GET /missing HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
        received = await exchange(server.port, sent)
        assert received.startswith(b"HTTP/1.1 404") and b"Connection: close" in received and len(site.seen) == 1

    play(story)


def test_a_connection_without_requests_is_closed(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "IDLE_S", 0.05)

    async def story(site: Site, server: Server) -> None:
        async def answer(sent: bytes) -> bytes:
            """Nothing where what is sent meets a connection that is closed already."""
            with contextlib.suppress(ConnectionResetError):
                return await exchange(server.port, sent)
            return b""

        assert await answer(b"") == b""
        assert await answer(b"GET /half") == b""
        while not (received := await answer(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")):
            pass  # it came too late: the processor was elsewhere
        assert received.startswith(b"HTTP/1.1 200")

    play(story)


def test_an_answer_that_is_under_way_ends_before_the_server_does(play: Play) -> None:
    async def story(site: Site, server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"first\n")
        closing = asyncio.create_task(server.close(10))
        assert await idle_reader.read() == b""
        site.release.set()
        assert (await reader.read()).endswith(b"second\n\r\n0\r\n\r\n")
        await closing
        writer.close()
        idle_writer.close()

    play(story)


def test_an_answer_cannot_be_split_by_a_line_break_in_a_header() -> None:
    head = response_head(Response(200, b"", headers={"Warning": "a\r\nX-Evil: b"}), b"", length=0, keep_alive=True, http11=True)
    assert b"\r\nX-Evil" not in head and head.endswith(b"\r\n\r\n")
