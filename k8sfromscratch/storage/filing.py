"""The B+tree file beside the log: committed now and then, and read, copied or replaced as a whole.

    applied ─► fresh values in memory ─(every COMMIT_EVERY_S)─► one transaction with all of them and the index up to which they reach ─► log cut

A commit, a defragmentation and the arrival of a leader's snapshot have the file to themselves; a hash and a snapshot only read it, beside commits.

    invariant: what the file says it reaches (`filed`) is in the file, and never more than the log has
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, Protocol

import lmdb

from k8sfromscratch.storage.interface import DiskFailed, Unavailable
from k8sfromscratch.storage.lmdb_backend import Checksum, CopyFailed, LmdbBackend, Meta
from k8sfromscratch.storage.machine import Machine
from k8sfromscratch.storage.snapshot import write_snapshot

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 0.1
"""The file is committed so often, as etcd's backend does."""


class Owner(Protocol):
    @property
    def failure(self) -> Exception | None: ...

    def meta(self) -> Meta:
        """What is applied now."""
        ...

    def filed(self, meta: Meta) -> None:
        """The file reaches up to there."""
        ...

    def filled(self) -> None:
        """The quota is used up since now."""
        ...

    def fail(self, error: Exception) -> None: ...


class Filing:
    def __init__(self, backend: LmdbBackend, machine: Machine, filed: Meta, quota_bytes: int, owner: Owner) -> None:
        self.backend, self._machine, self._quota_bytes, self._owner = backend, machine, quota_bytes, owner
        self.filed = filed
        self._filed_changes = machine.changes
        """How many of the machine's changes the file has."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lmdb")
        self._busy: asyncio.Task[None] | None = None
        """What has the file to itself."""
        self._long_work = asyncio.Lock()
        """A snapshot, a hash and a defragmentation wait for one another."""
        self.over_quota = self._is_over_quota()

    async def commit_often(self) -> None:
        """Until cancelled.  Raises when the disk fails."""
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            if self._owner.failure is not None:
                raise self._owner.failure
            if self.backend.fresh or self._machine.changes != self._filed_changes:
                await self.commit()

    async def commit(self) -> None:
        """Who waits may be cancelled: the commit goes on, and `close` awaits it."""
        if self._busy is None:
            self._busy = asyncio.get_running_loop().create_task(self._alone(self._commit), name="commit")
        await asyncio.shield(self._busy)

    async def flush(self) -> None:
        """Returns when the file holds everything that is applied now.  Raises Unavailable."""
        wanted = self._owner.meta().index
        while self.filed.index < wanted:
            if self._owner.failure is not None:
                raise self._owner.failure
            await self.commit()

    async def snapshot(self, file: BinaryIO) -> None:
        """Writes everything that is applied now, at one revision, as a database of upstream's with its checksum behind it."""
        async with self._long_work:
            await self.flush()
            await asyncio.to_thread(write_snapshot, self.backend, file)

    async def checksum(self, revision: int) -> Checksum:
        """Of all that is kept up to a revision, 0 for what is applied now."""
        async with self._long_work:
            await self.flush()
            return await asyncio.to_thread(self.backend.checksum, revision)

    @asynccontextmanager
    async def copy(self, folder: Path) -> AsyncIterator[tuple[Meta, BinaryIO]]:
        """The file as it is at one moment, and what it stands for; gone behind the context."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, suffix=".mdb") as named:
            async with self._long_work:
                meta = await asyncio.to_thread(self.backend.copy_for_peer, Path(named.name))
            with await asyncio.to_thread(open, named.name, "rb") as file:
                yield meta, file

    async def defragment(self) -> None:
        """Copies the file without its free pages, and goes on with the copy.  Writes are logged and answered meanwhile.  Raises CopyFailed."""
        failed: list[CopyFailed] = []

        async def work() -> None:
            try:
                await self._defragment()
            except CopyFailed as error:  # the file is as it was, and others wait for it
                failed.append(error)

        async with self._long_work:
            await self.exclusively(work)
        if failed:
            raise failed[0]

    async def exclusively(self, work: Callable[[], Awaitable[None]]) -> None:
        """Has it done when nobody else changes the file; its failure is the member's.  Who waits may be cancelled: it goes on."""
        while self._busy is not None:
            await asyncio.wait([self._busy])
        self._busy = asyncio.get_running_loop().create_task(self._alone(work), name="file")
        await asyncio.shield(self._busy)

    def replaced(self, copy: Path, meta: Meta) -> None:
        """Within `exclusively`: goes on with a file of other content."""
        self.backend.adopt(copy, other_content=True)
        self.filed, self._filed_changes = meta, self._machine.changes
        self._measure()

    async def finish(self) -> None:
        """At the end: files what is not, so that the next start has little to read of the log."""
        if self.filed.index < self._owner.meta().index:
            await self.commit()

    async def settle(self) -> None:
        """Returns when nobody changes the file."""
        while self._busy is not None:
            await asyncio.wait([self._busy])

    def close(self) -> None:
        self._thread.shutdown()
        self.backend.close()

    async def _alone(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            log.critical("the database file failed, nothing is taken any more: %s", error)
            failed = DiskFailed if isinstance(error, OSError | lmdb.Error) else Unavailable
            failure = failed(f"the database file failed: {error}")
            self._owner.fail(failure)
            raise failure from error  # whoever waits for it, a client's call perhaps, can tell that
        finally:
            self._busy = None
        self._owner.filed(self.filed)

    async def _commit(self) -> None:
        meta, changes = self._owner.meta(), self._machine.changes
        leases = self._machine.store.leases.lives()
        buckets = self._machine.buckets() if changes != self._filed_changes else None
        self.backend.begin_commit()
        await asyncio.get_running_loop().run_in_executor(self._thread, self.backend.commit, meta, leases, buckets)
        self.backend.end_commit()
        self.filed, self._filed_changes = meta, changes
        self._measure()

    async def _defragment(self) -> None:
        copy = await asyncio.get_running_loop().run_in_executor(self._thread, self.backend.compacted_copy)
        self.backend.adopt(copy)
        self._measure()

    def _measure(self) -> None:
        before, self.over_quota = self.over_quota, self._is_over_quota()
        if self.over_quota and not before:
            self._owner.filled()

    def _is_over_quota(self) -> bool:
        """By the pages in use, not the file's size: pages that compaction frees are used again, so it is enough to compact."""
        return self.backend.size_bytes()[1] > self._quota_bytes
