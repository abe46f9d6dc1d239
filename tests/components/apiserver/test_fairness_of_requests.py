"""One noisy client, and the rest of the cluster: through the real server, on virtual time."""

import asyncio

import pytest

from k8sfromscratch.components.apiserver import inflight
from k8sfromscratch.core.authz.types import UserInfo

NOISY, QUIET = UserInfo("noisy", ("system:authenticated",)), UserInfo("quiet", ("system:authenticated",))
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PATH = "/api"


async def hold_up(api, users):
    """Every request of these users hangs in authorization's place until the event is set."""
    go = asyncio.Event()
    answer = api.server._authorized

    async def slow(request, info, user):
        if user in users:
            await go.wait()
        return await answer(request, info, user)

    api.server._authorized = slow
    return go


def seats(api):
    return api.server._inflight.seats["readOnly"]


def test_a_thousand_requests_of_one_do_not_hold_up_one_of_another(with_api):
    async def test(api):
        go = await hold_up(api, [NOISY])
        many = [asyncio.create_task(api.request("GET", PATH, user=NOISY)) for _ in range(1000)]
        while seats(api).waiting < 100:
            await asyncio.sleep(0)
        assert (seats(api).running, seats(api).waiting) == (300, 100)
        started_s = api.server.env.clock.monotonic()
        assert (await api.request("GET", PATH, user=QUIET)).status == 200
        assert api.server.env.clock.monotonic() == started_s, "at once"
        go.set()
        statuses = [(await task).status for task in many]
        assert (statuses.count(200), statuses.count(429)) == (400, 600)
        assert (seats(api).running, seats(api).waiting) == (0, 0)

    with_api(test)


def test_who_waits_too_long_is_told_to_come_again(with_api):
    async def test(api):
        go = await hold_up(api, [NOISY])
        held = [asyncio.create_task(api.request("GET", PATH, user=NOISY)) for _ in range(300)]
        while seats(api).running < 300:
            await asyncio.sleep(0)
        started_s = api.server.env.clock.monotonic()
        answer = await api.request("GET", PATH, user=NOISY)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert api.server.env.clock.monotonic() - started_s == pytest.approx(inflight.WAIT_S, abs=0.1)
        go.set()
        await asyncio.gather(*held)
        assert (await api.request("GET", PATH, user=NOISY)).status == 200

    with_api(test)


def test_a_client_that_leaves_the_line_takes_no_seat_with_it(with_api):
    async def test(api):
        go = await hold_up(api, [NOISY])
        tasks = [asyncio.create_task(api.request("GET", PATH, user=NOISY)) for _ in range(310)]
        while seats(api).waiting < 10:
            await asyncio.sleep(0)
        # A waiting one, and one that is called in the turn in which it leaves.
        tasks[305].cancel()
        go.set()
        await asyncio.sleep(0)
        tasks[300].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (seats(api).running, seats(api).waiting, api.server._inflight._waiting) == (0, 0, {})

    with_api(test)


def test_administrators_are_always_served(with_api):
    async def test(api):
        seats(api).limit = 1
        running = seats(api).admit("someone")
        assert (await api.request("GET", CONFIG_MAPS)).status == 200
        seats(api).leave(running)

    with_api(test)


def test_watches_of_one_user_are_bounded(with_api, monkeypatch):
    async def test(api):
        monkeypatch.setattr(inflight, "STREAMS_PER_USER_MAX", 2)
        reader = UserInfo("system:kube-scheduler", ("system:authenticated",))
        open_ones = []
        for _ in range(2):
            response = await api.request("GET", "/api/v1/nodes", watch="true", user=reader)
            await anext(response.body)
            open_ones.append(response.body)
        assert (await api.request("GET", "/api/v1/nodes", watch="true", user=reader)).status == 429
        assert (await api.request("GET", "/api/v1/nodes", user=reader)).status == 200
        for body in open_ones:
            await body.aclose()
        response = await api.request("GET", "/api/v1/nodes", watch="true", user=reader)
        assert response.status == 200
        await response.body.aclose()

    with_api(test)
