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
from pathlib import Path
from typing import Any, BinaryIO

from k8sfromscratch.core.mvcc.errors import MvccError
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.mvcc.types import Event
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.interface import StorageError, Unavailable
from k8sfromscratch.storage.lmdb_backend import LmdbBackend, Meta
from k8sfromscratch.storage.machine import Kind, Machine, read
from k8sfromscratch.storage.snapshot import write_snapshot
from k8sfromscratch.storage.wal import Wal

log = logging.getLogger(__name__)


COMMIT_EVERY_S = 0.1
"""The file is committed so often, as etcd's backend does."""
FRESH_MAX = 100_000
"""Changes that may wait for the file; when its disk is slower than the log's, writes wait for it."""
QUEUE_MAX = 5000
"""Proposals that may wait for the log; then they are refused, as etcd does at the same number."""
TXN_OPS_MAX = 128
QUOTA_BYTES = 2 * 1024 * 1024 * 1024
EXPIRE_EVERY_S = 0.5


class Overloaded(Unavailable):
    """The proposal was not begun."""


Outcome = Any
Done = Callable[[Outcome | None, Exception | None], None]
"""Called with the result, or with an MvccError where the store refused, or Unavailable where the disk failed."""
Published = Callable[[int, Sequence[Event]], None]


@dataclass(slots=True)
class Proposal:
    kind: int
    payload: bytes
    op: Any
    done: Done | None


class Engine:
    def __init__(self, machine: Machine, backend: LmdbBackend, wal: Wal, applied: int, env: Env, quota_bytes: int) -> None:
        self.machine, self.store, self.applied = machine, machine.store, applied
        self._backend, self._wal, self._env, self._quota_bytes = backend, wal, env, quota_bytes
        self._queue: list[Proposal] = []
        self._frame: asyncio.Future[None] | None = None
        """What is being synced."""
        self._scheduled = False
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="wal")
        self._file = ThreadPoolExecutor(1, thread_name_prefix="lmdb")
        self._subscribers: list[Published] = []
        self._committing: asyncio.Task[None] | None = None
        """What has the file to itself: a commit, or a defragmentation."""
        self._filed, self._filed_changes = 0, -1
        """Up to which record the file reaches, and how many of the machine's changes it has."""
        self._long_work = asyncio.Lock()
        """A snapshot, a hash and a defragmentation wait for one another."""
        self._failure: StorageError | None = None
        """Of a disk: what is acknowledged is in the log, and nothing more is taken."""
        self._closed = False
        self._over_quota = self._is_over_quota()
        self.fsyncs = 0

    @classmethod
    async def open(cls, data_dir: Path, env: Env, *, quota_bytes: int = QUOTA_BYTES) -> "Engine":
        """Reads what is there, mends the log's end; the directory is this process's alone until `close`.  Raises WalError, OSError."""
        return await asyncio.to_thread(cls._open, data_dir, env, quota_bytes)

    @classmethod
    def _open(cls, data_dir: Path, env: Env, quota_bytes: int) -> "Engine":
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        wal = Wal(data_dir / "wal")
        backend = None
        try:
            wal.lock()
            backend = LmdbBackend(data_dir / "db", quota_bytes)
            return cls._restore(backend, wal, env, quota_bytes)
        except BaseException:
            wal.close()
            if backend is not None:
                backend.close()
            raise

    @classmethod
    def _restore(cls, backend: LmdbBackend, wal: Wal, env: Env, quota_bytes: int) -> "Engine":
        meta, leases, buckets = backend.load()
        store = MvccStore(backend)
        machine = Machine(store)
        machine.restore(buckets)
        store.restore(backend.values(), meta.revision, meta.compact_revision)
        now = env.clock.monotonic()
        for lease, ttl_s in leases.items():
            store.leases.grant(lease, ttl_s, now)
        store.attach_leases()
        applied = meta.index
        for record in wal.open(meta.index):
            try:
                machine.apply(record.kind, read(record.kind, record.payload), now)
            except MvccError:
                log.debug("record %d was refused when it was made, and is again", record.index)
            applied = record.index
        return cls(machine, backend, wal, applied, env, quota_bytes)

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
        if self._failure is not None or self._closed:
            if done is not None:
                done(None, self._failure or Unavailable("the store was closed"))
            return
        if len(self._queue) >= QUEUE_MAX:
            if done is not None:
                done(None, Overloaded("too many requests"))
            return
        self._queue.append(Proposal(kind, payload, op, done))
        if self._frame is None and not self._scheduled:
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
        """Lets what is being written end, commits the file, closes.  Nothing is taken any more."""
        self._closed = True
        while self._failure is None and (self._queue or self._frame is not None):
            if self._frame is None:
                await self._commit()  # what is queued may have to wait for it
                self._write()
            if self._frame is not None:
                await asyncio.wait([self._frame])
        if self._committing is not None:
            await asyncio.wait([self._committing])
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
        if not self._queue or self._frame is not None or self._backend.fresh >= FRESH_MAX:
            return
        batch, self._queue = self._queue, []
        frame = [(p.kind, p.payload) for p in batch]
        self._frame = asyncio.get_running_loop().run_in_executor(self._disk, self._wal.append, frame)
        self._frame.add_done_callback(lambda done: self._written(batch, done))

    def _written(self, batch: list[Proposal], future: "asyncio.Future[None]") -> None:
        self._frame = None
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
                result, revision, events = self.machine.apply(proposal.kind, proposal.op, now)
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
            if self._backend.fresh or self.machine.changes != self._filed_changes:
                await self._commit()

    async def _commit(self) -> None:
        """Who waits may be cancelled: the commit goes on, and `close` awaits it."""
        if self._committing is None:
            self._committing = asyncio.get_running_loop().create_task(self._commit_now(), name="commit")
        await asyncio.shield(self._committing)

    async def _commit_now(self) -> None:
        try:
            meta = Meta(self.applied, self.store.revision, self.store.compact_revision)
            leases = {lease.id: lease.ttl_s for lease in self.store.leases.all()}
            changes = self.machine.changes
            buckets = self.machine.buckets() if changes != self._filed_changes else None
            self._backend.begin_commit()
            await asyncio.get_running_loop().run_in_executor(self._file, self._backend.commit, meta, leases, buckets)
            self._backend.end_commit()
            self._filed, self._filed_changes = meta.index, changes
            self._wal.drop_below(meta.index + 1)
            self._over_quota = self._is_over_quota()
        except Exception as error:
            self._failure = Unavailable(f"the database file failed: {error}")
            raise
        finally:
            self._committing = None
        self._write()

    # The file as a whole

    async def flush(self) -> None:
        """Returns when the file holds everything that is applied now.  Raises Unavailable."""
        wanted = self.applied
        while self._filed < wanted:
            if self._failure is not None:
                raise self._failure
            await self._commit()

    async def snapshot(self, file: BinaryIO) -> None:
        """Writes everything that is applied now, at one revision, as a database of upstream's with its checksum behind it."""
        async with self._long_work:
            await self.flush()
            await asyncio.to_thread(write_snapshot, self._backend, file)

    async def checksum(self, revision: int) -> int:
        """Of all that is kept up to a revision, 0 for the latest: equal on members that have applied and compacted the same."""
        async with self._long_work:
            await self.flush()
            return await asyncio.to_thread(self._backend.checksum, revision or self.store.revision)

    async def defragment(self) -> None:
        """Copies the file without its free pages, and goes on with the copy.  Writes are logged and answered meanwhile."""
        async with self._long_work:
            while self._committing is not None:
                await asyncio.wait([self._committing])
            self._committing = asyncio.get_running_loop().create_task(self._defragment_now(), name="defragment")
            await asyncio.shield(self._committing)

    async def _defragment_now(self) -> None:
        try:
            copy = await asyncio.get_running_loop().run_in_executor(self._file, self._backend.compacted_copy)
            self._backend.adopt(copy)
            self._over_quota = self._is_over_quota()
        except Exception as error:
            self._failure = Unavailable(f"the database file failed: {error}")
            raise
        finally:
            self._committing = None

    def _is_over_quota(self) -> bool:
        """By the pages in use, not the file's size: pages that compaction frees are used again, so it is enough to compact."""
        return self._backend.size_bytes()[1] > self._quota_bytes

    async def _expire_often(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            for lease in self.store.leases.expired(self._env.clock.monotonic()):
                self.propose(Kind.REVOKE, m.LeaseRevokeRequest(ID=lease).SerializeToString(), lease)
