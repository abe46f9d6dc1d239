"""Watches on a store in this process: each has its queue, filled as transactions commit.

    invariant: a watcher has been given every event of its range up to `seen`, exactly once, whole revisions only; a progress mark
               is put only behind those events.

A watcher that does not take what it is given is cut off when its queue is full: memory is bounded, and its reader lists again.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from k8sfromscratch.core.mvcc.types import Event, WatchBatch
from k8sfromscratch.storage.interface import StorageError, Unavailable

QUEUE_MAX = 100_000
"""Batches a watcher may be behind."""


@dataclass(eq=False, slots=True)
class Watcher:
    key: bytes
    range_end: bytes
    prev_kv: bool
    seen: int
    batches: deque[WatchBatch] = field(default_factory=deque)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    failure: StorageError | None = None

    def __post_init__(self) -> None:
        if self.range_end not in (b"", b"\0") and self.key >= self.range_end:
            raise StorageError("mvcc: watcher range is empty")

    def wants(self, key: bytes) -> bool:
        if not self.range_end:
            return key == self.key
        return self.key <= key and (self.range_end == b"\0" or key < self.range_end)

    def put(self, batch: WatchBatch) -> None:
        if self.failure is not None:
            return
        if len(self.batches) >= QUEUE_MAX:
            self.fail(Unavailable("the watch fell too far behind"))
            return
        self.batches.append(batch)
        self.seen = batch.revision
        self.filled.set()

    def fail(self, error: StorageError) -> None:
        self.failure = error
        self.filled.set()


class WatcherGroup:
    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    def add(self, watcher: Watcher) -> None:
        self._watchers.add(watcher)

    def publish(self, revision: int, events: Sequence[Event]) -> None:
        """The events of one committed revision, which carry prev_kv."""
        for watcher in self._watchers:
            mine = [event for event in events if watcher.wants(event.kv.key)]
            if mine:
                shown = mine if watcher.prev_kv else [Event(e.type, e.kv) if e.prev_kv is not None else e for e in mine]
                watcher.put(WatchBatch(revision, shown))

    def progress(self, revision: int) -> None:
        for watcher in self._watchers:
            watcher.put(WatchBatch(revision, ()))

    def fail_all(self, error: StorageError) -> None:
        for watcher in self._watchers:
            watcher.fail(error)

    async def read(self, watcher: Watcher) -> AsyncIterator[WatchBatch]:
        """What the watcher is given, until it fails.  Leaving the iterator ends the watch."""
        try:
            while True:
                while watcher.batches:
                    yield watcher.batches.popleft()
                if watcher.failure is not None:
                    raise watcher.failure
                watcher.filled.clear()
                await watcher.filled.wait()
        finally:
            self._watchers.discard(watcher)

    def __len__(self) -> int:
        return len(self._watchers)
