"""A leader's snapshot at the member that needs it: a database file, looked at and made this member's own before it takes the place of what is there.

    received whole, in `incoming` ─► check ─► state read from it, in a thread ─► Raft takes it, or knows better ─► renamed over the file, log restarted

A crash before the rename leaves what was there; behind it, the file says where it is, and a log that does not fit to it gives way (`wal.Found.void`).
"""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import lmdb

from k8sfromscratch.core.raft.types import Message, Snapshot
from k8sfromscratch.process.clock import Clock
from k8sfromscratch.storage.interface import StorageError
from k8sfromscratch.storage.lmdb_backend import Identity, LmdbBackend, Meta
from k8sfromscratch.storage.machine import Machine
from k8sfromscratch.storage.opening import load


@dataclass(frozen=True, slots=True)
class Arrival:
    file: Path
    machine: Machine
    meta: Meta


class Owner(Protocol):
    def check_serving(self) -> None:
        """Raises what this member refuses with, when it does."""
        ...

    def step(self, message: Message) -> None:
        """Gives it to Raft."""
        ...

    def installing(self, snapshot: Snapshot) -> bool:
        """Whether Raft has taken it, and it is not in the place of everything yet."""
        ...

    @property
    def busy(self) -> bool:
        """Whether something is being written, or installed."""
        ...


class Arrivals:
    """Takes snapshots, one at a time, from their receipt to the moment at which they are everything that there is."""

    def __init__(self, folder: Path, mine: Identity, quota_bytes: int, clock: Clock, owner: Owner) -> None:
        """`folder` is where they are received."""
        self._folder, self._mine, self._quota_bytes, self._clock, self._owner = folder, mine, quota_bytes, clock, owner
        self._arrival: Arrival | None = None
        self.look_again = asyncio.Event()
        """Set by the owner when something has gone on."""
        self._one = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def receive(self, message: Message, file: Path) -> None:
        """See `group.PeerEngine`.  Goes on where its caller is cancelled: what Raft has taken is installed."""
        task = asyncio.get_running_loop().create_task(self._receive(message, file), name="receive a snapshot")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    def of(self, snapshot: Snapshot) -> Arrival:
        """What Raft wants installed."""
        arrival = self._arrival
        assert arrival is not None and arrival.meta.index == snapshot.index, "Raft takes no snapshot that did not arrive"
        return arrival

    async def settle(self) -> None:
        """Returns when none is on its way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _receive(self, message: Message, file: Path) -> None:
        assert message.snapshot is not None
        folder = self._folder / "snapshot"
        async with self._one:
            try:
                self._owner.check_serving()
                now = self._clock.monotonic()
                self._arrival = await asyncio.to_thread(prepare, file, folder, message.snapshot, self._mine, self._quota_bytes, now)
                self._owner.step(message)
                while self._owner.installing(message.snapshot):
                    if not self._owner.busy:
                        self._owner.check_serving()
                    self.look_again.clear()
                    await self.look_again.wait()
            finally:
                self._arrival = None
                file.unlink(missing_ok=True)
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def prepare(received: Path, folder: Path, snapshot: Snapshot, mine: Identity, quota_bytes: int, now: float) -> Arrival:
    """Blocks: for a thread.  `folder` is made for it, and removed by the caller.  Raises StorageError for a file that is not what the message says."""
    folder.mkdir(mode=0o700)
    try:
        received.rename(folder / "data.mdb")
        backend = LmdbBackend(folder, quota_bytes)
        try:
            sender = backend.identity()
            if sender is None or sender.cluster_id != mine.cluster_id:
                raise StorageError("the snapshot is of another cluster")
            backend.identify(mine)
            machine, meta = load(backend, now)
        finally:
            backend.close()
    except lmdb.Error as error:
        raise StorageError(f"the snapshot is no database: {error}") from error
    if (meta.index, meta.term, meta.conf_state) != (snapshot.index, snapshot.term, snapshot.conf_state):
        raise StorageError(f"the snapshot is of entry {meta.index}, term {meta.term}, and was announced as {snapshot.index}, {snapshot.term}")
    descriptor = os.open(folder / "data.mdb", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Arrival(folder / "data.mdb", machine, meta)
