import asyncio
import socket
from collections.abc import Callable, Coroutine

import pytest

from k8sfromscratch.process.clock import Env, rfc3339
from k8sfromscratch.testing.virtual import Deadlock, run_virtual


def test_an_hour_passes_at_once_and_the_clock_says_so() -> None:
    async def main(env: Env) -> tuple[float, str]:
        started = env.clock.monotonic()
        await asyncio.sleep(3600)
        return env.clock.monotonic() - started, rfc3339(env.clock.now())

    elapsed, shown = run_virtual(main)
    assert elapsed == pytest.approx(3600)
    assert shown == "2026-01-01T01:00:00Z"


def test_timers_fire_in_order_whatever_order_they_were_set_in() -> None:
    async def main(env: Env) -> list[int]:
        seen: list[int] = []

        async def later(n: int) -> None:
            await asyncio.sleep(n)
            seen.append(n)

        await asyncio.gather(*(later(n) for n in (5, 1, 4, 2, 3)))
        return seen

    assert run_virtual(main) == [1, 2, 3, 4, 5]


def test_timeouts_follow_virtual_time() -> None:
    async def main(env: Env) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await asyncio.sleep(10_000)
        return env.clock.monotonic()

    assert run_virtual(main) == pytest.approx(600)


def test_the_same_seed_gives_the_same_randomness() -> None:
    async def main(env: Env) -> list[str]:
        return [env.uid() for _ in range(3)]

    assert run_virtual(main, 7) == run_virtual(main, 7) != run_virtual(main, 8)


def test_waiting_for_nothing_is_a_deadlock() -> None:
    async def nobody_answers() -> None:
        await asyncio.get_running_loop().create_future()

    async def main(env: Env) -> None:
        await asyncio.sleep(5)
        await nobody_answers()

    with pytest.raises(Deadlock, match=r"at virtual time 5\.000 s .*nobody_answers \("):
        run_virtual(main)


async def _readable() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        await asyncio.get_running_loop().sock_recv(ours, 1)


@pytest.mark.parametrize(
    ("what", "outside"),
    [
        ("a thread", lambda: asyncio.to_thread(len, "x")),
        ("a connection", lambda: asyncio.open_connection("127.0.0.1", 1)),
        ("a server", lambda: asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)),
        ("a subprocess", lambda: asyncio.create_subprocess_exec("true")),
        ("a socket or a pipe", _readable),
    ],
)
def test_what_waits_for_the_outside_is_refused(what: str, outside: Callable[[], Coroutine[None, None, None]]) -> None:
    async def main(env: Env) -> None:
        await outside()

    with pytest.raises(RuntimeError, match=f"^{what}.* was asked for: on virtual time"):
        run_virtual(main)
