"""WATCH: a stream of lines from the cache's log, starting where the client says.

    resourceVersion   none or "0"            the objects that are there as ADDED, then what happens
                      N                      what happened after N, or an ERROR event with 410 where that is no longer known
    sendInitialEvents=true (KEP-3157)        the objects that are there, then a bookmark that says "these were all", then what happens

An object that comes to match a selector is told as ADDED, one that ceases to as DELETED (with its state before).  Bookmarks
carry a revision up to which the stream is complete, so that a client that was quiet for long can resume.

A stream ends at its timeout, at shutdown, or when it reads so slowly that the log's window has passed it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import orjson

from k8sfromscratch.api import errors
from k8sfromscratch.components.apiserver.cache import CacheEvent, Cursor, EventType, Listener, ResourceCache, WindowPassed, at_revision, event_line
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.conversion import as_served
from k8sfromscratch.components.apiserver.entries import Entry
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.inflight import Streams
from k8sfromscratch.components.apiserver.reads import parse_revision, parse_seconds
from k8sfromscratch.components.apiserver.selection import Selection, selection
from k8sfromscratch.components.apiserver.transforms import Transformer
from k8sfromscratch.process.clock import Clock
from k8sfromscratch.process.http import Response

# Upstream: a watch that does not say lives between 30 and 60 minutes, at random so that they do not all end together.
_TIMEOUT_S_MIN = 1800
_BOOKMARK_S = 60.0
# Objects in one chunk of the initial events: large enough to be efficient, small enough that others get their turn.
_INITIAL_CHUNK = 500

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Watches:
    def __init__(self, streams: Streams, feed: Feed, transformer: Transformer, clock: Clock, rng: random.Random) -> None:
        self._streams = streams
        self._feed = feed
        self._transformer = transformer
        self._clock = clock
        self._rng = rng
        self.stopping = False
        self.open = 0

    async def watch(self, call: Call) -> Response:
        request = call.request
        chosen = selection(request, call.served, call.namespace)
        revision = parse_revision(request.arg("resourceVersion"))
        bookmarks = request.arg("allowWatchBookmarks") in ("true", "1")
        initial = self._initial_events(call, revision)
        timeout_s = parse_seconds(request.arg("timeoutSeconds")) or self._rng.uniform(_TIMEOUT_S_MIN, 2 * _TIMEOUT_S_MIN)
        if revision is None:
            await self._feed.caught_up()
        elif initial and revision:
            await self._feed.reach(revision)
        stream = _Stream(self, call, chosen, bookmarks)
        # Cursor and initial objects are taken in one turn, now: nothing is lost between them, nor before the first line is read.
        cache, now = call.served.cache, self._feed.revision
        try:
            cursor = cache.cursor_after(now if initial else revision or now)
        except WindowPassed:
            gone = errors.Gone(f"too old resource version: {revision} ({cache.oldest_revision})")
            return Response(200, _once(stream.error(gone)), "application/json")
        entries = cache.entries(chosen.namespace) if initial else []
        end_s = self._clock.monotonic() + timeout_s
        return Response(200, self._lines(stream, cursor, entries, 0 if initial else revision or 0, now, end_s), "application/json")

    def stop(self, caches: Iterable[ResourceCache]) -> None:
        """Ends every stream, with a last bookmark where it takes them."""
        self.stopping = True
        for cache in caches:
            cache.wake()

    def _initial_events(self, call: Call, revision: int | None) -> bool:
        asked = call.request.arg("sendInitialEvents")
        match = call.request.arg("resourceVersionMatch")
        if not asked:
            if match:
                raise _bad_options("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
            return not revision
        if match != "NotOlderThan":
            raise _bad_options("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        return asked in ("true", "1")

    async def _lines(self, stream: "_Stream", cursor: Cursor, entries: Sequence[Entry], after: int, now: int, end_s: float) -> AsyncIterator[bytes]:
        """`entries` are told first, as of revision `now`; then what is at the cursor and later than `after`."""
        cache, feed, clock = stream.cache, self._feed, self._clock
        listener, ahead_s = Listener(cache), asyncio.get_running_loop().time() - clock.monotonic()
        self.open += 1
        self._streams.opened(stream.call.user, stream.call.info)
        try:
            # Sent before the first event, so that the client has its answer's head although nothing happens.
            yield b""
            for start in range(0, len(entries), _INITIAL_CHUNK):
                chunk = stream.initial(entries[start : start + _INITIAL_CHUNK])
                if chunk:
                    yield chunk
            if stream.bookmarks and stream.call.request.arg("sendInitialEvents"):
                yield stream.bookmark(now, {INITIAL_EVENTS_END: "true"})
            bookmark_s = clock.monotonic() + _BOOKMARK_S
            while True:
                try:
                    events = cache.read(cursor)
                except WindowPassed:
                    return
                if events:
                    chunk = stream.events(events, after, cursor)
                    if chunk:
                        yield chunk
                    continue
                now_s = clock.monotonic()
                if self.stopping or cache.ended or now_s >= end_s:
                    break
                if stream.bookmarks and now_s >= bookmark_s:
                    bookmark_s = now_s + _BOOKMARK_S
                    yield stream.bookmark(feed.revision)
                    continue
                await listener.wait(ahead_s + (min(end_s, bookmark_s) if stream.bookmarks else end_s))
            if stream.bookmarks:
                # All that this revision covers has just been read, in this same turn.
                yield stream.bookmark(feed.revision)
        finally:
            self.open -= 1
            self._streams.closed(stream.call.user, stream.call.info)
            listener.close()


class _Stream:
    """What one watcher is told: which events, and in which form."""

    def __init__(self, watches: Watches, call: Call, chosen: Selection, bookmarks: bool) -> None:
        self.cache: ResourceCache = call.served.cache
        self.call = call
        self.chosen = chosen
        self.bookmarks = bookmarks
        self._plain = not call.output.transform and call.served.resource is call.served.stored
        self._form: Callable[[Entry], bytes] = self._served if not call.output.transform else self._transformed
        self._transformer = watches._transformer
        self._headed = False

    def initial(self, entries: Sequence[Entry]) -> bytes:
        matches = self.chosen.matches
        return b"".join([self._line("ADDED", entry) for entry in entries if matches(entry)])

    def events(self, events: Sequence[CacheEvent], after: int, cursor: Cursor) -> bytes:
        """`cursor` stands behind the events."""
        chosen = self.chosen
        if chosen.everything and self._plain and events[0].entry.revision > after:
            return self.cache.lines(cursor, len(events), chosen.namespace)
        lines: list[bytes] = []
        for event in events:
            if event.entry.revision <= after or not chosen.in_namespace(event.entry.key):
                continue
            if chosen.everything:
                lines.append(event.line if self._plain else self._line(event.type, event.entry))
                continue
            told = _as_selected(event, chosen)
            if told is not None:
                lines.append(event.line if self._plain and told[1] is event.entry and told[0] == event.type else self._line(*told))
        return b"".join(lines)

    def bookmark(self, revision: int, annotations: dict[str, str] | None = None) -> bytes:
        metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        resource = self.call.served.resource
        obj: dict[str, object] = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if self.call.output.transform:
            obj = self._transformer.bookmark(self.call, obj)
        return orjson.dumps({"type": "BOOKMARK", "object": obj}) + b"\n"

    def error(self, error: errors.ApiError) -> bytes:
        return orjson.dumps({"type": "ERROR", "object": error.status()}) + b"\n"

    def _line(self, type: EventType, entry: Entry) -> bytes:
        return event_line(type, self._form(entry))

    def _served(self, entry: Entry) -> bytes:
        return as_served(self.call.served, entry.raw)

    def _transformed(self, entry: Entry) -> bytes:
        form = orjson.dumps(self._transformer.one(self.call, entry, headed=not self._headed))
        self._headed = True
        return form


def _as_selected(event: CacheEvent, chosen: Selection) -> tuple[EventType, Entry] | None:
    """The event as someone sees it who sees only the matching objects."""
    was = event.previous is not None and chosen.matches(event.previous)
    if event.type == "DELETED":
        return ("DELETED", event.entry) if was else None
    if chosen.matches(event.entry):
        return ("MODIFIED" if was else "ADDED", event.entry)
    if was and event.previous is not None:
        return ("DELETED", at_revision(event.previous, event.entry.revision))
    return None


async def _once(line: bytes) -> AsyncIterator[bytes]:
    yield line


def _bad_options(why: str) -> errors.Invalid:
    return errors.invalid_options("ListOptions", errors.Cause("FieldValueForbidden", f"Forbidden: {why}", "resourceVersionMatch"))
