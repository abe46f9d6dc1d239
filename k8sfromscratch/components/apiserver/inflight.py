"""How many requests may be in service at once, and who is served first when more want to be.

    system:masters                          exempt: an administrator can always look
    reading, changing                       seats of their own each, shared fairly among users (`core.fairness`); who finds none waits
    watches, exec, port-forward, …          they last, so they take no seats; one user may have so many of them

A request waits in line for a quarter of its time at most, as upstream; then, or where its user's line is full, it is told to come again
(429 with Retry-After).  Source: apiserver/pkg/server/filters/maxinflight.go; KEP-1040.
"""

import asyncio

from k8sfromscratch.api.errors import TooManyRequests
from k8sfromscratch.components.apiserver.metrics import Metrics
from k8sfromscratch.components.apiserver.request_info import RequestInfo
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.core.fairness import Seats, State, Ticket
from k8sfromscratch.process.http import Connection, Upgrade

WAIT_S = 15.0
STREAMS_PER_USER_MAX = 5000
"""Watches, and streams, of one user: an operator of a large cluster has some hundreds."""

_CHANGING = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_STREAMS = frozenset({"exec", "attach", "portforward", "proxy", "log"})
_EXEMPT = "system:masters"
# Without these the cluster does not heal: nodes, its controllers and scheduler, what runs in kube-system.
_SYSTEM_GROUPS = frozenset({"system:nodes", "system:serviceaccounts:kube-system"})
_SYSTEM_USERS = frozenset({"system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", "system:apiserver"})

Slot = tuple[Seats, Ticket]


def is_long_running(info: RequestInfo) -> bool:
    return info.verb == "watch" or info.subresource in _STREAMS


class InFlight:
    def __init__(self, reading_max: int, changing_max: int, metrics: Metrics) -> None:
        """0 means no limit."""
        self.seats = {"readOnly": Seats(reading_max), "mutating": Seats(changing_max)}
        self._metrics = metrics
        self._waiting: dict[Ticket, asyncio.Future[None]] = {}

    def enter(self, info: RequestInfo, user: UserInfo) -> Slot | None:
        """For a request that is not long-running: a seat, or where `is_waiting` says so, a place in line; None for whoever is exempt.
        Raises TooManyRequests."""
        if _EXEMPT in user.groups:
            return None
        kind = "mutating" if info.verb in _CHANGING else "readOnly"
        seats = self.seats[kind]
        ticket = seats.admit(user.name, system=is_system(user))
        if ticket is None:
            self._metrics.rejected(kind)
            raise _refusal()
        return seats, ticket

    async def turn(self, slot: Slot) -> None:
        """Returns when the request may run.  Raises TooManyRequests after a while; the place is given up then."""
        seats, ticket = slot
        turn = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(WAIT_S):
                await turn
        except BaseException as error:
            # Whoever is called in the very turn in which it gives up has a seat to hand on.
            if ticket.state is State.RUNNING:
                self.leave(slot)
            else:
                seats.give_up(ticket)
            if isinstance(error, TimeoutError):
                self._metrics.rejected("waited")
                raise _refusal() from error
            raise
        finally:
            del self._waiting[ticket]

    def leave(self, slot: Slot) -> None:
        seats, ticket = slot
        for started in seats.leave(ticket):
            turn = self._waiting[started]
            if not turn.done():
                turn.set_result(None)

    def publish(self) -> None:
        for kind, seats in self.seats.items():
            self._metrics.inflight(kind, seats.running)


def is_waiting(slot: Slot) -> bool:
    return slot[1].state is State.WAITING


class Streams:
    """How many watches and streams each user has open."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._open: dict[str, int] = {}

    def check(self, user: UserInfo) -> None:
        """Raises TooManyRequests where one more would be too many."""
        if self._open.get(user.name, 0) >= STREAMS_PER_USER_MAX and _EXEMPT not in user.groups:
            self._metrics.rejected("longRunning")
            raise _refusal()

    def opened(self, user: UserInfo, info: RequestInfo) -> None:
        self._open[user.name] = self._open.get(user.name, 0) + 1
        self._metrics.long_running(info, 1)

    def closed(self, user: UserInfo, info: RequestInfo) -> None:
        self._metrics.long_running(info, -1)
        self._open[user.name] -= 1
        if not self._open[user.name]:
            del self._open[user.name]

    def counted(self, upgrade: Upgrade, user: UserInfo, info: RequestInfo) -> Upgrade:
        """The same, counted while it runs."""

        async def run(connection: Connection) -> None:
            self.opened(user, info)
            try:
                await upgrade.run(connection)
            finally:
                self.closed(user, info)

        return Upgrade(run)


def is_system(user: UserInfo) -> bool:
    return user.name in _SYSTEM_USERS or not _SYSTEM_GROUPS.isdisjoint(user.groups)


def _refusal() -> TooManyRequests:
    return TooManyRequests("Too many requests, please try again later.", retry_after_s=1)
