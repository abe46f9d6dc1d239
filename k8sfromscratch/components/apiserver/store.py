"""Writes of one object with optimistic concurrency: the transactions behind every verb that changes something.

An update starts from the cached entry, which may be behind.  It is written only if the stored object is still that one; if not,
the transaction brings the present one and the change is computed again.  A change that is *refused* on a cached entry is
computed again on a fresh one before the refusal is believed, since the cache may have missed what would allow it.

Source of the scheme: etcd3.GuaranteedUpdate.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import EVENTS
from k8sfromscratch.components.apiserver.catalog import Served
from k8sfromscratch.components.apiserver.entries import Entry, Object, encode, with_revision
from k8sfromscratch.components.apiserver.event_leases import EventLeases
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.core.mvcc.types import Compare, DeleteOp, Op, PutOp, RangeOp, RangeResult, TxnResult
from k8sfromscratch.storage.interface import LeaseNotFound, NoSpace, Storage, Unavailable

# A writer that loses this often in a row competes with a storm; the client's own retry is better than ours.
_ATTEMPTS_MAX = 50


@dataclass(slots=True)
class Along:
    """What must hold and is written in the same transaction as the object: its allocations."""

    compare: list[Compare] = field(default_factory=list)
    writes: list[Op] = field(default_factory=list)


@dataclass(slots=True)
class Write:
    obj: Object
    along: Along = field(default_factory=Along)


@dataclass(slots=True)
class Delete:
    """Remove the object.  `obj` is its last state as the client shall see it; None for the present one."""

    obj: Object | None = None
    along: Along = field(default_factory=Along)


Change = Callable[[Object | None], Awaitable[Write | Delete]]
"""From the present object (the callee's own copy, with resourceVersion; None where there is none) to what shall be done.
Raises ApiError to refuse.  May be called several times."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`entry` is the object after a write; of a deletion, its last state."""

    entry: Entry
    created: bool = False
    deleted: bool = False


class Store:
    def __init__(self, storage: Storage, feed: Feed, event_leases: EventLeases) -> None:
        self._storage = storage
        self._feed = feed
        self._event_leases = event_leases

    async def fresh(self, served: Served, key: str) -> Entry | None:
        """The stored object by a linearizable read."""
        try:
            return _entry(await self._storage.range(RangeOp(key=served.storage_key(key))), key)
        except Unavailable as error:
            raise errors.ServiceUnavailable(f"the store cannot be read: {error}", retry_after_s=1) from error

    async def create(self, served: Served, key: str, build: Callable[[], Write], *, dry_run: bool = False) -> Entry:
        """Raises AlreadyExists.  `build` is called again where an allocation was taken by someone else meanwhile."""
        storage_key = served.storage_key(key)
        name = key.rpartition("/")[2]
        if dry_run:
            present = await self.fresh(served, key)
            if present is not None:
                raise _exists(served, present)
            return Entry(key, encode(build().obj), 0)
        lease = await self._lease(served)
        for _ in range(_ATTEMPTS_MAX):
            write = build()
            stored = encode(write.obj)
            result = await self._txn(
                [Compare(storage_key, "VERSION", "EQUAL", 0), *write.along.compare],
                [PutOp(storage_key, stored, lease), *write.along.writes],
                [RangeOp(key=storage_key)],
            )
            if result.succeeded:
                return Entry.from_stored(key, stored, result.revision)
            found = result.responses[0]
            assert isinstance(found, RangeResult)
            present = _entry(found, key)
            if present is not None:
                raise _exists(served, present)
            # Someone has what was to be written along: the caches must show it before anything is proposed again.
            await self._feed.caught_up()
        raise errors.conflict(served.resource.plural, name, served.resource.group)

    async def update(self, served: Served, key: str, change: Change, *, dry_run: bool = False) -> Outcome:
        """Applies `change` until it fits.  A change that makes an object of None creates it.  Nothing is written where nothing changed."""
        storage_key = served.storage_key(key)
        current = served.cache.get(key)
        is_fresh = current is None
        if current is None:
            current = await self.fresh(served, key)
        for _ in range(_ATTEMPTS_MAX):
            try:
                wanted = await change(None if current is None else current.decode())
            except errors.ApiError:
                if is_fresh:
                    raise
                current, is_fresh = await self.fresh(served, key), True
                continue
            revision = 0 if current is None else current.revision
            last, stored = current, b""
            write: Op = DeleteOp(storage_key)
            if isinstance(wanted, Delete):
                if current is None:
                    raise errors.not_found(served.resource.plural, key.rpartition("/")[2], served.resource.group)
                if wanted.obj is not None:
                    last = Entry.from_stored(key, encode(wanted.obj), revision)
            else:
                stored = encode(wanted.obj)
                if current is not None and with_revision(stored, revision) == current.raw:
                    if is_fresh:
                        return Outcome(current)
                    # "Nothing to change" is also a claim about the present object.
                    current, is_fresh = await self.fresh(served, key), True
                    continue
                write = PutOp(storage_key, stored, await self._lease(served))
            if dry_run:
                return _outcome(key, last, stored, revision, current)
            result = await self._txn(
                [Compare(storage_key, "MOD", "EQUAL", revision), *wanted.along.compare], [write, *wanted.along.writes], [RangeOp(key=storage_key)]
            )
            if result.succeeded:
                return _outcome(key, last, stored, result.revision, current)
            present = result.responses[0]
            assert isinstance(present, RangeResult)
            current, is_fresh = _entry(present, key), True
            if current is not None and current.revision == revision:
                await self._feed.caught_up()
        raise errors.conflict(served.resource.plural, key.rpartition("/")[2], served.resource.group)

    async def _lease(self, served: Served) -> int:
        """0 for what is kept for ever."""
        if served.stored != EVENTS:
            return 0
        try:
            return await self._event_leases.get()
        except Unavailable as error:
            raise errors.ServiceUnavailable(f"the store does not answer: {error}", retry_after_s=1) from error

    async def _txn(self, compare: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op]) -> TxnResult:
        try:
            return await self._storage.txn(compare, success, failure)
        except NoSpace as error:
            raise errors.InternalError(f"the store is out of space: {error}") from error
        except LeaseNotFound as error:
            self._event_leases.forget()
            raise errors.ServiceUnavailable(f"the store has forgotten a lease of ours: {error}", retry_after_s=1) from error
        except Unavailable as error:
            raise errors.ServiceUnavailable(f"the store does not answer; whether it wrote is not known: {error}") from error


def _exists(served: Served, present: Entry) -> errors.AlreadyExists:
    error = errors.already_exists(served.resource.plural, present.key.rpartition("/")[2], served.resource.group)
    if not present.decode()["metadata"].get("deletionTimestamp"):
        return error
    return errors.AlreadyExists(f"object is being deleted: {error.message}", details=error.details)


def _entry(result: RangeResult, key: str) -> Entry | None:
    if not result.kvs:
        return None
    kv = result.kvs[0]
    return Entry.from_stored(key, kv.value, kv.mod_revision)


def _outcome(key: str, last: Entry | None, stored: bytes, revision: int, before: Entry | None) -> Outcome:
    """Of a write of `stored` at `revision`, or, where that is empty, of a deletion that left `last`."""
    if stored:
        return Outcome(Entry.from_stored(key, stored, revision), created=before is None)
    assert last is not None
    return Outcome(last, deleted=True)
