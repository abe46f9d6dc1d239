"""The gRPC client against servers that are silent, gone, or go away."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.http2 import STREAM_NUMBER_MAX
from k8sfromscratch.storage import channel as channel_module
from k8sfromscratch.storage.channel import Channel
from k8sfromscratch.storage.interface import Unavailable

METHOD = "/s/M"


class EchoServer(asyncio.Protocol):
    """Answers each message with itself; `silent`, it only reads."""

    silent = False
    pings = True
    made: list["EchoServer"]

    def __init__(self) -> None:
        self.rpc = grpc.GrpcServer()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.made.append(self)
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.rpc.receive(data):
            if isinstance(event, grpc.Message) and not self.silent:
                self.rpc.reply(event.stream, event.data)
        self.flush()

    def flush(self) -> None:
        output = self.rpc.http.take_output()
        if self.transport is not None and self.pings:
            self.transport.write(output)


def run(scenario: Callable[[Channel, type[EchoServer]], Awaitable[None]]) -> None:
    class Server(EchoServer):
        made: list[EchoServer] = []

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        channel = Channel([f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"])
        try:
            async with asyncio.timeout(20):
                await scenario(channel, Server)
        finally:
            await channel.close()
            for connection in Server.made:
                if connection.transport is not None:
                    connection.transport.abort()
            server.close()

    asyncio.run(main())


def test_calls_share_one_connection() -> None:
    async def scenario(channel: Channel, server: type[EchoServer]) -> None:
        answers = await asyncio.gather(*(channel.call(METHOD, b"%d" % number) for number in range(100)))
        assert answers == [b"%d" % number for number in range(100)]
        assert len(server.made) == 1

    run(scenario)


def test_a_connection_that_fell_silent_is_given_up_and_the_next_call_makes_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(channel: Channel, server: type[EchoServer]) -> None:
        assert await channel.call(METHOD, b"1") == b"1"
        server.silent, server.pings = True, False
        watching = await channel.open(METHOD)
        with monkeypatch.context() as impatient, pytest.raises(Unavailable, match="silent"):
            impatient.setattr(channel_module, "PING_EVERY_S", 0.02)
            watched_over(channel)
            await anext(aiter(watching))
        server.silent, server.pings = False, True
        assert await channel.call(METHOD, b"2") == b"2"
        assert len(server.made) == 2

    run(scenario)


def watched_over(channel: Channel) -> bool:
    """As after PING_EVERY_S; whether the server was asked for a sign of life."""
    assert channel._connection is not None
    channel._connection._watch_over()
    return channel._connection._asked


def test_a_quiet_watch_on_a_live_connection_stays() -> None:
    async def scenario(channel: Channel, server: type[EchoServer]) -> None:
        server.silent = True
        watching = asyncio.ensure_future(anext(aiter(await channel.open(METHOD))))
        assert channel._connection is not None
        asked = 0
        while asked < 3:
            if watched_over(channel):
                asked += 1
                while not channel._connection._heard:
                    await asyncio.sleep(0)
        assert not watching.done() and len(server.made) == 1
        watching.cancel()

    run(scenario)


def test_calls_without_an_answer_end_and_leave_the_connection_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(channel: Channel, server: type[EchoServer]) -> None:
        await channel.open(METHOD)  # to connect may take longer
        server.silent = True
        with monkeypatch.context() as impatient:
            impatient.setattr(channel_module, "CALL_S", 0.05)
            overdue = await asyncio.gather(*(channel.call(METHOD, b"%d" % number) for number in range(3)), return_exceptions=True)
        assert all(isinstance(error, Unavailable) and "did not answer" in str(error) for error in overdue)
        server.silent = False
        assert await channel.call(METHOD, b"later") == b"later"
        assert len(server.made) == 1

    run(scenario)


def test_a_server_that_goes_away_keeps_its_calls_and_gets_no_new_ones() -> None:
    async def scenario(channel: Channel, server: type[EchoServer]) -> None:
        await channel.call(METHOD, b"1")
        server.silent = True
        watching = await channel.open(METHOD)
        watching.send(b"kept")
        first = server.made[0]
        while not first.rpc._calls:
            await asyncio.sleep(0)
        first.rpc.http.go_away()
        first.flush()
        server.silent = False
        while len(server.made) == 1:
            assert await channel.call(METHOD, b"2") == b"2"
        (stream,) = first.rpc._calls
        first.rpc.send(stream, b"late")
        first.flush()
        assert await anext(aiter(watching)) == b"late"

    run(scenario)


def test_a_connection_without_numbers_for_streams_is_replaced() -> None:
    async def scenario(channel: Channel, server: type[EchoServer]) -> None:
        await channel.call(METHOD, b"1")
        assert channel._connection is not None
        channel._connection.rpc.http._next_stream = STREAM_NUMBER_MAX
        for number in range(3):
            assert await channel.call(METHOD, b"%d" % number) == b"%d" % number
        assert len(server.made) == 2

    run(scenario)


def test_it_connects_again_after_however_long_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "PAUSE_MAX_S", 0.001)

    async def scenario(channel: Channel, server: type[EchoServer]) -> None:
        channel._attempts = 100_000
        assert await channel.call(METHOD, b"1") == b"1"

    run(scenario)


def test_closing_while_it_connects_is_unavailable_to_who_waits() -> None:
    async def scenario(channel: Channel, server: type[EchoServer]) -> None:
        channel._attempts = 5  # it pauses first
        waiting = [asyncio.create_task(channel.call(METHOD, b"1")) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.sleep(0)
        await channel.close()
        with pytest.raises(Unavailable, match="closed"):
            await waiting[0]
        with pytest.raises(asyncio.CancelledError):
            await waiting[1]

    run(scenario)


def test_nobody_there_is_unavailable_and_says_where() -> None:
    async def main() -> None:
        channel = Channel(["http://127.0.0.1:1"])
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            await channel.call(METHOD, b"")
        await channel.close()

    asyncio.run(main())


class Refusing(EchoServer):
    """A member that has lost the others: it takes connections and keeps streams open, but can answer nothing."""

    def data_received(self, data: bytes) -> None:
        for event in self.rpc.receive(data):
            if isinstance(event, grpc.Message) and event.data != b"stream":
                self.rpc.finish(event.stream, grpc.UNAVAILABLE, "etcdserver: no leader")
        self.flush()


def several(scenario: Callable[[Channel, list[list[EchoServer]]], Awaitable[None]], *kinds: type[EchoServer] | None) -> None:
    """A channel to a server of each kind, None for one that is not there; the scenario sees the connections that each has had."""

    async def main() -> None:
        servers, ports, made = [], [], []
        for kind in kinds:
            connections: list[EchoServer] = []
            each = type("Server", (kind or EchoServer,), {"made": connections})
            server = await asyncio.get_running_loop().create_server(each, "127.0.0.1", 0)
            ports.append(server.sockets[0].getsockname()[1])
            made.append(connections)
            servers.append(server)
        for kind, server in zip(kinds, servers, strict=True):
            if kind is None:
                server.close()
        channel = Channel([f"http://127.0.0.1:{port}" for port in ports])
        try:
            async with asyncio.timeout(20):
                await scenario(channel, made)
        finally:
            await channel.close()
            for connections in made:
                for connection in connections:
                    if connection.transport is not None:
                        connection.transport.abort()
            for server in servers:
                server.close()

    asyncio.run(main())


def test_an_endpoint_that_is_not_there_is_passed_over_within_the_call() -> None:
    async def scenario(channel: Channel, made: list[list[EchoServer]]) -> None:
        assert await channel.call(METHOD, b"1") == b"1"
        assert [len(connections) for connections in made] == [0, 1, 0]

    several(scenario, None, EchoServer, EchoServer)


def test_where_no_endpoint_is_there_the_error_names_all() -> None:
    async def scenario(channel: Channel, made: list[list[EchoServer]]) -> None:
        with pytest.raises(Unavailable) as failed:
            await channel.call(METHOD, b"1")
        assert str(failed.value).count("cannot be reached") == 2

    several(scenario, None, None)


def test_the_first_endpoint_is_preferred_again_once_the_connection_to_another_breaks() -> None:
    async def scenario(channel: Channel, made: list[list[EchoServer]]) -> None:
        await channel.call(METHOD, b"1")
        (first,) = made[0]
        assert first.transport is not None
        first.transport.abort()
        while channel._connection is not None and channel._connection.usable:
            await asyncio.sleep(0)
        assert await channel.call(METHOD, b"2") == b"2"
        assert [len(connections) for connections in made] == [2, 0]

    several(scenario, EchoServer, EchoServer)


def test_a_member_that_cannot_answer_is_left_with_all_that_waits_on_it() -> None:
    async def scenario(channel: Channel, made: list[list[EchoServer]]) -> None:
        watch = await channel.open(METHOD)
        watch.send(b"stream")
        with pytest.raises(Exception, match="no leader"):
            await channel.call(METHOD, b"1")
        with pytest.raises(Unavailable, match="was left: etcdserver: no leader"):
            await anext(aiter(watch))
        assert await channel.call(METHOD, b"2") == b"2"
        assert [len(connections) for connections in made] == [1, 1]

    several(scenario, Refusing, EchoServer)


def test_the_only_member_is_not_left_for_an_error() -> None:
    async def scenario(channel: Channel, made: list[list[EchoServer]]) -> None:
        for _ in range(3):
            with pytest.raises(Exception, match="no leader"):
                await channel.call(METHOD, b"1")
        assert [len(connections) for connections in made] == [1]

    several(scenario, Refusing)
