"""The watch cache of one resource: all its objects now, and the events that led there lately.

    storage watch ──> Feed ──apply()──> ResourceCache ──┬── entries (sorted by key)   GET, LIST
                                                        └── log (a window of events)  every watcher reads it at its own cursor

Watchers have no queue of their own.  The log is the one buffer: a watcher that is so slow that the window has passed its cursor
has lost events and is ended (its client lists again).  So a thousand watchers cost no memory, and each event is encoded once.

The feed, and the guarantee that a cache has reached some revision, are in `feed`; who watches how is in `watches`.
"""

import asyncio
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from k8sfromscratch.components.apiserver.entries import Entry, FieldsOf

# Enough for a watcher to be a second late at 4,000 writes per second; with 2 KiB objects at most 16 MiB more than the objects.
WINDOW_EVENTS = 4096

_ADDED, _MODIFIED, _DELETED = b'{"type":"ADDED","object":', b'{"type":"MODIFIED","object":', b'{"type":"DELETED","object":'
_HEADS = {"ADDED": _ADDED, "MODIFIED": _MODIFIED, "DELETED": _DELETED}
EventType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(slots=True)
class CacheEvent:
    """`entry` is the object after the event; of a deletion its last state, at the revision of the deletion.
    `previous` is the entry before it."""

    type: EventType
    entry: Entry
    previous: Entry | None
    _line: bytes | None = None

    @property
    def line(self) -> bytes:
        """The event as it goes to every watcher, encoded when the first one asks."""
        if self._line is None:
            self._line = event_line(self.type, self.entry.raw)
        return self._line


def event_line(type: EventType, raw: bytes) -> bytes:
    return b"%b%b}\n" % (_HEADS[type], raw)


class WindowPassed(Exception):
    """The events from there on are no longer all in the window."""


class ResourceCache:
    def __init__(self, fields_of: FieldsOf, window: int = WINDOW_EVENTS) -> None:
        self.fields_of = fields_of
        self.changes = 0
        """Counts applied events: equal counts mean equal contents, so that derived data can be kept as long as it stays."""
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._window = window
        self._log: list[CacheEvent] = []
        self._log_base = 0
        # Every event with a revision greater than this is in the log.
        self._log_after = 0
        self._epoch = 0
        self._waiters: list[asyncio.Future[None]] = []

    # -- what is there now

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def __len__(self) -> int:
        return len(self._keys)

    def entries(self, namespace: str | None = None) -> list[Entry]:
        """In order of keys, of one namespace or of all."""
        entries = self._entries
        return [entries[key] for key in self.keys(namespace)]

    def keys(self, namespace: str | None = None) -> Sequence[str]:
        if namespace is None:
            return self._keys
        start = bisect_left(self._keys, f"{namespace}/")
        return self._keys[start : bisect_left(self._keys, f"{namespace}0", start)]  # "0" follows "/"

    # -- what the feed does

    def replace(self, entries: Iterable[Entry], revision: int) -> None:
        """The state at `revision`, after a first load or a lost watch.  Watchers that stand before it are ended."""
        self._entries = {entry.key: entry for entry in entries}
        self._keys = sorted(self._entries)
        self._log_base += len(self._log)
        self._log = []
        self._log_after = revision
        self._epoch += 1
        self.changes += 1
        self.wake()

    def put(self, key: str, stored: bytes, revision: int) -> None:
        entry = Entry.from_stored(key, stored, revision)
        previous = self._entries.get(key)
        if previous is None:
            insort(self._keys, key)
        self._entries[key] = entry
        self._append(CacheEvent("ADDED" if previous is None else "MODIFIED", entry, previous))

    def delete(self, key: str, revision: int) -> None:
        previous = self._entries.pop(key, None)
        if previous is None:
            return
        del self._keys[bisect_left(self._keys, key)]
        self._append(CacheEvent("DELETED", at_revision(previous, revision), previous))

    def _append(self, event: CacheEvent) -> None:
        self._log.append(event)
        self.changes += 1
        if len(self._log) >= 2 * self._window:
            # Halves at a time: cutting one by one from the front of a list would cost its whole length each.
            self._log_after = self._log[self._window - 1].entry.revision
            del self._log[: self._window]
            self._log_base += self._window

    # -- what watchers do

    def cursor_after(self, revision: int) -> "Cursor":
        """Where the events after `revision` begin.  Raises WindowPassed when they are not all kept."""
        if revision < self._log_after:
            raise WindowPassed
        index = bisect_left(self._log, revision + 1, key=lambda event: event.entry.revision)
        return Cursor(self._log_base + index, self._epoch)

    def cursor_now(self) -> "Cursor":
        """Where the events that are yet to come will begin."""
        return Cursor(self._log_base + len(self._log), self._epoch)

    def read(self, cursor: "Cursor") -> Sequence[CacheEvent]:
        """The events at the cursor and later, which moves behind them.  Raises WindowPassed when it was too slow."""
        index = cursor.position - self._log_base
        if index < 0 or cursor.epoch != self._epoch:
            raise WindowPassed
        events = self._log[index:]
        cursor.position += len(events)
        return events

    def wake(self) -> None:
        """Called by the feed once a batch is applied."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self, timeout_s: float) -> None:
        """Returns after the next batch that touches this resource, or after `timeout_s`.  There may be nothing new for the caller."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(timeout_s, _resolve, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    @property
    def oldest_revision(self) -> int:
        return self._log_after


@dataclass(slots=True)
class Cursor:
    """A place in the log, counted from the cache's birth.  The epoch changes when the log's continuity was lost."""

    position: int
    epoch: int


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def at_revision(entry: Entry, revision: int) -> Entry:
    """The same object under another resourceVersion: how a deletion is told."""
    obj = entry.decode()
    obj["metadata"]["resourceVersion"] = str(revision)
    return Entry(entry.key, orjson.dumps(obj), revision)
