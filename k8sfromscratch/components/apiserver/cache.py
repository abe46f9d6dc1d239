"""The watch cache of one resource: all its objects now, and the events that led there lately.

    storage watch ──> Feed ──apply()──> ResourceCache ──┬── entries (sorted by key)   GET, LIST
                                                        └── log (a window of events)  every watcher reads it at its own cursor

Watchers have no queue of their own.  The log is the one buffer: a watcher that is so slow that the window has passed its cursor
has lost events and is ended (its client lists again).  So a thousand watchers cost no memory, and each event is encoded once.

The feed, and the guarantee that a cache has reached some revision, are in `feed`; who watches how is in `watches`.
"""

import asyncio
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from k8sfromscratch.components.apiserver.entries import Entry, FieldsOf

# Enough for a watcher to be a second late at 4,000 writes per second; with 2 KiB objects at most 16 MiB more than the objects.
WINDOW_EVENTS = 4096

# About what it takes to write to one watcher, twice: woken no sooner again, watchers take at most half of the processor.
_TELLING_S = 50e-6
# No event waits longer than this for that reason.
_REST_S_MAX = 0.025

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
    def __init__(self, fields_of: FieldsOf, window: int = WINDOW_EVENTS, read_stored: Callable[[bytes], bytes] | None = None) -> None:
        """`read_stored` turns what the store has into what is served of it: custom resources are pruned and defaulted by today's schema."""
        self.fields_of = fields_of
        self._read_stored = read_stored
        self.ended = False
        """Its resource is served no more, or by another cache: watchers end when they have been told the last."""
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
        self._listening: dict[Listener, None] = {}
        self._wake_timer: asyncio.TimerHandle | None = None
        self._rested_s = 0.0
        self._told: dict[tuple[int, int, str | None], bytes] = {}

    # -- what is there now

    @property
    def custom(self) -> bool:
        return self._read_stored is not None

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
        self._told.clear()
        self._log_after = revision
        self._epoch += 1
        self.changes += 1
        self.wake()

    def entry(self, key: str, stored: bytes, revision: int) -> Entry:
        """What the store has, as this cache holds it."""
        return Entry.from_stored(key, stored if self._read_stored is None else self._read_stored(stored), revision)

    def end(self) -> None:
        self.ended = True
        self.wake()

    def put(self, key: str, stored: bytes, revision: int) -> None:
        entry = self.entry(key, stored, revision)
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
        self._told.clear()
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

    def lines(self, cursor: "Cursor", count: int, namespace: str | None) -> bytes:
        """The last `count` events before the cursor, of one namespace or of all, as they go to a watcher who sees everything there.  Joined
        once for all watchers that are as far."""
        key = (cursor.position, count, namespace)
        joined = self._told.get(key)
        if joined is None:
            end = cursor.position - self._log_base
            events = self._log[end - count : end]
            prefix = "" if namespace is None else f"{namespace}/"
            joined = self._told[key] = b"".join([event.line for event in events if event.entry.key.startswith(prefix)])
        return joined

    def wake(self) -> None:
        """Wakes who waits for something new."""
        if self._wake_timer is not None:
            self._wake_timer.cancel()
            self._wake_timer = None
        listening, self._listening = self._listening, {}
        self._rested_s = asyncio.get_running_loop().time() + min(len(listening) * _TELLING_S, _REST_S_MAX)
        for listener in listening:
            listener.ring()

    def wake_soon(self) -> None:
        """Called by the feed once a batch is applied: at once after a quiet time; in a storm, only when those who were woken last have had
        time to be told.  To write three events in one piece costs a watcher little more than to write one."""
        if self._wake_timer is not None:
            return
        loop = asyncio.get_running_loop()
        left_s = self._rested_s - loop.time()
        if left_s <= 0:
            self.wake()
        else:
            self._wake_timer = loop.call_later(left_s, self.wake)

    async def changed(self, timeout_s: float) -> None:
        """Returns after the next batch that touches this resource, or after `timeout_s`.  There may be nothing new for the caller."""
        listener = Listener(self)
        try:
            await listener.wait(asyncio.get_running_loop().time() + timeout_s)
        finally:
            listener.close()

    @property
    def oldest_revision(self) -> int:
        return self._log_after


@dataclass(slots=True)
class Cursor:
    """A place in the log, counted from the cache's birth.  The epoch changes when the log's continuity was lost."""

    position: int
    epoch: int


class Listener:
    """Someone who waits for changes, again and again, and no longer than until some time: a timer that stays while that stays."""

    __slots__ = ("_cache", "_timer", "_until_s", "_woken")

    def __init__(self, cache: ResourceCache) -> None:
        self._cache = cache
        self._woken: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until_s = 0.0

    async def wait(self, until_s: float) -> None:
        """`until_s` is of the loop's clock."""
        loop = asyncio.get_running_loop()
        if self._timer is None or self._until_s != until_s:
            if self._timer is not None:
                self._timer.cancel()
            self._until_s = until_s
            self._timer = loop.call_at(until_s, self._due)
        self._woken = loop.create_future()
        self._cache._listening[self] = None
        await self._woken

    def ring(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def close(self) -> None:
        self._cache._listening.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def _due(self) -> None:
        self._timer = None
        self._cache._listening.pop(self, None)
        self.ring()


def at_revision(entry: Entry, revision: int) -> Entry:
    """The same object under another resourceVersion: how a deletion is told."""
    obj = entry.decode()
    obj["metadata"]["resourceVersion"] = str(revision)
    return Entry(entry.key, orjson.dumps(obj), revision)
