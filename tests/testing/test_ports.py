"""A port that a test has chosen is its own, before its server starts and while that is down."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
import uvloop

from k8sfromscratch.testing import ports

ALL = 60999 - 32768
"""As many ports as the kernel chooses from, by itself: after so many choices each has been met more than once."""


def test_no_port_is_given_twice_however_many_are_asked_for() -> None:
    mine = {ports.free_port() for _ in range(20)}
    assert len(mine) == 20
    for _ in range(ALL):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            assert other.getsockname()[1] not in mine


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_server_gets_it_again_and_again_and_one_that_is_down_is_not_there(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    port = ports.free_port()

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", port)
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_it_is_two_servers_port_at_no_time() -> None:
    port = ports.free_port()
    with socket.create_server(("127.0.0.1", port)):
        script = f"import asyncio; asyncio.run(asyncio.start_server(print, '127.0.0.1', {port}))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert "address already in use" in done.stderr


def test_only_so_many_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "HELD_MAX", len(ports._held) + 1)
    for _ in range(5):
        ports.free_port()
    assert len(ports._held) == ports.HELD_MAX
