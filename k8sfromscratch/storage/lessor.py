"""What the leader does for leases: it ends those whose time is over, and writes down now and then how much time the others have left.

    granted or renewed ─► time runs, on the leader's clock only ─┬─► over: a REVOKE is proposed, and its keys go on every member
                                                                 └─► now and then: what is left is proposed (LEASE_CHECKPOINT)

Without checkpoints a new leader lets every lease live a whole time to live again: one of an hour never ends where leaders change every half hour.
With them it goes on from what was left.  A renewal takes the mark away before it is answered, or the next leader would end what was just renewed.

    invariant: only a member that leads and has applied an entry of its own term ends or renews leases: by then it knows all of them
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from k8sfromscratch.core.mvcc.lease import Lease
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Clock
from k8sfromscratch.storage.group import NotLeader
from k8sfromscratch.storage.machine import Kind
from k8sfromscratch.storage.proposals import Done, awaited

EXPIRE_EVERY_S = 0.5
"""How often it is looked which leases are over: upstream's."""
CHECKPOINT_EVERY_S = 300.0
"""Upstream's.  What is shorter is not worth a mark."""
CHECKPOINTS_MAX = 1000
"""In one record."""

Propose = Callable[[Kind, bytes, Any, Done], None]


class Lessor:
    def __init__(self, store: MvccStore, clock: Clock, leads: Callable[[], bool], propose: Propose, checkpoint_every_s: float) -> None:
        """`propose` is for what only this term's leader may say; `checkpoint_every_s` is 0 for never."""
        self._store, self._clock, self._leads, self._propose = store, clock, leads, propose
        self._checkpoint_every_s = checkpoint_every_s
        self._ending: set[int] = set()
        """Leases whose REVOKE is on its way."""
        self._marking: set[int] = set()
        """Leases with a mark on its way: a renewal has to take it away, though it is not seen yet."""

    async def run(self) -> None:
        """Until cancelled."""
        marked_at = self._clock.monotonic()
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            now = self._clock.monotonic()
            if not self._leads():
                continue
            for lease in self._store.leases.expired(now):
                self._end(lease)
            if self._checkpoint_every_s and now - marked_at >= self._checkpoint_every_s:
                marked_at = now
                self.mark(self._store.leases.to_checkpoint(now, self._checkpoint_every_s))

    async def renew(self, lease: int) -> Lease:
        """Raises LeaseNotFound; NotLeader or Unavailable where the mark may have stayed, and the lease may end as if it had not been renewed."""
        renewed = self._store.leases.keep_alive(lease, self._clock.monotonic())
        if renewed.remaining_s or lease in self._marking:
            cleared, done = awaited()
            self._checkpoint({lease: 0}, done)
            await cleared
            if not self._leads():
                raise NotLeader
        return renewed

    def _end(self, lease: int) -> None:
        if lease not in self._ending:
            self._ending.add(lease)
            self._propose(Kind.REVOKE, m.LeaseRevokeRequest(ID=lease).SerializeToString(), lease, lambda *_: self._ending.discard(lease))

    def mark(self, left_s: Mapping[int, int]) -> None:
        leases = list(left_s)
        for start in range(0, len(leases), CHECKPOINTS_MAX):
            part = {lease: left_s[lease] for lease in leases[start : start + CHECKPOINTS_MAX]}
            self._marking.update(part)
            self._checkpoint(part, lambda *_, part=part: self._marking.difference_update(part))

    def _checkpoint(self, left_s: dict[int, int], done: Done) -> None:
        checkpoints = [m.LeaseCheckpoint(ID=lease, remaining_TTL=seconds) for lease, seconds in left_s.items()]
        self._propose(Kind.LEASE_CHECKPOINT, m.LeaseCheckpointRequest(checkpoints=checkpoints).SerializeToString(), left_s, done)
