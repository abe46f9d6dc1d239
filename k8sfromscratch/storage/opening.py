"""What a data directory says at the start of a member: its state as filed, the log behind that, and who it is.

    nothing there, first members known   ─► first start: as if entry 1 had made the group, the same on all its members
    nothing there, none known            ─► joining: empty, and waits to be spoken to
    made before there was Raft           ─► its records are applied once more and filed, then it is a group of one, at the index of the last
    otherwise                            ─► the file at its index, and the log behind it

Each of these is one synced transaction of the file, and only then is anything else changed, so a crash anywhere finds the one or the other.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb

from k8sfromscratch.core.mvcc.errors import MvccError
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.raft.node import Start
from k8sfromscratch.core.raft.types import NONE, ConfState, HardState
from k8sfromscratch.storage.folders import sync_folders
from k8sfromscratch.storage.frames import WalError
from k8sfromscratch.storage.group import ForeignData, Group, MemberInfo
from k8sfromscratch.storage.interface import StorageError
from k8sfromscratch.storage.lmdb_backend import Identity, LmdbBackend, Meta, read_identity
from k8sfromscratch.storage.machine import Machine, read
from k8sfromscratch.storage.membership import Membership
from k8sfromscratch.storage.wal import Found, Wal

log = logging.getLogger(__name__)


class DatabaseFailed(StorageError):
    """The B+tree file cannot be read, or written."""


@dataclass(slots=True)
class Opened:
    machine: Machine
    backend: LmdbBackend
    wal: Wal
    meta: Meta
    start: Start


def identity(data_dir: Path) -> Identity | None:
    """Whose data this is; None where there is none, or it was made before there was Raft.  Only while nobody else has it open.  Raises DatabaseFailed."""
    file = data_dir / "db" / "data.mdb"
    with _telling(file):
        return read_identity(file) if file.exists() else None


@contextmanager
def _telling(file: Path) -> Iterator[None]:
    """What LMDB refuses with, where it stands, and what may be done."""
    try:
        yield
    except lmdb.Error as error:
        raise DatabaseFailed(f"{file}: the database cannot be used: {error}; if the disk is not full, it is damaged: restore from a backup") from error


def load(backend: LmdbBackend, now: float) -> tuple[Machine, Meta]:
    """The state that the file has; leases live a whole time to live from `now`."""
    meta, leases, buckets = backend.load()
    store = MvccStore(backend)
    machine = Machine(store)
    machine.restore(buckets)
    store.restore(backend.values(), meta.revision, meta.compact_revision)
    store.leases.restore(leases, now)
    store.attach_leases()
    return machine, meta


def open_data(data_dir: Path, group: Group, quota_bytes: int, now: float) -> Opened:
    """Blocks: for a thread.  Raises WalError, ForeignData, DatabaseFailed, OSError."""
    if not data_dir.exists():
        data_dir.mkdir(mode=0o700, parents=True)
        sync_folders(data_dir.parent)
    wal = Wal(data_dir / "wal")
    backend = None
    try:
        wal.lock()
        with _telling(data_dir / "db" / "data.mdb"):
            backend = LmdbBackend(data_dir / "db", quota_bytes)
            return _open(backend, wal, group, now)
    except BaseException:
        wal.close()
        if backend is not None:
            backend.close()
        raise


def _open(backend: LmdbBackend, wal: Wal, group: Group, now: float) -> Opened:
    machine, meta = load(backend, now)
    mine, there = Identity(group.cluster_id, group.member_id), backend.identity()
    if there is None:
        meta = _begin(backend, wal, machine, meta, group, now)
        if backend.identity() is None:
            backend.identify(mine)
    elif there != mine:
        raise ForeignData(
            f"the data is of member {there.member_id:x} in cluster {there.cluster_id:x}, and this is member {mine.member_id:x} of cluster {mine.cluster_id:x}"
        )
    wal.drop_old()
    found = wal.read(meta.index, meta.term, group.catch_up_entries)
    state = _hard_state(found, meta, group)
    wal.begin(found, state)
    return Opened(machine, backend, wal, meta, Start(meta.conf_state, state, found.entries, found.offset, found.offset_term, meta.index))


def _begin(backend: LmdbBackend, wal: Wal, machine: Machine, meta: Meta, group: Group, now: float) -> Meta:
    """The first state of a member: what the group begins with, and what a store without Raft has had.  A directory in which this was done and the
    identity is missing, which an earlier version could leave behind, begins with what is filed."""
    if meta.term:
        return meta
    index = meta.index
    for record in wal.old_records(meta.index):
        try:
            machine.apply(record.kind, read(record.kind, record.payload), now)
        except MvccError:
            log.debug("record %d was refused when it was made, and is again", record.index)
        index = record.index
    if index and [each.id for each in group.first_members] != [group.member_id]:
        raise ForeignData("the data is of a store without a cluster, which can only go on as the single member of a new one")
    if not group.first_members:
        return meta
    machine.membership = Membership(group.first_members)
    voters, learners = _ids(group.first_members, learners=False), _ids(group.first_members, learners=True)
    begun = Meta(max(index, 1), machine.store.revision, machine.store.compact_revision, 1, ConfState(voters, learners))
    backend.begin_commit()
    backend.commit(begun, machine.store.leases.lives(), machine.buckets(), Identity(group.cluster_id, group.member_id))
    backend.end_commit()
    return begun


def _ids(members: Iterable[MemberInfo], *, learners: bool) -> tuple[int, ...]:
    return tuple(sorted(each.id for each in members if each.is_learner == learners))


def _hard_state(found: Found, meta: Meta, group: Group) -> HardState:
    """Raises WalError where a vote may have been given, or a write acknowledged, that nothing is known of any more."""
    state = found.state
    if state is None:
        if not group.alone_from_now:
            _check_beginning(meta, group.member_id)
        state = HardState(meta.term, NONE, meta.index)
    if state.term < meta.term:  # a crash between a leader's snapshot and its term: nothing was said in that term yet
        state = HardState(meta.term, NONE, state.commit)
    last = found.offset + len(found.entries)
    return state._replace(commit=min(max(state.commit, meta.index), last))


def _check_beginning(meta: Meta, member: int) -> None:
    """There need be no log only where nothing was done since the file was made: in the term before the first leader's.  Raises WalError."""
    if meta.conf_state.voters == (member,):
        if meta.term > 1:
            raise WalError(
                "the write-ahead log is missing, and what was acknowledged last may have stood only there; restore from a backup, or begin once with "
                "--force-new-cluster to go on with what the database has"
            )
    elif meta.index > 1:
        raise WalError("the write-ahead log is missing: this member does not know how it has voted; remove it from the cluster and add it again")
