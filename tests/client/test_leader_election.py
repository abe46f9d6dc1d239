import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from k8sfromscratch.api.registry import LEASES
from k8sfromscratch.client import Client, LeaderElector, LostLease


class Candidate:
    """Runs for the lease `test`; remembers when it began and ended to lead."""

    def __init__(self, world: Any, client: Client, name: str) -> None:
        self._clock = world.env.clock
        self.began_at = self.ended_at = float("inf")
        self.task = asyncio.ensure_future(LeaderElector(client, world.env, "test", identity=name).run(self._work))

    async def _work(self) -> None:
        self.began_at = self._clock.monotonic()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ended_at = self._clock.monotonic()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def test_one_leads_at_a_time_and_what_is_given_back_is_taken_at_once(virtually: Callable) -> None:
    async def story(world: Any) -> None:
        first = Candidate(world, world.client, "a")
        await asyncio.sleep(1)
        second = Candidate(world, world.client, "b")
        await asyncio.sleep(120)
        assert first.began_at < 1 and second.began_at == float("inf")
        await first.stop()
        await asyncio.sleep(5)
        assert second.began_at < 126
        spec = (await world.client.get(LEASES, "test", "kube-system"))["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("b", 1)
        await second.stop()

    virtually(story)


@pytest.mark.parametrize("fault", ["refuse", "hang", "lose answers"])
def test_a_leader_that_cannot_renew_stops_before_another_begins(virtually: Callable, fault: str) -> None:
    async def story(world: Any) -> None:
        first = Candidate(world, world.distant, "a")
        await asyncio.sleep(10)
        second = Candidate(world, world.client, "b")
        await asyncio.sleep(5)
        world.network.fault = fault
        with pytest.raises(LostLease, match="kube-system/test could not be renewed for 10"):
            await first.task
        assert first.ended_at <= 15 + 10 and second.began_at == float("inf")
        await asyncio.sleep(20)
        assert first.ended_at < second.began_at < 45
        await second.stop()

    virtually(story)


def test_a_short_outage_costs_no_leadership(virtually: Callable) -> None:
    async def story(world: Any) -> None:
        leader = Candidate(world, world.distant, "a")
        await asyncio.sleep(10)
        world.network.fault = "hang"
        await asyncio.sleep(1)
        world.network.fault = "refuse"
        await asyncio.sleep(5)
        world.network.fault = None
        await asyncio.sleep(60)
        assert not leader.task.done()
        await leader.stop()

    virtually(story)


def test_work_that_fails_gives_the_lease_back_and_is_told(virtually: Callable) -> None:
    async def story(world: Any) -> None:
        async def fails() -> None:
            raise RuntimeError("planted")

        with pytest.raises(RuntimeError, match="planted"):
            await LeaderElector(world.client, world.env, "test", identity="a").run(fails)
        assert (await world.client.get(LEASES, "test", "kube-system"))["spec"]["holderIdentity"] == ""

    virtually(story)


def test_a_server_that_hangs_does_not_hold_up_the_end(virtually: Callable) -> None:
    async def story(world: Any) -> None:
        leader = Candidate(world, world.distant, "a")
        await asyncio.sleep(10)
        world.network.fault = "hang"
        before = world.env.clock.monotonic()
        await leader.stop()
        assert world.env.clock.monotonic() - before < 3

    virtually(story)


def test_times_that_cannot_work_are_refused(virtually: Callable) -> None:
    async def story(world: Any) -> None:
        with pytest.raises(ValueError, match="longer than the renew deadline"):
            LeaderElector(world.client, world.env, "test", identity="a", lease_duration_s=10, renew_deadline_s=10)

    virtually(story)
