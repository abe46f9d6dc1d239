import pytest

from k8sfromscratch.api.errors import Conflict
from k8sfromscratch.client import WorkQueue, retry_on_conflict
from k8sfromscratch.client.rate_limit import RateLimiter
from k8sfromscratch.process.clock import Env
from k8sfromscratch.testing.virtual import run_virtual


def test_the_backoff_ends_at_a_thousand_seconds() -> None:
    async def main(env: Env) -> None:
        limiter = RateLimiter(env.clock)
        waits = [limiter.delay_s("a") for _ in range(60)]
        assert waits[:4] == [0.005, 0.01, 0.02, 0.04] and waits[-1] == 1000 and waits == sorted(waits)

    run_virtual(main)


def test_all_keys_together_are_bounded() -> None:
    async def main(env: Env) -> None:
        queue = WorkQueue(env)
        for number in range(150):
            queue.add_rate_limited(f"k{number}")
        came_at = []
        for _ in range(150):
            queue.done(await queue.get())
            came_at.append(env.clock.monotonic())
        assert came_at[99] == pytest.approx(0.005, abs=1e-3), "a hundred at once"
        assert came_at[-1] == pytest.approx(5.0, abs=0.1), "then ten a second"

    run_virtual(main)


def test_conflicts_are_tried_again_and_the_last_is_raised() -> None:
    async def main(env: Env) -> None:
        tries = 0

        async def attempt(conflicts: int) -> int:
            nonlocal tries
            tries += 1
            if tries <= conflicts:
                raise Conflict("somebody else wrote")
            return tries

        assert await retry_on_conflict(lambda: attempt(4)) == 5
        tries = 0
        with pytest.raises(Conflict):
            await retry_on_conflict(lambda: attempt(5))
        assert tries == 5

    run_virtual(main)
