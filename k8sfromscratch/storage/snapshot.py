"""Snapshots: all of a member at one revision, in one file that upstream's tools read, and theirs is one that we read.

LMDB ── write_snapshot ──► a bbolt database with upstream's buckets ‖ SHA-256 of it      `etcdctl snapshot save`
LMDB ◄── read_snapshot ─── the same, from us or from upstream                           `components.etcd.restore`

bucket        key                                          value
key           main revision 8 | "_" | sub 8, "t" behind     KeyValue; of a tombstone only its key
              it for a tombstone
lease         identifier 8                                  Lease
meta          consistent_index, scheduledCompactRev,        numbers 8, revisions as in `key`
              finishedCompactRev
auth, authUsers, authRoles, alarm                           as `core.mvcc.auth` and `storage.machine` make them
members, members_removed                                    as `storage.membership` makes them; a restore begins with others
"""

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError

from k8sfromscratch.core.mvcc.key_index import Revision
from k8sfromscratch.core.mvcc.lease import Life
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.mvcc.types import KeyValue
from k8sfromscratch.core.raft.node import first_start
from k8sfromscratch.core.rpc import etcd_convert as convert
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.bbolt import BboltError, Reader, Writer
from k8sfromscratch.storage.group import MemberInfo
from k8sfromscratch.storage.lmdb_backend import Frozen, LmdbBackend, Meta
from k8sfromscratch.storage.membership import MEMBERS, REMOVED, Membership

CHUNK_BYTES = 1024 * 1024
COMMIT_VALUES = 10_000
"""Values that a restore writes in one transaction."""
SMALL_BUCKETS = (b"auth", b"authUsers", b"authRoles", b"alarm")
EMPTY_BUCKETS = (b"cluster",)
"""Upstream's restore clears it and expects it to be there."""

_TOMBSTONE = b"t"
_DIGEST_BYTES = hashlib.sha256().digest_size
_ALIGNED_BYTES = 512
"""A database is a multiple of this, and so the length tells whether a checksum follows: upstream's clients look at that."""


class SnapshotError(Exception):
    """The file is no snapshot, or not what it was when it was written."""


def write_snapshot(backend: LmdbBackend, file: BinaryIO) -> None:
    """Blocks: for a thread.  `file` is empty, and readable too."""
    with backend.frozen() as frozen:
        writer = Writer(file)
        for name in EMPTY_BUCKETS:
            writer.bucket(name, ())
        for name in (*SMALL_BUCKETS, MEMBERS, REMOVED):
            writer.bucket(name, sorted(frozen.buckets.get(name, {}).items()))
        writer.bucket(b"lease", sorted((_number(i), _stored(i, life)) for i, life in frozen.leases.items()))
        writer.bucket(b"meta", _meta_entries(frozen.meta))
        writer.bucket(b"key", _key_entries(frozen))
        writer.finish()
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    file.write(digest.digest())
    file.flush()


def read_snapshot(path: Path, backend: LmdbBackend, members: Sequence[MemberInfo], *, check: bool = True) -> int:
    """Fills an empty database, as that of a new cluster of these members; the snapshot's revision.  Without `check`, a file that has no checksum is
    taken too: a copy of a member's database.  Raises SnapshotError, OSError."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            signed = len(data) % _ALIGNED_BYTES == _DIGEST_BYTES
            if check:
                _check(path, data, signed=signed)
            with data[: len(data) - _DIGEST_BYTES if signed else len(data)] as database:
                reader = Reader(database)
                try:
                    return _fill(reader, backend, members)
                finally:
                    reader.release()
    except (BboltError, DecodeError, ValueError) as error:
        raise SnapshotError(f"{path}: {error}") from error


def _check(path: Path, data: memoryview, *, signed: bool) -> None:
    if not signed:
        raise SnapshotError(f"{path}: there is no checksum behind the database: for a file that was copied and not saved, use --skip-hash-check")
    if hashlib.sha256(data[:-_DIGEST_BYTES]).digest() != bytes(data[-_DIGEST_BYTES:]):
        raise SnapshotError(f"{path}: the checksum behind the database is not that of the database: the file is damaged")


def _fill(reader: Reader, backend: LmdbBackend, members: Sequence[MemberInfo]) -> int:
    leases = {int.from_bytes(key, "big", signed=True): _life(raw) for key, raw in reader.bucket(b"lease")}
    buckets = {name: dict(reader.bucket(name)) for name in SMALL_BUCKETS} | Membership(members).buckets()
    voters = first_start([each.id for each in members]).conf_state
    meta = dict(reader.bucket(b"meta"))
    scheduled, finished = (_main(meta.get(name, b"")) for name in (b"scheduledCompactRev", b"finishedCompactRev"))
    revision = max(scheduled, 1)
    waiting = 0

    def commit(compact_revision: int) -> None:
        backend.begin_commit()
        backend.commit(Meta(1, revision, compact_revision, 1, voters), leases, buckets)
        backend.end_commit()

    for at, kv in _values(reader):
        backend.put(at, kv)
        revision = max(revision, at[0])
        waiting += 1
        if waiting == COMMIT_VALUES:
            commit(finished)
            waiting = 0
    commit(finished)
    if scheduled > finished:  # the compaction was decided and not at its end: it is brought there
        store = MvccStore(backend)
        store.restore(backend.values(), revision, finished)
        store.compact(scheduled)
        commit(scheduled)
    return revision


def _values(reader: Reader) -> Iterator[tuple[Revision, KeyValue]]:
    for key, raw in reader.bucket(b"key"):
        if len(key) not in (17, 18) or key[8:9] != b"_":
            raise SnapshotError(f"a value has the revision {key!r}, which is none")
        at = int.from_bytes(key[:8], "big"), int.from_bytes(key[9:17], "big")
        kv = convert.key_value(m.KeyValue.FromString(raw))
        yield at, KeyValue(kv.key, b"", 0, at[0], 0) if key[17:] == _TOMBSTONE else kv


def _key_entries(frozen: Frozen) -> Iterator[tuple[bytes, bytes]]:
    for (main, sub), kv in frozen.values():
        key = _revision(main, sub)
        if kv.version:
            yield key, convert.kv_message(kv).SerializeToString()
        else:
            yield key + _TOMBSTONE, m.KeyValue(key=kv.key).SerializeToString()


def _stored(lease: int, life: Life) -> bytes:
    raw: bytes = m.StoredLease(ID=lease, TTL=life.ttl_s, RemainingTTL=life.remaining_s).SerializeToString()
    return raw


def _life(raw: bytes) -> Life:
    stored = m.StoredLease.FromString(raw)
    return Life(stored.TTL, stored.RemainingTTL)


def _meta_entries(meta: Meta) -> list[tuple[bytes, bytes]]:
    entries = [(b"consistent_index", _number(meta.index))]
    if meta.compact_revision:
        entries += [(b"finishedCompactRev", _revision(meta.compact_revision, 0)), (b"scheduledCompactRev", _revision(meta.compact_revision, 0))]
    return [*entries, (b"term", _number(meta.term))]


def _revision(main: int, sub: int) -> bytes:
    return b"%b_%b" % (_number(main), _number(sub))


def _main(raw: bytes) -> int:
    return int.from_bytes(raw[:8], "big") if len(raw) == 17 else 0


def _number(number: int) -> bytes:
    return (number & 2**64 - 1).to_bytes(8, "big")
