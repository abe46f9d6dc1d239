"""Reads that miss no write that was acknowledged before they were asked, on any member (Raft's ReadIndex).

    ask ─► waiting ─(one question for all of this loop turn)─► asked ─(a majority takes the leader for it)─► confirmed at an index ─(applied)─► done

A question that is lost is asked again: unlike a proposal it changes nothing.  With another leader it is not, as it may have been answered by one that
was none any more: those who ask are told, as upstream's are.

    invariant: `done` is called exactly once for each that asked
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from k8sfromscratch.core.raft.node import RawNode
from k8sfromscratch.core.raft.types import ProposalDropped, ReadState
from k8sfromscratch.storage.group import LeaderChanged, RequestTimedOut

ASKED_MAX = 64
"""Questions at a time; more join the next.  Each is a round of heartbeats."""
RETRY_S = 0.5

Served = Callable[[Exception | None], None]


@dataclass(slots=True)
class _Read:
    done: Served
    tick: int


class Reads:
    def __init__(self, rng: Random, member: int, timeout_ticks: int, retry_ticks: int) -> None:
        self._waiting: list[_Read] = []
        self._again: list[_Read] = []
        """They wait for a second answer, as the first did not come."""
        self._asked: dict[bytes, tuple[int, list[_Read]]] = {}
        """Context -> (when, who)."""
        self._confirmed: list[tuple[int, int, list[_Read]]] = []
        """A heap of (index, number, who)."""
        self._member, self._next = member, rng.getrandbits(62)
        self._timeout_ticks, self._retry_ticks = timeout_ticks, retry_ticks
        self._tick = 0

    def ask(self, done: Served) -> None:
        self._waiting.append(_Read(done, self._tick))

    def feed(self, node: RawNode) -> None:
        """One question for all that wait, where there is a leader to ask."""
        if not (self._waiting or self._again) or not node.lead or len(self._asked) >= ASKED_MAX:
            return
        self._next += 1
        context = self._member.to_bytes(8, "big") + self._next.to_bytes(8, "big")
        try:
            node.read_index(context)
        except ProposalDropped:
            return
        self._asked[context] = self._tick, self._again + self._waiting
        self._again, self._waiting = [], []

    def confirm(self, states: Sequence[ReadState], applied: int) -> None:
        for state in states:
            found = self._asked.pop(state.context, None)
            if found is not None:
                self._next += 1
                heappush(self._confirmed, (state.index, self._next, found[1]))
        self.serve(applied)

    def serve(self, applied: int) -> None:
        while self._confirmed and self._confirmed[0][0] <= applied:
            for read in heappop(self._confirmed)[2]:
                read.done(None)

    def leader_changed(self) -> None:
        asked = [*self._again, *(read for _, reads in self._asked.values() for read in reads)]
        self._again, self._asked = [], {}
        _end(asked, LeaderChanged())

    def tick(self) -> None:
        self._tick += 1
        for context, (tick, reads) in list(self._asked.items()):
            if tick > self._tick - self._retry_ticks:
                break
            del self._asked[context]
            self._again += reads
        oldest = self._tick - self._timeout_ticks
        late = [read for read in (*self._again, *self._waiting) if read.tick <= oldest]
        if late:
            self._again = [read for read in self._again if read.tick > oldest]
            self._waiting = [read for read in self._waiting if read.tick > oldest]
            _end(late, RequestTimedOut())

    def fail(self, error: Exception) -> None:
        """All of them."""
        waiting = [*self._again, *self._waiting, *(r for _, reads in self._asked.values() for r in reads), *(r for *_, reads in self._confirmed for r in reads)]
        self._again, self._waiting, self._asked, self._confirmed = [], [], {}, []
        _end(waiting, error)


def _end(reads: Sequence[_Read], error: Exception) -> None:
    for read in reads:
        read.done(error)
