"""/debug/pprof: what a program does just now, without stopping it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from k8sfromscratch.api.errors import ApiError, BadRequest, MethodNotAllowed, TooManyRequests
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.process.profiling import Profiling


async def ask(profiling: Profiling, path: str, *, method: str = "GET", **query: str) -> str:
    response = await profiling.paths[path](Request(method, path, {name: [value] for name, value in query.items()}, {}), LOOPBACK)
    assert isinstance(response, Response) and isinstance(response.body, bytes) and response.status == 200
    return response.body.decode()


def play(test: Callable[[Profiling], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(Profiling())

    asyncio.run(main())


def busy_work() -> int:
    """A loop in Python: only between its steps can another thread look."""
    total = 0
    for number in range(20000):
        total += number
    return total


def test_a_profile_shows_where_the_loop_is_busy() -> None:
    async def profile(profiling: Profiling) -> list[str]:
        asked = asyncio.create_task(ask(profiling, "/debug/pprof/profile", seconds="1"))
        while not asked.done():
            busy_work()
            await asyncio.sleep(0)
        return asked.result().splitlines()

    async def test(profiling: Profiling) -> None:
        lines: list[str] = []
        while not any("busy_work" in line.split(";")[-1] for line in lines):  # in a second without the processor it may have looked nowhere
            lines = await profile(profiling)
        assert all(line.rpartition(" ")[2].isdigit() for line in lines)

    play(test)


def test_every_task_says_where_it_waits() -> None:
    async def test(profiling: Profiling) -> None:
        async def waits_for_ever() -> None:
            await asyncio.Event().wait()

        waiting = asyncio.create_task(waits_for_ever(), name="the-one-that-waits")
        await asyncio.sleep(0)
        said = await ask(profiling, "/debug/pprof/goroutine")
        assert "the-one-that-waits" in said and "waits_for_ever" in said
        waiting.cancel()

    play(test)


def test_two_profiles_at_once_are_refused_and_the_next_is_taken() -> None:
    async def test(profiling: Profiling) -> None:
        first = asyncio.create_task(ask(profiling, "/debug/pprof/profile", seconds="1"))
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests):
            await ask(profiling, "/debug/pprof/profile", seconds="1")
        await first
        await ask(profiling, "/debug/pprof/profile", seconds="1")

    play(test)


@pytest.mark.parametrize(
    ("method", "seconds", "refusal"),
    [("GET", "0", BadRequest), ("GET", "61", BadRequest), ("GET", "00019999", BadRequest), ("GET", "x", BadRequest), ("POST", "1", MethodNotAllowed)],
)
def test_what_is_wrong_is_refused(method: str, seconds: str, refusal: type[ApiError]) -> None:
    async def test(profiling: Profiling) -> None:
        with pytest.raises(refusal):
            await ask(profiling, "/debug/pprof/profile", method=method, seconds=seconds)

    play(test)
