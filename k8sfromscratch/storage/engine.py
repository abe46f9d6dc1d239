"""One member's state machine on disk: proposals go into the log, and only when they are there into the store.

    propose ─► queue ─(all of this loop turn)─► one frame of the log, synced in a thread ─► applied in order ─► answered, watchers told
                                                                                   └─► now and then: commit of the B+tree file, log cut

Nothing that is not durable can be read: a value becomes visible when its frame is on the disk.  Where Raft comes in, it stands between `propose` and
the log; the rest stays.

    invariant: `applied` is the index of the last record in the store, and the file's meta never says more than the log holds.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from k8sfromscratch.core.mvcc.errors import MvccError
from k8sfromscratch.core.mvcc.lease import Lease
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.mvcc.types import DeleteOp, Event, PutOp, TxnOp, TxnResult
from k8sfromscratch.core.rpc import etcd_convert as convert
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.interface import StorageError, Unavailable
from k8sfromscratch.storage.lmdb_backend import LmdbBackend, Meta
from k8sfromscratch.storage.wal import Wal, WalError

log = logging.getLogger(__name__)


class Kind(IntEnum):
    """Kinds of records; the payload is etcd's request message of that name."""

    PUT = 1
    DELETE = 2
    TXN = 3
    COMPACT = 4
    GRANT = 5
    REVOKE = 6


COMMIT_EVERY_S = 0.1
COMMIT_CHANGES = 10_000
"""The file is committed when so much time has passed, or so many changes have gathered, as etcd's backend does."""
TXN_OPS_MAX = 128
QUOTA_BYTES = 2 * 1024 * 1024 * 1024
EXPIRE_EVERY_S = 0.5

Outcome = Any
Done = Callable[[Outcome | None, Exception | None], None]
"""Called with the result, or with an MvccError where the store refused, or Unavailable where the disk failed."""
Published = Callable[[int, Sequence[Event]], None]


@dataclass(frozen=True, slots=True)
class Proposal:
    kind: int
    payload: bytes
    op: Any
    done: Done | None


class Engine:
    def __init__(self, store: MvccStore, backend: LmdbBackend, wal: Wal, applied: int, env: Env, quota_bytes: int) -> None:
        self.store, self.applied = store, applied
        self._backend, self._wal, self._env, self._quota_bytes = backend, wal, env, quota_bytes
        self._queue: list[Proposal] = []
        self._writing = False
        self._scheduled = False
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="wal")
        self._file = ThreadPoolExecutor(1, thread_name_prefix="lmdb")
        self._subscribers: list[Published] = []
        self._committing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: StorageError | None = None
        self._over_quota = False
        self.fsyncs = 0

    @classmethod
    async def open(cls, data_dir: Path, env: Env, *, quota_bytes: int = QUOTA_BYTES) -> "Engine":
        """Reads what is there, mends the log's end.  Raises WalError, OSError."""
        return await asyncio.to_thread(cls._open, data_dir, env, quota_bytes)

    @classmethod
    def _open(cls, data_dir: Path, env: Env, quota_bytes: int) -> "Engine":
        backend = LmdbBackend(data_dir / "db", quota_bytes)
        meta, leases = backend.load()
        store = MvccStore(backend)
        store.restore(backend.values(), meta.revision, meta.compact_revision)
        now = env.clock.monotonic()
        for lease, ttl_s in leases.items():
            store.leases.grant(lease, ttl_s, now)
        store.attach_leases()
        wal = Wal(data_dir / "wal")
        applied = meta.index
        for record in wal.open(meta.index):
            try:
                _apply(store, record.kind, _read(record.kind, record.payload), now)
            except MvccError:
                log.debug("record %d was refused when it was made, and is again", record.index)
            applied = record.index
        return cls(store, backend, wal, applied, env, quota_bytes)

    async def run(self) -> None:
        """Commits the file and ends leases, until cancelled.  Raises when the disk fails: the process must end, the log is whole."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._commit_often(), name="commits")
            tasks.create_task(self._expire_often(), name="leases")

    def subscribe(self, published: Published) -> None:
        """`published(revision, events)` is called in order for every revision that is applied; the events carry prev_kv."""
        self._subscribers.append(published)

    def propose(self, kind: int, payload: bytes, op: Any, done: Done | None = None) -> None:
        """`done` is called once, when the proposal is durable and applied, or has failed."""
        if self._failure is not None:
            if done is not None:
                done(None, self._failure)
            return
        self._queue.append(Proposal(kind, payload, op, done))
        if not self._writing and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._write)

    async def proposed(self, kind: int, payload: bytes, op: Any) -> Outcome:
        """The same, awaited."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(result: Outcome | None, error: Exception | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.propose(kind, payload, op, done)
        return await future

    @property
    def over_quota(self) -> bool:
        return self._over_quota

    def size_bytes(self) -> tuple[int, int]:
        return self._backend.size_bytes()

    async def close(self) -> None:
        """Lets what is being written end, commits the file, closes."""
        while self._writing or self._queue:
            await asyncio.sleep(0.001)
        if self._failure is None:
            await self._commit()
        self._disk.shutdown()
        self._file.shutdown()
        self._wal.close()
        self._backend.close()

    # The log

    def _write(self) -> None:
        """Takes everything that waits and has it synced; the next frame is begun when this one is applied."""
        self._scheduled = False
        if not self._queue or self._writing:
            return
        batch, self._queue = self._queue, []
        self._writing = True
        frame = [(p.kind, p.payload) for p in batch]
        future = asyncio.get_running_loop().run_in_executor(self._disk, self._wal.append, frame)
        future.add_done_callback(lambda done: self._written(batch, done))

    def _written(self, batch: list[Proposal], future: "asyncio.Future[None]") -> None:
        self._writing = False
        error = None if future.cancelled() else future.exception()
        if error is not None or future.cancelled():
            # What of the frame is on the disk is unknown: nothing more may be acknowledged before the log has been read again.
            self._failure = Unavailable(f"the write-ahead log failed: {error}")
            log.critical("the write-ahead log failed, no write is taken any more: %s", error)
            for proposal in [*batch, *self._queue]:
                if proposal.done is not None:
                    proposal.done(None, self._failure)
            self._queue.clear()
            return
        self.fsyncs += 1
        now = self._env.clock.monotonic()
        for proposal in batch:
            self.applied += 1
            try:
                result, revision, events = _apply(self.store, proposal.kind, proposal.op, now)
            except MvccError as refused:
                if proposal.done is not None:
                    proposal.done(None, refused)
                continue
            if events:
                for published in self._subscribers:
                    published(revision, events)
            if proposal.done is not None:
                proposal.done(result, None)
        if self._queue:
            self._write()

    # The file

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            if self._failure is not None:
                raise self._failure
            if self._backend.fresh:
                await self._commit()

    async def _commit(self) -> None:
        meta = Meta(self.applied, self.store.revision, self.store.compact_revision)
        leases = {lease.id: lease.ttl_s for lease in self.store.leases.all()}
        self._backend.begin_commit()
        await asyncio.get_running_loop().run_in_executor(self._file, self._backend.commit, meta, leases)
        self._backend.end_commit()
        self._wal.drop_below(meta.index + 1)
        self._over_quota = self._backend.size_bytes()[0] > self._quota_bytes

    async def _expire_often(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            for lease in self.store.leases.expired(self._env.clock.monotonic()):
                self.propose(Kind.REVOKE, m.LeaseRevokeRequest(ID=lease).SerializeToString(), lease)


def _read(kind: int, payload: bytes) -> Any:
    """A record's payload as what `_apply` takes."""
    match kind:
        case Kind.PUT:
            return convert.put_op(m.PutRequest.FromString(payload))
        case Kind.DELETE:
            return convert.delete_op(m.DeleteRangeRequest.FromString(payload))
        case Kind.TXN:
            return convert.txn_op(m.TxnRequest.FromString(payload), 2**31)
        case Kind.COMPACT:
            return m.CompactionRequest.FromString(payload).revision
        case Kind.GRANT:
            grant = m.LeaseGrantRequest.FromString(payload)
            return grant.ID, grant.TTL
        case Kind.REVOKE:
            return m.LeaseRevokeRequest.FromString(payload).ID
        case _:
            raise WalError(f"a record of the unknown kind {kind}: was it written by a newer version?")


def _apply(store: MvccStore, kind: int, op: Any, now: float) -> tuple[TxnResult | Lease | None, int, list[Event]]:
    """(result, revision, events).  Raises MvccError, having changed nothing."""
    match kind:
        case Kind.PUT | Kind.DELETE:
            assert isinstance(op, PutOp | DeleteOp)
            result, events = store.txn(TxnOp(success=(op,)))
            return result, result.revision, events
        case Kind.TXN:
            result, events = store.txn(op)
            return result, result.revision, events
        case Kind.COMPACT:
            store.compact(op)
            return None, store.revision, []
        case Kind.GRANT:
            return store.leases.grant(op[0], op[1], now), store.revision, []
        case _:
            events = store.revoke(op)
            return None, store.revision, events
