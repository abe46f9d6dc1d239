"""What was proposed here and is not applied yet: who waits for it, in which order it goes to Raft, and when one gives up.

    propose ─► queue ─(a leader is known)─► Raft, all of this loop turn at once ─► pending ─(applied here, found by its request number)─► done

What waits in the queue was not begun: it waits for a leader, as upstream's does.  What is pending may be lost on its way to a leader, or with it; it
is never proposed again, as it could then be done twice.  Both end by the same timeout.

What a leader proposes because it leads, the end of a lease, is begun by itself in that term or not at all: while it waited another may have taken
over, with whom the lease was renewed, and would be asked to end it.

    invariant: `done` is called exactly once for every proposal that was taken
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from k8sfromscratch.core.raft.node import RawNode
from k8sfromscratch.core.raft.types import ConfChangeRefused, ConfChangeV2, ProposalDropped, Role
from k8sfromscratch.storage.entries import encode_head, with_context
from k8sfromscratch.storage.group import LastVoter, LeaderChanged, MemberInfo, RequestTimedOut
from k8sfromscratch.storage.interface import Unavailable

QUEUE_MAX = 5000
"""Proposals that may wait for the log, and as many for being applied; then they are refused, as etcd does at the same number."""
BATCH_BYTES = 4 * 1024 * 1024
"""What goes to Raft at once: one message, where another member leads."""

Done = Callable[[Any, Exception | None], None]
"""Called with the result, or with an MvccError where the store refused, MembershipRefused where a change of members did, or Unavailable where a
disk failed or nothing was heard in time."""


class Overloaded(Unavailable):
    """The proposal was not begun."""


@dataclass(slots=True)
class Proposal:
    request: int
    data: bytes
    op: Any
    done: Done | None
    tick: int
    """When it was made."""
    change: ConfChangeV2 | None = None
    term: int = 0
    """Only this member may begin it, leading in this term."""

    def too_late(self, node: RawNode) -> bool:
        return self.term > 0 and (node.role, node.term) != (Role.LEADER, self.term)


class Proposals:
    def __init__(self, rng: Random, timeout_ticks: int) -> None:
        self.pending: dict[int, Proposal] = {}
        self.queue: list[Proposal] = []
        self._next = rng.getrandbits(63)
        self._timeout_ticks = timeout_ticks
        self._tick = 0
        self._leader_lost = self._leader_found = -1
        """The ticks at which there was none any more, and one again."""
        self.failed = 0

    def add(self, kind: int, payload: bytes, op: Any, done: Done | None, *, term: int = 0) -> None:
        if len(self.queue) >= QUEUE_MAX:
            if done is not None:
                done(None, Overloaded("too many requests"))
            return
        self._next += 1
        self.queue.append(Proposal(self._next, encode_head(kind, self._next) + payload, op, done, self._tick, term=term))

    def add_change(self, change: ConfChangeV2, member: MemberInfo | None, done: Done) -> None:
        self._next += 1
        self.queue.append(Proposal(self._next, b"", None, done, self._tick, with_context(change, self._next, member)))

    def feed(self, node: RawNode) -> None:
        """Gives Raft what it takes now; the rest stays."""
        while self.queue and node.lead and len(self.pending) < QUEUE_MAX:
            if self.queue[0].too_late(node):
                self._end(self.queue.pop(0), LeaderChanged())
                continue
            count = self._feed(node)
            if not count:
                return
            for proposal in self.queue[:count]:
                self.pending[proposal.request] = proposal
            del self.queue[:count]

    def _feed(self, node: RawNode) -> int:
        """How many were begun."""
        first, payloads, size = self.queue[0], [], 0
        try:
            if first.change is not None:
                node.propose_conf_change(first.change)
                return 1
            for proposal in self.queue:
                if size > BATCH_BYTES or proposal.change is not None or proposal.too_late(node):
                    break
                payloads.append(proposal.data)
                size += len(proposal.data)
            node.propose(*payloads)
        except ProposalDropped:
            return 0
        except ConfChangeRefused:
            del self.queue[0]
            if first.done is not None:
                first.done(None, LastVoter())
            return 0
        return len(payloads)

    def leader_changed(self, lead: int) -> None:
        if lead:
            self._leader_found = self._tick
        else:
            self._leader_lost = self._tick

    def tick(self) -> None:
        """Ends what has waited too long; both are in the order of their making."""
        self._tick += 1
        oldest = self._tick - self._timeout_ticks
        late: list[Proposal] = []
        for proposal in self.pending.values():
            if proposal.tick > oldest:
                break
            late.append(proposal)
        for proposal in late:
            del self.pending[proposal.request]
        while self.queue and self.queue[0].tick <= oldest:
            late.append(self.queue.pop(0))
        for proposal in late:
            self._end(proposal, self._timeout(proposal))

    def _timeout(self, proposal: Proposal) -> RequestTimedOut:
        """With upstream's guess at the reason."""
        if self._leader_lost > self._leader_found:
            return RequestTimedOut("possibly due to connection lost")
        if proposal.tick <= self._leader_found:
            return RequestTimedOut("possibly due to previous leader failure")
        return RequestTimedOut()

    def fail(self, error: Exception) -> None:
        """All of them."""
        waiting = [*self.pending.values(), *self.queue]
        self.pending.clear()
        self.queue.clear()
        for proposal in waiting:
            self._end(proposal, error)

    def _end(self, proposal: Proposal, error: Exception) -> None:
        self.failed += 1
        if proposal.done is not None:
            proposal.done(None, error)


def awaited() -> tuple["asyncio.Future[Any]", Done]:
    """(what is awaited, what ends it): for callers that may be cancelled meanwhile."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    return future, done
