"""Requests that take too long, in order and all at once."""

import asyncio

import pytest

from k8sfromscratch.api.errors import Timeout
from k8sfromscratch.components.apiserver.deadlines import Deadlines
from k8sfromscratch.process.clock import Env
from k8sfromscratch.testing.virtual import run_virtual


def test_each_request_has_its_own_time():
    async def main(env: Env):
        deadlines, ended_s = Deadlines(10), []

        async def request(begins_s: float, takes_s: float) -> str:
            await asyncio.sleep(begins_s)
            with deadlines.within():
                await asyncio.sleep(takes_s)
                return "done"

        requests = [asyncio.create_task(request(*one)) for one in ((0, 20), (3, 20), (4, 5), (30, 11))]
        for task in requests:
            task.add_done_callback(lambda _: ended_s.append(round(asyncio.get_running_loop().time())))
        ends = await asyncio.gather(*requests, return_exceptions=True)
        assert [type(end) for end in ends] == [Timeout, Timeout, str, Timeout]
        assert sorted(ended_s) == [9, 10, 13, 40]
        assert not deadlines._running

    run_virtual(main)


def test_a_cancellation_by_someone_else_stays_one():
    async def main(env: Env):
        deadlines = Deadlines(10)

        async def request() -> None:
            with deadlines.within():
                await asyncio.sleep(20)

        task = asyncio.create_task(request())
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        both = asyncio.create_task(request())
        asyncio.get_running_loop().call_later(10, both.cancel)
        with pytest.raises(asyncio.CancelledError):
            await both

    run_virtual(main)
