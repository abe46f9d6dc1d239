"""A leader's snapshot at the member that needs it: a database file, looked at and made this member's own before it takes the place of what is there.

    received whole, in `incoming` ─► check ─► state read from it, in a thread ─► Raft takes it, or knows better ─► renamed over the file, log restarted

A crash before the rename leaves what was there; behind it, the file says where it is, and a log that does not fit to it gives way (`wal.Found.void`).
"""

import os
from dataclasses import dataclass
from pathlib import Path

import lmdb

from k8sfromscratch.core.raft.types import Snapshot
from k8sfromscratch.storage.interface import StorageError
from k8sfromscratch.storage.lmdb_backend import Identity, LmdbBackend, Meta
from k8sfromscratch.storage.machine import Machine
from k8sfromscratch.storage.opening import load


@dataclass(frozen=True, slots=True)
class Arrival:
    file: Path
    machine: Machine
    meta: Meta


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
