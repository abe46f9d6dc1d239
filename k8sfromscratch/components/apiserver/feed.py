"""One storage watch feeds the caches of all resources.

The whole of /registry/ is read once at one revision, then watched from there: one order of events for everything, and one
number, `revision`, up to which every cache is complete.  On that number rest consistent reads: ask the store for its latest
revision (one small linearizable read, shared by all who ask in the same turn of the loop), wait until the feed has reached it,
answer from the cache.

(Upstream's etcd before 3.4.25 and 3.5.8 may send a progress mark ahead of events that it covers; ours does not.)

A lost connection is taken up again where it broke.  Where the store has compacted that away, everything is read anew and the
watchers are ended.

Resources come and go while it runs (CustomResourceDefinitions).  `on_definitions` is told when their definitions may have changed; it puts caches
into `caches` or takes them out, and has a new one filled by `adopt`: what happens there meanwhile is kept until its snapshot is read.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from k8sfromscratch.api.errors import ServiceUnavailable, Timeout
from k8sfromscratch.components.apiserver import keys
from k8sfromscratch.components.apiserver.cache import ResourceCache
from k8sfromscratch.components.apiserver.entries import Entry
from k8sfromscratch.core.mvcc.types import Event, RangeOp, WatchBatch, prefix_end
from k8sfromscratch.storage.interface import Compacted, Storage, StorageError

log = logging.getLogger(__name__)

_PAGE = 1000
_RETRY_S = 1.0
_PROBE_S = 5.0
# Longer than any healthy store needs; upstream gives up on a too large resourceVersion after three seconds as well.
_CATCH_UP_TIMEOUT_S = 3.0
# Where the awaited revision is of a key outside /registry/, no event brings it: then a progress mark is asked for.
_PROGRESS_AFTER_S = 0.02
# No revision: whoever is told this makes the read it was waiting for.
_YOUR_TURN = -1


DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"
"""The directory whose changes make directories."""


@dataclass(slots=True)
class _Adoption:
    """A cache that is being filled, and the events that it will have missed."""

    cache: ResourceCache
    events: list[tuple[str, Event]] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)


class Feed:
    def __init__(self, storage: Storage, caches: Mapping[str, ResourceCache]) -> None:
        """`caches` by directory."""
        self.revision = 0
        self.connected = False
        """Whether the store's watch is open: what /readyz reports."""
        self.on_definitions: Callable[[], None] = lambda: None
        """Called in the turn in which definitions have changed, before anybody sees that."""
        self._storage = storage
        self._caches = caches
        self._adoptions: dict[str, _Adoption] = {}
        self._loading = False
        self._synced = asyncio.Event()
        self._waiting: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._urging = False
        self._sequence = itertools.count()
        self._readers: list[asyncio.Future[int]] = []
        """Who waits for the next read of the store's revision."""
        self._reading = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    # -- life

    async def start(self) -> None:
        """Returns when the caches hold what the store holds."""
        self._task = asyncio.create_task(self._run(), name="apiserver-feed")
        probing = asyncio.create_task(self._probe(), name="apiserver-feed-probe")
        self._tasks.add(probing)
        synced = asyncio.create_task(self._synced.wait())
        await asyncio.wait({synced, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not synced.done():
            synced.cancel()
            await self._task

    async def stop(self) -> None:
        tasks = [task for task in (self._task, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    # -- consistent reads

    async def latest(self) -> int:
        """The store's revision at some moment after this call began.

        One read at a time: those who ask while it is under way share the next one, so that the busier we are, the fewer reads a request
        costs.  The first of them makes it, not a task of its own: a read that is alone takes two turns of the loop less."""
        if self._reading:
            reader: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            try:
                revision = await reader
            except asyncio.CancelledError:
                if reader.done() and not reader.cancelled() and reader.result() == _YOUR_TURN:
                    self._pass_on(self._readers)
                raise
            if revision != _YOUR_TURN:
                return revision
        self._reading = True
        sharing, self._readers = self._readers, []
        try:
            revision = (await self._storage.range(RangeOp(key=keys.ROOT, limit=1, count_only=True))).revision
        except StorageError as error:
            for reader in sharing:
                if not reader.done():
                    reader.set_exception(ServiceUnavailable(f"the store cannot be read: {error}"))
                    reader.exception()  # marked as retrieved: the reader may go away before it looks
            raise ServiceUnavailable(f"the store cannot be read: {error}") from error
        else:
            for reader in sharing:
                if not reader.done():
                    reader.set_result(revision)
            return revision
        finally:
            # Where this reader was cancelled, those who shared its read are still without an answer.
            self._pass_on([*(reader for reader in sharing if not reader.done()), *self._readers])

    def _pass_on(self, waiting: "list[asyncio.Future[int]]") -> None:
        """The next read is made by the first who waits for it."""
        self._readers = [reader for reader in waiting if not reader.done()]
        self._reading = bool(self._readers)
        if self._readers:
            self._readers.pop(0).set_result(_YOUR_TURN)

    async def reach(self, revision: int) -> None:
        """Waits until the caches hold everything up to `revision`.  Raises Timeout."""
        if self.revision >= revision:
            return
        loop = asyncio.get_running_loop()
        reached: asyncio.Future[bool] = loop.create_future()
        heapq.heappush(self._waiting, (revision, next(self._sequence), reached))
        if not self._urging:
            self._urging = True
            task = asyncio.create_task(self._urge())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        timer = loop.call_later(_CATCH_UP_TIMEOUT_S, _resolve, reached, False)
        try:
            if await reached:
                return
        finally:
            timer.cancel()
        raise Timeout(
            f"Too large resource version: {revision}, current: {self.revision}",
            details={"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
            retry_after_s=1,
        )

    async def _urge(self) -> None:
        """Asks for progress marks as long as somebody waits."""
        try:
            while True:
                last = self._waiting[0][1] if self._waiting else -1
                await asyncio.sleep(_PROGRESS_AFTER_S)
                while self._waiting and self._waiting[0][2].done():
                    heapq.heappop(self._waiting)
                if not self._waiting:
                    return
                if self._waiting[0][1] == last:
                    await self._ask_progress()
        finally:
            self._urging = False

    async def _ask_progress(self) -> None:
        try:
            await self._storage.request_progress()
        except StorageError as error:
            log.debug("no progress mark: %s", error)

    async def caught_up(self) -> int:
        """A revision at which a read is linearizable, and the caches hold it now."""
        revision = await self.latest()
        if self.revision < revision:
            await self.reach(revision)
        return max(revision, self.revision)

    # -- resources that come and go

    def adopt(self, directory: str) -> None:
        """Fills the new cache of a directory, which is in `caches` already."""
        if self._loading:
            return  # the load that is under way fills it as well
        self.abandon(directory)
        adoption = self._adoptions[directory] = _Adoption(self._caches[directory])
        task = asyncio.create_task(self._fill(directory, adoption), name=f"apiserver-feed-{directory}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def abandon(self, directory: str) -> None:
        """The directory's cache is no longer wanted."""
        adoption = self._adoptions.pop(directory, None)
        if adoption is not None:
            adoption.filled.set()

    async def filled(self, directory: str) -> None:
        """Returns when the directory's cache is as complete as all others."""
        adoption = self._adoptions.get(directory)
        if adoption is not None:
            await adoption.filled.wait()

    async def _fill(self, directory: str, adoption: _Adoption) -> None:
        prefix = keys.ROOT + directory.encode() + b"/"
        while self._adoptions.get(directory) is adoption:
            try:
                entries, revision = await self._snapshot(prefix, adoption.cache)
            except StorageError as error:
                log.warning("%s cannot be read, trying again: %s", directory, error)
                await asyncio.sleep(_RETRY_S)
                continue
            if self._adoptions.get(directory) is adoption:
                del self._adoptions[directory]
                adoption.cache.replace(entries, revision)
                for key, event in adoption.events:
                    _put(adoption.cache, key, event)
                adoption.filled.set()

    async def _snapshot(self, prefix: bytes, cache: ResourceCache) -> tuple[list[Entry], int]:
        """All objects under a prefix at one revision, and that."""
        found: list[Entry] = []
        key, revision = prefix, 0
        while True:
            page = await self._storage.range(RangeOp(key=key, range_end=prefix_end(prefix), limit=_PAGE, revision=revision))
            revision = revision or page.revision
            found += [cache.entry(kv.key[len(prefix) :].decode(), kv.value, kv.mod_revision) for kv in page.kvs]
            if not page.more:
                return found, revision
            key = page.kvs[-1].key + b"\0"

    # -- the feed itself

    async def _run(self) -> None:
        while True:
            try:
                await self._load()
                await self._follow()
            except Compacted as error:
                log.warning("watch cache fell behind the store's compaction, reading everything again: %s", error)
            except StorageError as error:
                self.connected = False
                log.warning("store not readable, trying again: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def _probe(self) -> None:
        """A watch that nothing happens on looks the same whether it is open or not: a progress mark tells."""
        while True:
            await asyncio.sleep(_PROBE_S if self.connected else _RETRY_S)
            await self._ask_progress()

    async def _load(self) -> None:
        """What belongs to custom resources is kept aside until their definitions have been read."""
        found: dict[str, list[Entry]] = {}
        aside: list[tuple[bytes, bytes, int]] = []
        key, end, revision = keys.ROOT, prefix_end(keys.ROOT), 0
        while True:
            page = await self._storage.range(RangeOp(key=key, range_end=end, limit=_PAGE, revision=revision))
            revision = revision or page.revision
            for kv in page.kvs:
                place = self._place(kv.key)
                if place is not None and not self._caches[place[0]].custom:
                    found.setdefault(place[0], []).append(Entry.from_stored(place[1], kv.value, kv.mod_revision))
                else:
                    aside.append((kv.key, kv.value, kv.mod_revision))
            if not page.more:
                break
            key = page.kvs[-1].key + b"\0"
        for directory, cache in self._caches.items():
            if not cache.custom:
                cache.replace(found.get(directory, ()), revision)
        self._load_custom(aside, revision)
        self._advance(revision)
        self.connected = True
        self._synced.set()

    def _load_custom(self, stored: list[tuple[bytes, bytes, int]], revision: int) -> None:
        for directory in list(self._adoptions):
            self.abandon(directory)
        self._loading = True
        try:
            self.on_definitions()
        finally:
            self._loading = False
        found: dict[str, list[Entry]] = {}
        for key, value, modified in stored:
            place = self._place(key)
            if place is not None:
                found.setdefault(place[0], []).append(self._caches[place[0]].entry(place[1], value, modified))
        for directory, cache in self._caches.items():
            if cache.custom:
                cache.replace(found.get(directory, ()), revision)

    async def _follow(self) -> None:
        """Applies batches until the history is lost; takes a broken connection up again at the next revision."""
        while True:
            try:
                batches = self._storage.watch(keys.ROOT, prefix_end(keys.ROOT), start_revision=self.revision + 1)
                async for batch in batches:
                    self.connected = True
                    self._apply(batch)
            except Compacted:
                raise
            except StorageError as error:
                self.connected = False
                log.warning("watch on the store broke at revision %d, taking it up again: %s", self.revision, error)
                await asyncio.sleep(_RETRY_S)

    def _apply(self, batch: WatchBatch) -> None:
        touched: set[str] = set()
        for event in batch.events:
            place = self._place(event.kv.key)
            if place is None:
                continue
            directory, key = place
            adoption = self._adoptions.get(directory)
            if adoption is not None:
                adoption.events.append((key, event))
                continue
            _put(self._caches[directory], key, event)
            touched.add(directory)
            if directory == DEFINITIONS:
                # Here and now: the next event of the batch may be of a resource that this one defines.
                self.on_definitions()
        self._advance(batch.revision)
        for directory in touched:
            if directory in self._caches:
                self._caches[directory].wake_soon()

    def _advance(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        while self._waiting and self._waiting[0][0] <= self.revision:
            _resolve(heapq.heappop(self._waiting)[2], True)

    def _place(self, key: bytes) -> tuple[str, str] | None:
        """Directory and object key of a stored key; None where no served resource lives there."""
        return place_of(key, self._caches)


def _put(cache: ResourceCache, key: str, event: Event) -> None:
    """An event that the cache's own snapshot had already is passed over."""
    if event.kv.mod_revision <= cache.oldest_revision:
        return
    if event.type == "PUT":
        cache.put(key, event.kv.value, event.kv.mod_revision)
    else:
        cache.delete(key, event.kv.mod_revision)


def place_of(key: bytes, directories: Mapping[str, object]) -> tuple[str, str] | None:
    first, _, rest = key[len(keys.ROOT) :].decode().partition("/")
    if first in directories:
        return (first, rest)
    second, _, rest = rest.partition("/")
    directory = f"{first}/{second}"
    return (directory, rest) if directory in directories else None


def _resolve(reached: "asyncio.Future[bool]", value: bool) -> None:
    if not reached.done():
        reached.set_result(value)
