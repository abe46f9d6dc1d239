"""The MVCC store in this process: what `kfs up`, tests and simulations store in.

Without threads and files, it runs on a virtual-time loop as well.  Leases expire by a timer of the running loop.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from k8sfromscratch.core.mvcc import errors
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.mvcc.types import Compare, Op, RangeOp, RangeResult, TxnOp, TxnResult, WatchBatch
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.interface import Compacted, FutureRevision, LeaseNotFound, StorageError, Unavailable
from k8sfromscratch.storage.watchers import Watcher, WatcherGroup


class LocalStorage:
    """Implements `storage.interface.Storage` over an MvccStore."""

    def __init__(self, store: MvccStore, env: Env) -> None:
        self._store, self._env = store, env
        self._watchers = WatcherGroup()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @classmethod
    def memory(cls, env: Env) -> "LocalStorage":
        return cls(MvccStore(), env)

    async def range(self, op: RangeOp) -> RangeResult:
        self._check_open()
        try:
            return self._store.range(op)
        except errors.MvccError as error:
            raise translated(error) from error

    async def txn(self, compare: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        self._check_open()
        try:
            result, events = self._store.txn(TxnOp(compare, success, failure))
        except errors.MvccError as error:
            raise translated(error) from error
        if events:
            self._watchers.publish(result.revision, events)
        return result

    async def watch(self, key: bytes, range_end: bytes = b"", *, start_revision: int = 0, prev_kv: bool = False) -> AsyncIterator[WatchBatch]:
        self._check_open()
        watcher = Watcher(key, range_end, prev_kv, self._store.revision)
        if 0 < start_revision <= self._store.revision:
            try:
                for revision, events in self._store.events(key, range_end, start_revision, self._store.revision, prev_kv=prev_kv):
                    watcher.put(WatchBatch(revision, events))
            except errors.MvccError as error:
                raise translated(error) from error
        self._watchers.add(watcher)
        async for batch in self._watchers.read(watcher):
            if not batch.events or batch.revision >= start_revision:
                yield batch

    async def request_progress(self) -> None:
        self._check_open()
        self._watchers.progress(self._store.revision)

    async def lease_grant(self, ttl_s: int) -> int:
        self._check_open()
        lease = self._env.rng.getrandbits(63) or 1
        self._store.leases.grant(lease, ttl_s, self._env.clock.monotonic())
        self._set_timer()
        return lease

    async def lease_keep_alive(self, lease: int) -> int:
        self._check_open()
        try:
            return self._store.leases.keep_alive(lease, self._env.clock.monotonic()).ttl_s
        except errors.MvccError as error:
            raise translated(error) from error

    async def lease_revoke(self, lease: int) -> None:
        self._check_open()
        try:
            events = self._store.revoke(lease)
        except errors.MvccError as error:
            raise translated(error) from error
        if events:
            self._watchers.publish(self._store.revision, events)

    async def compact(self, revision: int) -> None:
        self._check_open()
        try:
            self._store.compact(revision)
        except errors.MvccError as error:
            raise translated(error) from error

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._watchers.fail_all(Unavailable("the store was closed"))

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the store was closed")

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._store.leases.next_expiry()
        if at is not None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(max(at - self._env.clock.monotonic(), 0.0), self._expire)

    def _expire(self) -> None:
        for lease in self._store.leases.expired(self._env.clock.monotonic()):
            events = self._store.revoke(lease)
            if events:
                self._watchers.publish(self._store.revision, events)
        self._set_timer()


def translated(error: errors.MvccError) -> StorageError:
    """The store's refusal as the interface names it."""
    match error:
        case errors.Compacted():
            return Compacted(error.compact_revision)
        case errors.FutureRevision():
            return FutureRevision(str(error))
        case errors.LeaseNotFound():
            return LeaseNotFound(str(error))
        case _:
            return StorageError(str(error))
