"""The multi-version store: every write makes a revision, and old ones can be read and watched until they are compacted.

    key ──► KeyHistory (key_index) ──► revision ──► Backend: revision -> KeyValue, or a tombstone

Pure: it changes its own state only and is told the time.  Who makes it durable writes down the transactions that went in (the log), and the
backend may be any map of revisions: a dict here, an LMDB tree in `storage`.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from k8sfromscratch.core.mvcc.errors import Compacted, DuplicateKey, FutureRevision, KeyNotFound
from k8sfromscratch.core.mvcc.key_index import KeyHistory, Revision
from k8sfromscratch.core.mvcc.lease import Leases
from k8sfromscratch.core.mvcc.types import (
    Compare,
    DeleteOp,
    DeleteResult,
    Event,
    KeyValue,
    Op,
    PutOp,
    PutResult,
    RangeOp,
    RangeResult,
    TxnOp,
    TxnResult,
)

INDEXED_KEYS_MAX = 1000
"""A history of more keys is read by its revisions: to look for all of them in the index would be one long turn."""
QUIET_REVISIONS = 1000
"""Every so many revisions in which nothing was found, a reader of history is told so: some milliseconds."""


class Backend(Protocol):
    """A revision's value; a tombstone is a KeyValue with version 0."""

    def put(self, revision: Revision, kv: KeyValue) -> None: ...

    def get(self, revision: Revision) -> KeyValue | None: ...

    def get_all(self, revisions: Sequence[Revision]) -> Sequence[KeyValue]:
        """Of revisions that are there, in their order.  Raises KeyError."""
        ...

    def drop(self, revisions: Iterable[Revision]) -> None: ...


class MemoryBackend:
    def __init__(self) -> None:
        self._values: dict[Revision, KeyValue] = {}

    def put(self, revision: Revision, kv: KeyValue) -> None:
        self._values[revision] = kv

    def get(self, revision: Revision) -> KeyValue | None:
        return self._values.get(revision)

    def get_all(self, revisions: Sequence[Revision]) -> Sequence[KeyValue]:
        return [self._values[revision] for revision in revisions]

    def drop(self, revisions: Iterable[Revision]) -> None:
        for revision in revisions:
            self._values.pop(revision, None)


class MvccStore:
    def __init__(self, backend: Backend | None = None) -> None:
        self._backend: Backend = backend if backend is not None else MemoryBackend()
        self._histories: dict[bytes, KeyHistory] = {}
        self._keys: list[bytes] = []
        """Every key with a history, sorted."""
        self.revision = 1
        self.compact_revision = 0
        self.leases = Leases()
        self._restored_leases: dict[bytes, int] = {}
        """The latest of each restored key that ever had one, until `attach_leases`; 0 where it has none any more."""

    # Reading

    def range(self, op: RangeOp) -> RangeResult:
        """Raises Compacted, FutureRevision."""
        self._check_revision(op.revision)
        at = op.revision if op.revision > 0 else self.revision
        plain = not (op.min_mod_revision or op.max_mod_revision or op.min_create_revision or op.max_create_revision or op.sort_order != "NONE")
        if plain:
            return self._plain_range(op, at)
        found = [kv for kv in self._read(op.key, op.range_end, at) if _in_bounds(op, kv)]
        count = sum(1 for _ in self._found(op.key, op.range_end, at))
        if op.sort_order != "NONE":
            found.sort(key=_sort_key(op.sort_target), reverse=op.sort_order == "DESCEND")
        more = 0 < op.limit < len(found) and not op.count_only
        kvs = [] if op.count_only else found[: op.limit] if op.limit > 0 else found
        return RangeResult([_without_value(kv) for kv in kvs] if op.keys_only else kvs, count, more, self.revision)

    def _plain_range(self, op: RangeOp, at: int) -> RangeResult:
        """The common case: in the order of keys, only as many values fetched as are given back."""
        if not op.range_end and not op.count_only:
            kv = self.at(op.key, at)
            if kv is None:
                return RangeResult((), 0, False, self.revision)
            return RangeResult((_without_value(kv) if op.keys_only else kv,), 1, False, self.revision)
        revisions = list(self._found(op.key, op.range_end, at))
        count = len(revisions)
        if op.count_only:
            return RangeResult((), count, False, self.revision)
        wanted = revisions[: op.limit] if op.limit > 0 else revisions
        kvs = self._backend.get_all(wanted)
        return RangeResult([_without_value(kv) for kv in kvs] if op.keys_only else kvs, count, len(wanted) < count, self.revision)

    def events(self, key: bytes, range_end: bytes, since: int, until: int, *, prev_kv: bool) -> Iterator[tuple[int, list[Event]]]:
        """The history from revision `since` to `until`, both included: whole revisions, in order.  Raises Compacted.

        It is read as it is taken, and where much was looked at and nothing found, a revision is told without events: who reads a long history
        may do other work at each.  Few keys have their history in the index; for many, every revision is looked at."""
        if since < self.compact_revision:
            raise Compacted(self.compact_revision)
        keys = self._between(key, range_end)
        if not range_end or len(keys) <= INDEXED_KEYS_MAX:
            yield from self._events_of(keys, since, until, prev_kv=prev_kv)
            return
        if since == self.compact_revision:
            # Some of its writes may be dropped, and only those above it are all there.
            yield from self._events_of(keys, since, min(since, until), prev_kv=prev_kv)
            since += 1
        for main in range(since, until + 1):
            found: list[Event] = []
            sub = 0
            while (kv := self._backend.get((main, sub))) is not None:
                sub += 1
                if key <= kv.key and (range_end == b"\0" or kv.key < range_end):
                    found.append(self._event(kv, main, prev_kv=prev_kv))
            if found or main % QUIET_REVISIONS == 0:
                yield main, found

    def _events_of(self, keys: Sequence[bytes], since: int, until: int, *, prev_kv: bool) -> Iterator[tuple[int, list[Event]]]:
        found: dict[int, list[Revision]] = {}
        for each in keys:
            for generation in self._histories[each].generations:
                for revision in generation.revisions[bisect_left(generation.revisions, (since, 0)) :]:
                    if revision[0] > until:
                        break
                    found.setdefault(revision[0], []).append(revision)
        for main in sorted(found):
            yield main, [self.event(revision, prev_kv=prev_kv) for revision in sorted(found[main])]

    def event(self, revision: Revision, *, prev_kv: bool) -> Event:
        return self._event(self._value(revision), revision[0], prev_kv=prev_kv)

    def _event(self, kv: KeyValue, main: int, *, prev_kv: bool) -> Event:
        before = self.at(kv.key, main - 1) if prev_kv else None
        if kv.version:
            return Event("PUT", kv, before)
        return Event("DELETE", KeyValue(kv.key, b"", 0, kv.mod_revision, 0), before)

    def at(self, key: bytes, main: int) -> KeyValue | None:
        """The key as it was at a revision; None where it was not, or that is compacted."""
        history = self._histories.get(key)
        revision = history.at(main) if history is not None else None
        return self._backend.get(revision) if revision is not None else None

    # Writing

    def txn(self, op: TxnOp) -> tuple[TxnResult, list[Event]]:
        """Atomic: it raises before it has changed anything, or it is done.  The events are those of its one new revision, with prev_kv."""
        if len(op.success) == 1 and not op.compare and not op.failure and isinstance(op.success[0], PutOp):
            return self._lone_put(op.success[0])
        for branch in (op.success, op.failure):
            if len(branch) > 1 or (branch and isinstance(branch[0], TxnOp)):
                _claims(branch)
        chosen = self._choose(op)
        self._check(chosen)
        written = _Writes(self.revision + 1)
        result = self._run(chosen, written)
        if written.sub:
            self.revision = written.main
        return result, written.events

    def _lone_put(self, op: PutOp) -> tuple[TxnResult, list[Event]]:
        """What nearly all writes are: nothing to choose, and nothing in it that could contradict it."""
        self._check_put(op)
        written = _Writes(self.revision + 1)
        result = self._put(op, written)
        self.revision = written.main
        return TxnResult(True, (result,), written.main), written.events

    def revoke(self, lease: int) -> list[Event]:
        """Ends a lease and deletes its keys in one revision.  Raises LeaseNotFound."""
        keys = self.leases.revoke(lease)
        return self.txn(TxnOp(success=[DeleteOp(key) for key in keys]))[1]

    def compact(self, revision: int) -> None:
        """Forgets what no read at or above `revision` needs.  Raises Compacted, FutureRevision."""
        if revision <= self.compact_revision:
            raise Compacted(self.compact_revision)
        if revision > self.revision:
            raise FutureRevision
        self.compact_revision = revision
        empty: list[bytes] = []
        for key, history in self._histories.items():
            dropped = history.compact(revision)
            if dropped:
                self._backend.drop(dropped)
                if history.empty:
                    empty.append(key)
        if empty:
            for key in empty:
                del self._histories[key]
            self._keys = sorted(self._histories)

    def restore(self, values: Iterable[tuple[Revision, KeyValue]], revision: int, compact_revision: int) -> None:
        """Fills an empty store from a backend's content, in the order of revisions; the backend has the values already."""
        leased = self._restored_leases
        for at, kv in values:
            if kv.lease or (leased and kv.key in leased):
                leased[kv.key] = kv.lease
            history = self._histories.get(kv.key)
            if history is None:
                history = self._histories[kv.key] = KeyHistory()
            if kv.version == 0:
                history.tombstone(at)
            else:
                generation = history.put(at)
                generation.created, generation.version = (kv.create_revision, 0), kv.version
        self._keys = sorted(self._histories)
        self.revision, self.compact_revision = max(revision, 1), compact_revision

    def take_over(self, other: "MvccStore") -> None:
        """Becomes what `other` is, which is given up; this store's own backend has other's values by now."""
        self._histories, self._keys = other._histories, other._keys
        self.revision, self.compact_revision, self.leases = other.revision, other.compact_revision, other.leases

    def attach_leases(self) -> None:
        """Ties restored keys to the restored leases."""
        for key, lease in self._restored_leases.items():
            if lease in self.leases:
                self.leases.attach(key, lease)
        self._restored_leases = {}

    # Within

    def _choose(self, op: TxnOp) -> "_Chosen":
        """Every comparison is made on the state before the transaction, those of nested ones too."""
        succeeded = all(self._compare(each) for each in op.compare)
        return _Chosen(succeeded, [self._choose(each) if isinstance(each, TxnOp) else each for each in (op.success if succeeded else op.failure)])

    def _check(self, chosen: "_Chosen") -> None:
        """Everything that could fail halfway, before anything is written; what is not going to be done cannot fail.  The puts first, as upstream has it:
        where several things are wrong, clients are told the same one."""
        self._check_puts(chosen)
        self._check_ranges(chosen)

    def _check_puts(self, chosen: "_Chosen") -> None:
        for each in chosen.ops:
            if isinstance(each, PutOp):
                self._check_put(each)
            elif isinstance(each, _Chosen):
                self._check_puts(each)

    def _check_put(self, op: PutOp) -> None:
        if (op.ignore_value or op.ignore_lease) and self.at(op.key, self.revision) is None:
            raise KeyNotFound
        if op.lease and not op.ignore_lease:
            self.leases.get(op.lease)

    def _check_ranges(self, chosen: "_Chosen") -> None:
        for each in chosen.ops:
            if isinstance(each, RangeOp):
                self._check_revision(each.revision)
            elif isinstance(each, _Chosen):
                self._check_ranges(each)

    def _check_revision(self, revision: int) -> None:
        """0 and below stand for the latest."""
        if revision > self.revision:
            raise FutureRevision
        if 0 < revision < self.compact_revision:
            raise Compacted(self.compact_revision)

    def _run(self, chosen: "_Chosen", written: "_Writes") -> TxnResult:
        responses: list[Any] = []
        for each in chosen.ops:
            match each:
                case PutOp():
                    responses.append(self._put(each, written))
                case RangeOp():
                    responses.append(self._range_within(each, written))
                case DeleteOp():
                    responses.append(self._delete(each, written))
                case _Chosen():
                    responses.append(self._run(each, written))
        return TxnResult(chosen.succeeded, responses, written.main if written.sub else self.revision)

    def _range_within(self, op: RangeOp, written: "_Writes") -> RangeResult:
        """A range inside a transaction sees the writes before it."""
        before, self.revision = self.revision, written.main if written.sub else self.revision
        try:
            return self.range(op)
        finally:
            self.revision = before

    def _put(self, op: PutOp, written: "_Writes") -> PutResult:
        key, value, lease, prev_kv, ignore_value, ignore_lease = op
        history = self._histories.get(key)
        if history is None:
            history = self._histories[key] = KeyHistory()
            insort(self._keys, key)
            before = None
        else:
            before = history.at(written.main)
        old = self._backend.get(before) if before is not None else None
        if old is not None:
            value, lease = old.value if ignore_value else value, old.lease if ignore_lease else lease
        revision = written.next()
        generation = history.put(revision)
        kv = KeyValue(key, value, generation.created[0], written.main, generation.version, lease)
        self._backend.put(revision, kv)
        self.leases.attach(key, lease)
        written.events.append(Event("PUT", kv, old))
        return PutResult(written.main, old if prev_kv else None)

    def _delete(self, op: DeleteOp, written: "_Writes") -> DeleteResult:
        gone = list(self._read(op.key, op.range_end, written.main))
        for old in gone:
            revision = written.next()
            self._histories[old.key].tombstone(revision)
            self._backend.put(revision, KeyValue(old.key, b"", 0, written.main, 0))
            self.leases.detach(old.key)
            written.events.append(Event("DELETE", KeyValue(old.key, b"", 0, written.main, 0), old))
        return DeleteResult(written.main if written.sub else self.revision, len(gone), gone if op.prev_kv else ())

    def _compare(self, compare: Compare) -> bool:
        """All keys of the range must satisfy it; a key that does not exist, or a range without keys, has version, revisions and lease 0, and no value."""
        if not compare.range_end:
            return _holds(compare, self.at(compare.key, self.revision))
        found = list(self._read(compare.key, compare.range_end, self.revision))
        return all(_holds(compare, kv) for kv in found) if found else _holds(compare, None)

    def _read(self, key: bytes, range_end: bytes, at: int) -> Iterator[KeyValue]:
        for revision in self._found(key, range_end, at):
            yield self._value(revision)

    def _found(self, key: bytes, range_end: bytes, at: int) -> Iterator[Revision]:
        histories = self._histories
        for each in self._between(key, range_end):
            revision = histories[each].at(at)
            if revision is not None:
                yield revision

    def _between(self, key: bytes, range_end: bytes) -> Sequence[bytes]:
        if not range_end:
            return [key] if key in self._histories else []
        start = bisect_left(self._keys, key)
        return self._keys[start:] if range_end == b"\0" else self._keys[start : bisect_left(self._keys, range_end)]

    def _value(self, revision: Revision) -> KeyValue:
        kv = self._backend.get(revision)
        if kv is None:
            raise AssertionError(f"the index knows revision {revision} and the backend does not")
        return kv


class _Writes:
    """The writes of one transaction: they share `main` and count `sub`."""

    def __init__(self, main: int) -> None:
        self.main, self.sub = main, 0
        self.events: list[Event] = []

    def next(self) -> Revision:
        revision = (self.main, self.sub)
        self.sub += 1
        return revision


@dataclass(slots=True)
class _Chosen:
    """A transaction whose branches are chosen."""

    succeeded: bool
    ops: "list[RangeOp | PutOp | DeleteOp | _Chosen]"


def _claims(ops: Sequence[Op]) -> tuple[set[bytes], list[DeleteOp]]:
    """The keys that a branch may put and the ranges it may delete.  Raises DuplicateKey where one key could be written twice: the two branches
    of a nested transaction exclude each other, so they may put the same key."""
    puts: set[bytes] = set()
    deletes = [each for each in ops if isinstance(each, DeleteOp)]
    for each in ops:
        if isinstance(each, TxnOp):
            then, otherwise = _claims(each.success), _claims(each.failure)
            _claim(then[0] | otherwise[0], puts, deletes)
            deletes += then[1] + otherwise[1]
    for each in ops:
        if isinstance(each, PutOp):
            _claim((each.key,), puts, deletes)
    return puts, deletes


def _claim(keys: Iterable[bytes], puts: set[bytes], deletes: Sequence[DeleteOp]) -> None:
    for key in keys:
        if key in puts or any(_covers(delete.key, delete.range_end, key) for delete in deletes):
            raise DuplicateKey
        puts.add(key)


def _covers(key: bytes, range_end: bytes, other: bytes) -> bool:
    if not range_end:
        return key == other
    return key <= other and (range_end == b"\0" or other < range_end)


def _holds(compare: Compare, kv: KeyValue | None) -> bool:
    have: Any
    match compare.target:
        case "VALUE":
            if kv is None:
                return False
            have = kv.value
        case "VERSION":
            have = kv.version if kv else 0
        case "CREATE":
            have = kv.create_revision if kv else 0
        case "MOD":
            have = kv.mod_revision if kv else 0
        case "LEASE":
            have = kv.lease if kv else 0
    match compare.op:
        case "EQUAL":
            return bool(have == compare.value)
        case "NOT_EQUAL":
            return bool(have != compare.value)
        case "GREATER":
            return bool(have > compare.value)
        case "LESS":
            return bool(have < compare.value)


def _in_bounds(op: RangeOp, kv: KeyValue) -> bool:
    return (
        (not op.min_mod_revision or kv.mod_revision >= op.min_mod_revision)
        and (not op.max_mod_revision or kv.mod_revision <= op.max_mod_revision)
        and (not op.min_create_revision or kv.create_revision >= op.min_create_revision)
        and (not op.max_create_revision or kv.create_revision <= op.max_create_revision)
    )


def _sort_key(target: str) -> Any:
    names = {"KEY": "key", "VERSION": "version", "CREATE": "create_revision", "MOD": "mod_revision", "VALUE": "value"}
    return lambda kv: getattr(kv, names[target])


def _without_value(kv: KeyValue) -> KeyValue:
    return KeyValue(kv.key, b"", kv.create_revision, kv.mod_revision, kv.version, kv.lease)
