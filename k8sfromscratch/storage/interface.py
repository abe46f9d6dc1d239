"""The etcd v3 interface that the apiserver stores through.

Three backends speak it and one contract suite (`tests/storage`) holds them to it: our etcd and upstream's over gRPC
(`storage.remote`), and the MVCC store in this process (`storage.local`).

    StorageError
    ├── Compacted(compact_revision)   a read or a watch below the compacted revision: list again
    ├── FutureRevision                a read above the latest revision
    ├── LeaseNotFound
    ├── NoSpace                       the quota is used up
    └── Unavailable                   not reached, or it does not know whether a write was done: safe to retry reads only
        └── DiskFailed                in this process: nothing more is taken, and what was acknowledged is there after the next start
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from k8sfromscratch.core.mvcc.types import Compare, Op, RangeOp, RangeResult, TxnResult, WatchBatch


class StorageError(Exception):
    pass


class Compacted(StorageError):
    """`compact_revision` is 0 where the store did not say it."""

    def __init__(self, compact_revision: int) -> None:
        super().__init__("the required revision has been compacted" + (f": the oldest kept is {compact_revision}" if compact_revision else ""))
        self.compact_revision = compact_revision


class FutureRevision(StorageError):
    pass


class LeaseNotFound(StorageError):
    pass


class NoSpace(StorageError):
    pass


class Unavailable(StorageError):
    pass


class DiskFailed(Unavailable):
    """It is full, or broken."""


class Storage(Protocol):
    async def range(self, op: RangeOp) -> RangeResult: ...

    async def txn(self, compare: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        """Atomic.  When it returns, what it wrote is durable."""
        ...

    def watch(self, key: bytes, range_end: bytes = b"", *, start_revision: int = 0, prev_kv: bool = False) -> AsyncIterator[WatchBatch]:
        """Events in order of revision from `start_revision` on (0: from now), each exactly once, plus progress marks.
        The iterator ends by raising: Compacted, or Unavailable when the connection is lost.  Close it with `aclose()`."""
        ...

    async def request_progress(self) -> None:
        """Asks every open watch for a progress mark (a WatchBatch without events) with the store's present revision, sent once
        the watch has had everything up to it."""
        ...

    async def lease_grant(self, ttl_s: int) -> int: ...

    async def lease_keep_alive(self, lease: int) -> int:
        """Renews once; the granted time to live in seconds.  Raises LeaseNotFound when it has expired."""
        ...

    async def lease_revoke(self, lease: int) -> None: ...

    async def compact(self, revision: int) -> None: ...

    async def close(self) -> None: ...
