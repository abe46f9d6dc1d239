"""The balancer between real clients and real servers: apiservers that die, hang, and say that they are not ready."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvloop

from k8sfromscratch.client import HttpsTransport, TransportError
from k8sfromscratch.components.balancer.app import Balancer
from k8sfromscratch.components.balancer.config import BalancerFlags
from k8sfromscratch.components.balancer.relay import End
from k8sfromscratch.core.network.backends import Backend, State
from k8sfromscratch.process import pki
from k8sfromscratch.process.flags import FlagError
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.process.server import Server, serve
from k8sfromscratch.process.tls import TlsFiles, client_context

ANSWER_S = 60.0
"""No server that is to be well may miss it, wherever the processor is meanwhile."""
HANGING_S = 1.0
"""Where one hangs, all of it is waited for, twice."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    now, ca_key, key = datetime.now(UTC), pki.make_key(), pki.make_key()
    ca = pki.issue(pki.Spec("ca", ca=True), ca_key, None, now)
    server = pki.issue(pki.Spec("apiserver", ip_addresses=("127.0.0.1",), usages=("server",)), key, pki.Authority(ca, ca_key), now)
    (folder / "ca.crt").write_bytes(pki.certificate_pem(ca))
    (folder / "tls.crt").write_bytes(pki.certificate_pem(server))
    (folder / "tls.key").write_bytes(pki.key_pem(key))
    return folder


class ApiServer:
    """As much of one as the balancer and its clients see: /readyz, a name, and an answer that does not end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = asyncio.Event()
        self.ready.set()
        self.says = 200
        self.server: Server | None = None

    async def start(self, certificates: Path, port: int = 0) -> str:
        files = TlsFiles(str(certificates / "tls.crt"), str(certificates / "tls.key"))
        self.server = await serve(self._handle, host="127.0.0.1", port=port, tls=files)
        return f"127.0.0.1:{self.server.port}"

    async def stop(self) -> int:
        assert self.server is not None
        port = self.server.port
        self.ready.set()
        await self.server.close(0)
        return port

    async def _handle(self, request: Request) -> Response:
        match request.path:
            case "/readyz":
                await self.ready.wait()
                return Response(self.says, b"ok")
            case "/watch":
                return Response(200, self._endless())
        return Response(200, self.name.encode())

    async def _endless(self) -> AsyncIterator[bytes]:
        yield self.name.encode()
        await asyncio.get_running_loop().create_future()


class Play:
    """Three apiservers, the balancer in front of them, and clients."""

    def __init__(self, certificates: Path, answer_s: float) -> None:
        self.certificates, self.answer_s = certificates, answer_s
        self.servers = [ApiServer(name) for name in "abc"]
        self.tls = client_context(ca_file=str(certificates / "ca.crt"))
        self.balancer: Balancer

    async def start(self) -> None:
        backends = [await server.start(self.certificates) for server in self.servers]
        self.balancer = Balancer(backends, self.tls, check_interval_s=0.02, check_timeout_s=self.answer_s)
        await self.balancer.start("127.0.0.1", 0)
        await self.until(State.READY, State.READY, State.READY)

    async def until(self, *states: State) -> None:
        """What is thought of the servers."""
        while tuple(backend.state for backend in self.balancer.backends) != states:
            self.balancer.changed.clear()
            await self.balancer.changed.wait()

    def client(self) -> HttpsTransport:
        return HttpsTransport(f"https://127.0.0.1:{self.balancer.port}", tls=self.tls)

    async def ask(self, path: str = "/") -> str:
        """By a connection of its own."""
        client = self.client()
        try:
            return (await client.request("GET", path)).body.decode()
        finally:
            await client.close()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """Who serves a watch, and what comes of it after that."""
        client = self.client()
        try:
            async with client.stream("GET", "/watch") as reply:
                yield (await anext(reply.chunks)).decode(), reply.chunks
        finally:
            await client.close()

    async def close(self) -> None:
        await self.balancer.close()
        for server in self.servers:
            await server.stop()


def on_uvloop(main: Coroutine[None, None, None]) -> None:
    """As in the process: its transports differ from asyncio's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def run(certificates: Path, test: Callable[[Play], Awaitable[None]], answer_s: float = ANSWER_S) -> None:
    async def main() -> None:
        play = Play(certificates, answer_s)
        await play.start()
        try:
            async with asyncio.timeout(60):
                await test(play)
        finally:
            await play.close()

    on_uvloop(main())


def test_clients_are_spread_over_all_apiservers(certificates: Path) -> None:
    async def test(play: Play) -> None:
        async with play.watching() as (first, _), play.watching() as (second, _), play.watching() as (third, _):
            assert {first, second, third} == {"a", "b", "c"}

    run(certificates, test)


def test_one_that_takes_no_connections_is_passed_over_before_any_check(certificates: Path) -> None:
    async def test(play: Play) -> None:
        await play.servers[0].stop()
        assert {await play.ask() for _ in range(6)} == {"b", "c"}

    run(certificates, test)


def test_a_watch_on_one_that_dies_breaks_and_goes_on_elsewhere_and_one_that_is_back_is_used_again(certificates: Path) -> None:
    async def test(play: Play) -> None:
        async with play.watching() as (name, more):
            victim = next(server for server in play.servers if server.name == name)
            port = await victim.stop()
            with pytest.raises(TransportError):
                await anext(more)
        async with play.watching() as (other, _):
            assert other != name
        await victim.start(play.certificates, port)
        await play.until(State.READY, State.READY, State.READY)
        assert {await play.ask() for _ in range(6)} == {"a", "b", "c"}

    run(certificates, test)


def test_connections_to_one_that_hangs_are_cut_since_nobody_else_would_tell_their_clients(certificates: Path) -> None:
    async def test(play: Play) -> None:
        async with play.watching() as (name, more):
            victim = next(server for server in play.servers if server.name == name)
            victim.ready.clear()
            with pytest.raises(TransportError):
                await anext(more)
        assert name not in {await play.ask() for _ in range(6)}

    run(certificates, test, HANGING_S)


def test_one_that_says_that_it_is_not_ready_keeps_what_it_has_and_gets_nothing_new(certificates: Path) -> None:
    async def test(play: Play) -> None:
        async with play.watching() as (name, _):
            place = "abc".index(name)
            play.servers[place].says = 500
            await play.until(*(State.NOT_READY if at == place else State.READY for at in range(3)))
            assert name not in {await play.ask() for _ in range(6)}
            assert play.balancer.backends[place].connections == 1

    run(certificates, test)


def test_where_none_is_well_all_are_tried_and_none_is_cut(certificates: Path) -> None:
    async def test(play: Play) -> None:
        async with play.watching() as (name, _):
            for server in play.servers:
                server.ready.clear()
            await play.until(State.GONE, State.GONE, State.GONE)
            assert play.balancer.problem() == "no apiserver is ready"
            assert await play.ask() in ("a", "b", "c")
            assert play.balancer.backends["abc".index(name)].connections >= 1

    run(certificates, test, HANGING_S)


def test_where_none_is_there_the_client_hears_it_at_once(certificates: Path) -> None:
    async def test(play: Play) -> None:
        for server in play.servers:
            await server.stop()
        with pytest.raises(TransportError):
            await play.ask()
        assert sum(backend.connections for backend in play.balancer.backends) == 0

    run(certificates, test)


def test_an_apiserver_of_another_authority_is_not_ready(certificates: Path, tmp_path: Path) -> None:
    async def main() -> None:
        server = ApiServer("stranger")
        key = pki.make_key()
        stranger = pki.issue(pki.Spec("stranger", ca=True), key, None, datetime.now(UTC))
        (tmp_path / "ca.crt").write_bytes(pki.certificate_pem(stranger))
        balancer = Balancer(
            [await server.start(certificates)], client_context(ca_file=str(tmp_path / "ca.crt")), check_interval_s=0.01, check_timeout_s=ANSWER_S
        )
        await balancer.start("127.0.0.1", 0)
        await balancer.changed.wait()
        assert balancer.backends[0].state is State.GONE
        await balancer.close()
        await server.stop()

    on_uvloop(main())


@asynccontextmanager
async def raw_play(serve_one: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Balancer]:
    """One server without TLS: what is passed on is any bytes."""
    listener = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    balancer = Balancer([f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"], client_context(), check_interval_s=60, check_timeout_s=ANSWER_S)
    await balancer.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(60):
            yield balancer
    finally:
        await balancer.close()
        listener.close()
        await listener.wait_closed()


def test_every_byte_arrives_and_a_side_that_has_said_all_still_hears_the_answer() -> None:
    sent = os.urandom(1 << 22)

    async def echo_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if received := await reader.read(-1):
            writer.write(received)
            await writer.drain()
        writer.close()

    async def main() -> None:
        async with raw_play(echo_at_the_end) as balancer:
            reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
            writer.write(sent)
            writer.write_eof()
            assert await reader.read(-1) == sent
            writer.close()
            await writer.wait_closed()

    on_uvloop(main())


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_what_a_client_says_before_a_server_is_found_is_not_lost(monkeypatch: pytest.MonkeyPatch, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A TLS client speaks first and at once, and a server on a busy machine takes a while to be reached."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(-1))
        writer.close()

    async def main() -> None:
        async with raw_play(echo) as balancer:
            dial, release, asked = balancer._dial, asyncio.Event(), asyncio.Semaphore(0)

            async def slowly(backend: Backend) -> End | None:
                asked.release()
                await release.wait()
                return await dial(backend)

            monkeypatch.setattr(balancer, "_dial", slowly)
            clients = []
            for number in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
                writer.write(b"hello %d" % number * 10_000)
                if number % 2:
                    writer.write_eof()
                clients.append((reader, writer))
                await asked.acquire()
            # What was sent has arrived, and would have been read, when somebody else has been served over the same loop.
            for _ in range(3):
                _, probe = await asyncio.open_connection("127.0.0.1", balancer.port)
                await asked.acquire()
                probe.close()
            release.set()
            for number, (reader, writer) in enumerate(clients):
                if not number % 2:
                    writer.write_eof()
                assert await reader.read(-1) == b"hello %d" % number * 10_000
                writer.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_a_client_that_reads_nothing_stops_its_server_and_fills_no_memory() -> None:
    async def main() -> None:
        written, stuck, gone = 0, asyncio.Event(), asyncio.Event()

        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            if await reader.read(1) != b"!":
                writer.close()
                return
            try:
                while True:
                    writer.write(b"x" * 65536)
                    written += 65536
                    try:
                        async with asyncio.timeout(0.5):
                            await writer.drain()
                    except TimeoutError:
                        stuck.set()
                        await reader.read(1)
                        return
            except ConnectionError:
                return
            finally:
                writer.close()
                gone.set()

        async with raw_play(flood) as balancer:
            _, writer = await asyncio.open_connection("127.0.0.1", balancer.port, limit=1024)
            writer.write(b"!")
            await stuck.wait()
            # Sockets' buffers on both sides, and no more than the transports' own in between.
            assert written < 64 << 20
            writer.transport.abort()
            await gone.wait()

    on_uvloop(main())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--backends=a:6443"], "--certificate-authority is required"),
        (["--certificate-authority=x", "--backends="], "at least one apiserver is needed"),
        (["--certificate-authority=x", "--backends=a"], "'a' is not of the form host:port"),
        (["--certificate-authority=x", "--backends=a:1,a:1"], "an apiserver is named twice"),
    ],
)
def test_wrong_flags_are_refused(flags: list[str], says: str) -> None:
    with pytest.raises(FlagError) as refused:
        BalancerFlags.parse(flags)
    assert says in str(refused.value)
