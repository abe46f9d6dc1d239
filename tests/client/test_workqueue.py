import asyncio

import pytest

from k8sfromscratch.client import ShutDown, WorkQueue
from k8sfromscratch.process.clock import Env
from k8sfromscratch.testing.virtual import run_virtual


def test_a_key_added_many_times_comes_out_once_and_in_order() -> None:
    async def main(env: Env) -> list[str]:
        queue = WorkQueue(env)
        for key in "abacb":
            queue.add(key)
        return [await queue.get() for _ in range(len(queue))]

    assert run_virtual(main) == ["a", "b", "c"]


def test_a_key_is_with_one_worker_at_a_time_and_comes_again_if_it_was_added_meanwhile() -> None:
    async def main(env: Env) -> None:
        queue = WorkQueue(env)
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert len(queue) == 0

    run_virtual(main)


def test_of_several_delays_the_earliest_counts() -> None:
    async def main(env: Env) -> list[tuple[str, float]]:
        queue = WorkQueue(env)
        queue.add_after("late", 30)
        queue.add_after("a", 20)
        queue.add_after("a", 10)
        queue.add_after("a", 40)
        found = []
        for _ in range(2):
            key = await queue.get()
            queue.done(key)
            found.append((key, round(env.clock.monotonic(), 3)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await queue.get()
        return found

    assert run_virtual(main) == [("a", 10.0), ("late", 30.0)]


def test_the_backoff_doubles_until_it_is_forgotten() -> None:
    async def main(env: Env) -> list[float]:
        queue = WorkQueue(env)
        waits = []
        for _ in range(6):
            before = env.clock.monotonic()
            queue.add_rate_limited("a")
            queue.done(await queue.get())
            waits.append(round(env.clock.monotonic() - before, 4))
        assert queue.retries("a") == 6
        queue.forget("a")
        assert queue.retries("a") == 0
        return waits

    assert run_virtual(main) == [0.005, 0.01, 0.02, 0.04, 0.08, 0.16]


def test_waiting_workers_are_served_and_a_cancelled_one_loses_nothing() -> None:
    async def main(env: Env) -> None:
        queue = WorkQueue(env)
        first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert await second == "a"

    run_virtual(main)


def test_shutting_down_lets_the_rest_out_and_takes_no_more() -> None:
    async def main(env: Env) -> None:
        queue = WorkQueue(env)
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        queue.add_after("never", 5)
        queue.shut_down()
        queue.add("b")
        assert await waiting == "a"
        with pytest.raises(ShutDown):
            await queue.get()

    run_virtual(main)
