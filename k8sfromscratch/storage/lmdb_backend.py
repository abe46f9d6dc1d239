"""The B+tree file: revision -> value, in LMDB, behind the write-ahead log.

    put ─► fresh (a dict) ─► commit, in a thread: one synced LMDB transaction with the values and the index of the log up to which they reach

A read looks in `fresh`, then in what is being committed, then in the file.  The file is never used with NOSYNC: power loss would corrupt it.
Its map is as large as the quota allows from the start (address space costs nothing; the file grows as it fills), so it never has to be moved.
The one read transaction is renewed after each commit, so that the pages of old versions become free.
"""

import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import lmdb

from k8sfromscratch.core.mvcc.key_index import Revision
from k8sfromscratch.core.mvcc.types import KeyValue

_REVISION = struct.Struct(">QQ")
_VALUE = struct.Struct(">QQQQI")
_META = struct.Struct(">QQQ")


@dataclass(frozen=True, slots=True)
class Meta:
    """What the file's content stands for: every record of the log up to `index` is in it."""

    index: int
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
        self._env = lmdb.open(str(folder), map_size=2 * quota_bytes, max_dbs=4, metasync=True, sync=True, writemap=False, max_readers=8, mode=0o600)
        self._values = self._env.open_db(b"values")
        self._leases = self._env.open_db(b"leases")
        self._meta = self._env.open_db(b"meta")
        self._fresh = _Batch({}, [])
        self._committing: _Batch | None = None
        self._reader = self._env.begin(db=self._values)
        self._guard = threading.Lock()
        """Held while the file is written: closing waits for it."""

    def put(self, revision: Revision, kv: KeyValue) -> None:
        self._fresh.puts[revision] = kv

    def get(self, revision: Revision) -> KeyValue | None:
        kv = self._fresh.puts.get(revision)
        if kv is None and self._committing is not None:
            kv = self._committing.puts.get(revision)
        if kv is None:
            raw = self._reader.get(_REVISION.pack(*revision))
            kv = _decode(raw, revision) if raw is not None else None
        return kv

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

    def commit(self, meta: Meta, leases: dict[int, int]) -> None:
        """Blocks on the disk: call it in a thread between begin_commit and end_commit."""
        batch = self._committing
        assert batch is not None, "begin_commit comes first"
        with self._guard, self._env.begin(write=True) as transaction:
            for revision in batch.drops:
                transaction.delete(_REVISION.pack(*revision), db=self._values)
            with transaction.cursor(db=self._values) as cursor:
                cursor.putmulti([(_REVISION.pack(*revision), _encode(kv)) for revision, kv in batch.puts.items()])
            transaction.drop(self._leases, delete=False)
            for lease, ttl_s in leases.items():
                transaction.put(lease.to_bytes(8, "big"), ttl_s.to_bytes(8, "big"), db=self._leases)
            transaction.put(b"meta", _META.pack(meta.index, meta.revision, meta.compact_revision), db=self._meta)

    def end_commit(self) -> None:
        self._committing = None
        self._reader.abort()
        self._reader = self._env.begin(db=self._values)

    def load(self) -> tuple[Meta, dict[int, int]]:
        """What the file stands for, and the leases with their time to live in seconds."""
        with self._env.begin() as transaction:
            raw = transaction.get(b"meta", db=self._meta)
            meta = Meta(*_META.unpack(raw)) if raw is not None else Meta(0, 1, 0)
            with transaction.cursor(db=self._leases) as cursor:
                leases = {int.from_bytes(key, "big"): int.from_bytes(value, "big") for key, value in cursor}
        return meta, leases

    def values(self) -> Iterator[tuple[Revision, KeyValue]]:
        """Everything in the file, in the order of revisions."""
        with self._env.begin(db=self._values) as transaction, transaction.cursor() as cursor:
            for key, raw in cursor:
                main, sub = _REVISION.unpack(key)
                yield (main, sub), _decode(raw, (main, sub))

    def size_bytes(self) -> tuple[int, int]:
        """(of the file, of the pages in use)."""
        info, total = self._env.info(), 0
        with self._env.begin() as transaction:
            for db in (self._values, self._leases, self._meta):
                stat = transaction.stat(db)
                total += stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])
        return (info["last_pgno"] + 1) * self._env.stat()["psize"], total

    def close(self) -> None:
        with self._guard:
            self._reader.abort()
            self._env.close()


def _encode(kv: KeyValue) -> bytes:
    return _VALUE.pack(kv.create_revision, kv.mod_revision, kv.version, kv.lease & 0xFFFFFFFFFFFFFFFF, len(kv.key)) + kv.key + kv.value


def _decode(raw: bytes, revision: Revision) -> KeyValue:
    created, modified, version, lease, length = _VALUE.unpack_from(raw)
    split = _VALUE.size + length
    return KeyValue(raw[_VALUE.size : split], raw[split:], created, modified, version, lease if lease < 2**63 else lease - 2**64)
