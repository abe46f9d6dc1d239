"""The B+tree file: revision -> value, in LMDB, behind the write-ahead log.

    put ─► fresh (a dict) ─► commit, in a thread: one synced LMDB transaction with the values and the index of the log up to which they reach

A read looks in `fresh`, then in what is being committed, then in the file.  The file is never used with NOSYNC: power loss would corrupt it.
Its map is as large as the quota allows from the start (address space costs nothing; the file grows as it fills), so it never has to be moved.
The one read transaction is renewed after each commit, so that the pages of old versions become free.
"""

import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import lmdb

from k8sfromscratch.core.mvcc.key_index import Revision
from k8sfromscratch.core.mvcc.lease import Life
from k8sfromscratch.core.mvcc.types import KeyValue
from k8sfromscratch.core.raft.raftpb import decode_conf_state, encode_conf_state
from k8sfromscratch.core.raft.types import ConfState
from k8sfromscratch.storage.folders import sync_folders
from k8sfromscratch.storage.interface import StorageError

_REVISION = struct.Struct(">QQ")
_VALUE = struct.Struct(">QQQQI")
_VALUE_BYTES, _unpack_value, _new = _VALUE.size, _VALUE.unpack_from, tuple.__new__
_META = struct.Struct(">QQQ")
_IDENTITY = struct.Struct(">QQ")
_TERM = struct.Struct(">Q")
_LIFE = struct.Struct(">QQ")
_UNSIGNED = 2**64 - 1
COPY = "defragmented.mdb"
"""What a defragmentation writes before it takes the file's place."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What the file's content stands for: every entry of the log up to `index` is in it."""

    index: int
    revision: int
    compact_revision: int
    term: int = 0
    """Of the entry at `index`; 0 in a file that was made before there was Raft, or has nothing of it yet."""
    conf_state: ConfState = field(default_factory=ConfState)


class CopyFailed(StorageError):
    """There is no room for a copy of the file, which itself is as it was."""


class Identity(NamedTuple):
    """Whose file it is."""

    cluster_id: int
    member_id: int


Buckets = Mapping[bytes, Mapping[bytes, bytes]]
"""name -> key -> value: users, roles, alarms and members."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """All of the file at one moment; `raw` are the values in the order of revisions, as they are stored."""

    meta: Meta
    leases: dict[int, Life]
    buckets: Buckets
    raw: Iterator[tuple[Revision, bytes]]

    def values(self) -> Iterator[tuple[Revision, KeyValue]]:
        for revision, raw in self.raw:
            yield revision, _decode(raw)


@dataclass(frozen=True, slots=True)
class Checksum:
    """Of all that is kept of the revisions behind `compact_revision` and up to `revision`: equal on members that hold the same."""

    crc32: int
    revision: int
    compact_revision: int


@dataclass(slots=True)
class _Batch:
    puts: dict[Revision, KeyValue]
    drops: list[Revision]


class LmdbBackend:
    """Implements `core.mvcc.store.Backend`.  Everything but `commit` belongs to the event loop's thread."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._map_bytes = folder, 2 * quota_bytes
        (folder / COPY).unlink(missing_ok=True)  # of a defragmentation that did not end
        self._fresh = _Batch({}, [])
        self._committing: _Batch | None = None
        self._guard, self._reading = threading.Lock(), threading.Lock()
        """Held while the file is written, and while all of it is read: closing waits for both."""
        self._closing = False
        self._open()

    def _open(self) -> None:
        new = not (self._folder / "data.mdb").exists()
        self._env = lmdb.open(str(self._folder), map_size=self._map_bytes, max_dbs=4, metasync=True, sync=True, writemap=False, max_readers=8, mode=0o600)
        try:
            with self._env.begin(write=True) as transaction:  # one for all: each that makes something is synced twice
                self._values, self._leases, self._meta, self._buckets = (
                    self._env.open_db(name, transaction) for name in (b"values", b"leases", b"meta", b"buckets")
                )
            if new:
                sync_folders(self._folder, self._folder.parent)
            self._reader = self._env.begin(db=self._values)
        except BaseException:
            self._env.close()
            raise

    def put(self, revision: Revision, kv: KeyValue) -> None:
        self._fresh.puts[revision] = kv

    def get(self, revision: Revision) -> KeyValue | None:
        kv = self._fresh.puts.get(revision)
        if kv is None and self._committing is not None:
            kv = self._committing.puts.get(revision)
        if kv is None:
            raw = self._reader.get(_REVISION.pack(*revision))
            kv = _decode(raw) if raw is not None else None
        return kv

    def get_all(self, revisions: Sequence[Revision]) -> list[KeyValue]:
        """In one call of LMDB: that for each took two thirds of a Range of a hundred keys."""
        fresh, committing = self._fresh.puts, self._committing.puts if self._committing is not None else {}
        waiting = {revision: fresh.get(revision) or committing[revision] for revision in revisions if revision in fresh or revision in committing}
        filed = [revision for revision in revisions if revision not in waiting] if waiting else revisions
        with self._reader.cursor() as cursor:
            found = cursor.getmulti([_REVISION.pack(*revision) for revision in filed])
        if len(found) != len(filed):
            raise KeyError(next(revision for revision in filed if self.get(revision) is None))
        values = [_decode(raw) for _, raw in found]
        if not waiting:
            return values
        rest = iter(values)
        return [waiting.get(revision) or next(rest) for revision in revisions]

    def drop(self, revisions: Iterable[Revision]) -> None:
        for revision in revisions:
            if self._fresh.puts.pop(revision, None) is None:
                self._fresh.drops.append(revision)

    @property
    def fresh(self) -> int:
        """Changes not yet handed to a commit."""
        return len(self._fresh.puts) + len(self._fresh.drops)

    def begin_commit(self) -> None:
        """Takes what is there; at most one commit at a time."""
        assert self._committing is None, "commits do not overlap"
        self._committing, self._fresh = self._fresh, _Batch({}, [])

    def commit(self, meta: Meta, leases: dict[int, Life], buckets: Buckets | None = None, identity: Identity | None = None) -> None:
        """Blocks on the disk: call it in a thread between begin_commit and end_commit.  None leaves the buckets, and whose file it is, as they are."""
        batch = self._committing
        assert batch is not None, "begin_commit comes first"
        with self._guard, self._env.begin(write=True) as transaction:
            for revision in batch.drops:
                transaction.delete(_REVISION.pack(*revision), db=self._values)
            with transaction.cursor(db=self._values) as cursor:
                cursor.putmulti([(_REVISION.pack(*revision), _encode(kv)) for revision, kv in batch.puts.items()])
            transaction.drop(self._leases, delete=False)
            for lease, life in leases.items():
                transaction.put((lease & _UNSIGNED).to_bytes(8, "big"), _LIFE.pack(*life), db=self._leases)
            if buckets is not None:
                transaction.drop(self._buckets, delete=False)
                for name, entries in buckets.items():
                    for key, value in entries.items():
                        transaction.put(name + b"\0" + key, value, db=self._buckets)
            transaction.put(b"meta", _META.pack(meta.index, meta.revision, meta.compact_revision), db=self._meta)
            transaction.put(b"raft", _TERM.pack(meta.term) + encode_conf_state(meta.conf_state), db=self._meta)
            if identity is not None:
                transaction.put(b"identity", _IDENTITY.pack(*identity), db=self._meta)

    def end_commit(self) -> None:
        self._committing = None
        self._reader.abort()
        self._reader = self._env.begin(db=self._values)

    def load(self) -> tuple[Meta, dict[int, Life], Buckets]:
        """What the file stands for, the leases, and the small buckets."""
        with self._env.begin() as transaction:
            return self._load(transaction)

    def _load(self, transaction: lmdb.Transaction) -> tuple[Meta, dict[int, Life], Buckets]:
        raw = transaction.get(b"meta", db=self._meta)
        meta = _read_meta(raw, transaction.get(b"raft", db=self._meta))
        with transaction.cursor(db=self._leases) as cursor:
            leases = {int.from_bytes(key, "big", signed=True): _read_life(value) for key, value in cursor}
        buckets: dict[bytes, dict[bytes, bytes]] = {}
        with transaction.cursor(db=self._buckets) as cursor:
            for key, value in cursor:
                name, _, rest = bytes(key).partition(b"\0")
                buckets.setdefault(name, {})[rest] = bytes(value)
        return meta, leases, buckets

    def identity(self) -> Identity | None:
        """None in a file that is new, or was made before there was Raft."""
        with self._env.begin() as transaction:
            return _identity(transaction.get(b"identity", db=self._meta))

    def identify(self, identity: Identity) -> None:
        """Blocks on the disk."""
        with self._guard, self._env.begin(write=True) as transaction:
            transaction.put(b"identity", _IDENTITY.pack(*identity), db=self._meta)

    def values(self) -> Iterator[tuple[Revision, KeyValue]]:
        """Everything in the file, in the order of revisions."""
        with self._env.begin(db=self._values) as transaction, transaction.cursor() as cursor:
            for key, raw in cursor:
                main, sub = _REVISION.unpack(key)
                yield (main, sub), _decode(raw)

    @contextmanager
    def frozen(self) -> "Iterator[Frozen]":
        """Everything in the file as it is now, for another thread to read in its time; one at a time.  The reader is ended when the file is closed."""
        with self._reading, self._env.begin(db=self._values) as transaction:
            meta, leases, buckets = self._load(transaction)

            def raw() -> Iterator[tuple[Revision, bytes]]:
                with transaction.cursor() as cursor:
                    for key, value in cursor:
                        if self._closing:
                            raise InterruptedError("the store is being closed")
                        main, sub = _REVISION.unpack(key)
                        yield (main, sub), value

            yield Frozen(meta, leases, buckets, raw())

    def checksum(self, revision: int) -> Checksum:
        """CRC-32 of every value and tombstone up to a revision, 0: all that is in the file.  The file itself says of which revisions that is: what is
        applied and compacted goes on meanwhile."""
        found = 0
        with self.frozen() as frozen:
            last = revision or frozen.meta.revision
            for at, raw in frozen.raw:
                if at[0] > last:
                    break
                found = zlib.crc32(raw, zlib.crc32(_REVISION.pack(*at), found))
        return Checksum(found, last, frozen.meta.compact_revision)

    def compacted_copy(self) -> Path:
        """Blocks on the disk: a copy without free pages, synced.  Between commits only: what comes after it would be lost."""
        copy = self._folder / COPY
        with self._guard:
            try:
                self._copy(copy)
            except CopyFailed:
                copy.unlink(missing_ok=True)
                raise
        return copy

    def copy_for_peer(self, path: Path) -> Meta:
        """Blocks: the file as it is at one moment, while writing goes on, and what it stands for."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._reading:
            self._copy(path)
        return read_meta(path)

    def _copy(self, path: Path) -> None:
        """Raises CopyFailed."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                self._env.copyfd(descriptor, compact=True)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except (lmdb.Error, OSError) as error:
            raise CopyFailed(f"the database could not be copied: {error}") from error

    def adopt(self, copy: Path, *, other_content: bool = False) -> None:
        """Puts the copy in the file's place.  A crash finds one or the other, whole.  With other content, what waits for a commit is given up."""
        with self._guard, self._reading:
            if other_content:
                self._fresh = _Batch({}, [])
            self._reader.abort()
            self._env.close()
            copy.replace(self._folder / "data.mdb")
            sync_folders(self._folder)
            self._open()

    def size_bytes(self) -> tuple[int, int]:
        """(of the file, of the pages in use)."""
        info, total = self._env.info(), 0
        with self._env.begin() as transaction:
            for db in (self._values, self._leases, self._meta, self._buckets):
                stat = transaction.stat(db)
                total += stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])
        return (info["last_pgno"] + 1) * self._env.stat()["psize"], total

    def close(self) -> None:
        self._closing = True
        with self._guard, self._reading:
            self._reader.abort()
            self._env.close()


def read_meta(path: Path) -> Meta:
    """Of a database that nobody writes.  Raises lmdb.Error for a file that is none."""
    with _only_read(path) as values:
        return _read_meta(values.get(b"meta"), values.get(b"raft"))


def read_identity(path: Path) -> Identity | None:
    """The same."""
    with _only_read(path) as values:
        return _identity(values.get(b"identity"))


@contextmanager
def _only_read(path: Path) -> Iterator[dict[bytes, bytes]]:
    """The small values of a database, whichever there are."""
    env = lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_dbs=4)
    try:
        with env.begin() as transaction:
            try:
                meta = env.open_db(b"meta", transaction, create=False)
            except lmdb.NotFoundError:
                yield {}
                return
            with transaction.cursor(db=meta) as cursor:
                yield {bytes(key): bytes(value) for key, value in cursor}
    finally:
        env.close()


def _identity(raw: bytes | memoryview | None) -> Identity | None:
    return Identity(*_IDENTITY.unpack(raw)) if raw is not None else None


def _read_life(raw: bytes | memoryview) -> Life:
    """Before there were checkpoints, the time to live stood there by itself."""
    return Life(*_LIFE.unpack(raw)) if len(raw) == _LIFE.size else Life(int.from_bytes(raw, "big"))


def _read_meta(meta: bytes | memoryview | None, raft: bytes | memoryview | None) -> Meta:
    index, revision, compact_revision = _META.unpack(meta) if meta is not None else (0, 1, 0)
    if raft is None:
        return Meta(index, revision, compact_revision)
    return Meta(index, revision, compact_revision, _TERM.unpack_from(raft)[0], decode_conf_state(bytes(raft[_TERM.size :])))


def _encode(kv: KeyValue) -> bytes:
    return _VALUE.pack(kv.create_revision, kv.mod_revision, kv.version, kv.lease & _UNSIGNED, len(kv.key)) + kv.key + kv.value


def _decode(raw: bytes) -> KeyValue:
    created, modified, version, lease, length = _unpack_value(raw)
    split = _VALUE_BYTES + length
    # Not KeyValue(…), which takes twice as long: a Range makes as many as it has keys.
    return _new(KeyValue, (raw[_VALUE_BYTES:split], raw[split:], created, modified, version, lease if lease < 2**63 else lease - 2**64))
