"""Who may be served when more want to than can: seats shared fairly among users, with bounded waiting.  Pure: no clock, no tasks.

    admit(user) ──► RUNNING    there is a seat, and the user has not had its share yet
                ──► WAITING    behind the user's others; `leave` and `give_up` say who is next
                ──► None       the user's line is full, or all lines together: to be told to come again

A freed seat goes to the system's own components first, then to whoever waits and holds the fewest seats; of two alike, to whoever has
waited longest.  So a user with a thousand requests delays another's one request by the rest of one request at most, and not even by
that as long as there are seats which no single user may take:

    all seats  ├──────────── any one user: ¾ ────────────┤─ others ─┤─ system ─┤
               └───── all who are not of the system: ⅞ ─────────────┘

It is the idea of API priority and fairness (KEP-1040) with users as flows and two levels.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

_WAITING_PER_USER_MAX = 100
"""What a client that sends in bursts may have in line; one that has more is better told to slow down."""
_WAITING_MAX = 2000
"""All lines together: each of them is a request held in memory."""


class State(Enum):
    WAITING = 1
    RUNNING = 2
    OVER = 3


@dataclass(slots=True, eq=False)
class Flow:
    """One user's requests."""

    user: str
    system: bool
    running: int = 0
    waiting: "deque[Ticket]" = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class Ticket:
    """One request; `number` counts arrivals."""

    flow: Flow
    number: int
    state: State


class Seats:
    """Invariants: `running` and `waiting` are the sums over all flows; a flow is known while it has requests; nobody waits who may run."""

    def __init__(self, limit: int) -> None:
        """0 means no limit."""
        self.limit = limit
        self._user_max = max(1, limit * 3 // 4)
        self._others_max = max(1, limit * 7 // 8)
        self._flows: dict[str, Flow] = {}
        self._lines: set[Flow] = set()
        """The flows with somebody waiting."""
        self._numbers = 0
        self.running = 0
        self.waiting = 0
        self._others_running = 0

    def admit(self, user: str, *, system: bool = False) -> Ticket | None:
        """None where it must be refused."""
        flow = self._flows.get(user)
        if flow is None:
            flow = self._flows[user] = Flow(user, system)
        self._numbers += 1
        ticket = Ticket(flow, self._numbers, State.WAITING)
        if not flow.waiting and self._may_run(flow):
            self._run(ticket)
        elif len(flow.waiting) < _WAITING_PER_USER_MAX and self.waiting < _WAITING_MAX:
            flow.waiting.append(ticket)
            self._lines.add(flow)
            self.waiting += 1
        else:
            self._forget(flow)
            return None
        return ticket

    def leave(self, ticket: Ticket) -> list[Ticket]:
        """A request is done.  Those that run now in its place."""
        flow, ticket.state = ticket.flow, State.OVER
        flow.running -= 1
        self.running -= 1
        if not flow.system:
            self._others_running -= 1
        if not self.waiting:
            self._forget(flow)
            return []
        started = []
        while (chosen := self._next()) is not None:
            self._take_first(chosen)
            started.append(chosen)
        self._forget(flow)
        return started

    def give_up(self, ticket: Ticket) -> None:
        """One that waited does so no more."""
        if ticket.state is not State.WAITING:
            return
        ticket.state = State.OVER
        ticket.flow.waiting.remove(ticket)
        self.waiting -= 1
        if not ticket.flow.waiting:
            self._lines.discard(ticket.flow)
        self._forget(ticket.flow)

    def _may_run(self, flow: Flow) -> bool:
        if not self.limit:
            return True
        if self.running >= self.limit or flow.running >= self._user_max:
            return False
        return flow.system or self._others_running < self._others_max

    def _next(self) -> Ticket | None:
        """Looks at each waiting user once: there are far fewer of them than requests."""
        able = [flow for flow in self._lines if self._may_run(flow)]
        if not able:
            return None
        return min(able, key=lambda flow: (not flow.system, flow.running, flow.waiting[0].number)).waiting[0]

    def _take_first(self, ticket: Ticket) -> None:
        ticket.flow.waiting.popleft()
        if not ticket.flow.waiting:
            self._lines.discard(ticket.flow)
        self.waiting -= 1
        self._run(ticket)

    def _run(self, ticket: Ticket) -> None:
        ticket.state = State.RUNNING
        ticket.flow.running += 1
        self.running += 1
        if not ticket.flow.system:
            self._others_running += 1

    def _forget(self, flow: Flow) -> None:
        if not flow.running and not flow.waiting:
            del self._flows[flow.user]
