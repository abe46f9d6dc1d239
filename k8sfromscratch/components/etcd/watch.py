"""The Watch service: many watches a stream, fed as revisions are applied.

    invariant: when a revision has been applied, every watch of the hub that wants it has it in its stream's output: those are in step.
               So progress may be told to them at any time, and never before the events.

A watch that begins in the past is brought up to now before it joins them: most of them in the turn in which they are created, a long history in
slices of so many events, one a turn, as its client reads them.  Until then it is told no progress, nor is its stream as a whole; what is compacted
away before it was told ends it, as it ends one that comes too late.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from k8sfromscratch.components.etcd.connection import Call
from k8sfromscratch.components.etcd.member import Member
from k8sfromscratch.core.mvcc.auth import READ
from k8sfromscratch.core.mvcc.auth_errors import AuthError
from k8sfromscratch.core.mvcc.intervals import Interval, IntervalMap
from k8sfromscratch.core.mvcc.types import Event
from k8sfromscratch.core.rpc import grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.core.rpc.etcd_responses import event_field, watch_response

FRAGMENT_BYTES = 1_500_000
"""A watch that asked for fragments gets no larger messages than about this (etcd's request limit)."""
CATCH_UP_EVENTS = 1000
"""Events of the past that are told in one message and one turn of the loop, unless one revision has more: some milliseconds of others' waiting."""
UNREAD_MAX_BYTES = 16 * 1024 * 1024
"""A slice waits while the client has so much to read."""
UNREAD_PAUSE_S = 0.01
WATCHES_MAX = 100_000
"""A stream may have so many."""


@dataclass(eq=False, slots=True)
class Watch:
    id: int
    key: bytes
    range_end: bytes
    start_revision: int
    prev_kv: bool
    no_put: bool
    no_delete: bool
    fragment: bool
    progress_notify: bool
    stream: "WatchStream"

    def wants(self, event: Event) -> bool:
        if (self.no_put and event.type == "PUT") or (self.no_delete and event.type == "DELETE"):
            return False
        key = event.kv.key
        if not self.range_end:
            return key == self.key
        return self.key <= key and (self.range_end == b"\0" or key < self.range_end)


class WatchHub:
    """All watches of all streams: those of single keys are found by the key, the others by the intervals that hold it."""

    def __init__(self, member: Member) -> None:
        self.member, self.store, self.header = member, member.store, member.header
        self._single: dict[bytes, set[Watch]] = {}
        self._ranges: IntervalMap[Watch] = IntervalMap()
        self.generation = 0
        """How often a leader's snapshot has taken the place of the store: a history that was begun before is none any more."""
        member.engine.subscribe(self.publish)
        member.engine.on_restored(self.restored)

    def add(self, watch: Watch) -> None:
        if watch.range_end:
            self._ranges.add(Interval.of(watch.key, watch.range_end), watch)
        else:
            self._single.setdefault(watch.key, set()).add(watch)

    def discard(self, watch: Watch) -> None:
        if watch.range_end:
            self._ranges.discard(Interval.of(watch.key, watch.range_end), watch)
            return
        alike = self._single.get(watch.key)
        if alike is not None:
            alike.discard(watch)
            if not alike:
                del self._single[watch.key]

    def publish(self, revision: int, events: Sequence[Event]) -> None:
        """The events of one revision, to all who want them.  Most want all of them: those are sent the same bytes."""
        wanted: dict[Watch, list[Event]] = {}
        for event in events:
            for watch in self._interested(event.kv.key):
                if revision >= watch.start_revision and watch.wants(event):
                    wanted.setdefault(watch, []).append(event)
        written: dict[tuple[int, bool], bytes] = {}
        for watch, mine in wanted.items():
            if len(mine) < len(events) or watch.fragment:
                watch.stream.deliver(watch, mine)
                continue
            message = written.get((watch.id, watch.prev_kv))
            if message is None:
                fields = [event_field(event, prev_kv=watch.prev_kv) for event in mine]
                message = written[watch.id, watch.prev_kv] = watch_response(self.member.written_header(self.store.revision), watch.id, fields)
            watch.stream.send(message)

    def restored(self, revision: int) -> None:
        """The store has jumped from this revision: watches that were in step are told what lies between, or that it is compacted."""
        self.generation += 1
        for watch in [*self._ranges, *(w for alike in self._single.values() for w in alike)]:
            since = max(watch.start_revision, revision + 1)
            if since <= self.store.revision:
                self.discard(watch)
                watch.stream.fall_behind(watch, since)

    def notify_progress(self) -> None:
        """To watches that asked for it at their creation."""
        for watch in [*self._ranges, *(w for alike in self._single.values() for w in alike)]:
            if watch.progress_notify:
                watch.stream.progress(watch.id)

    def __len__(self) -> int:
        return len(self._ranges) + sum(len(alike) for alike in self._single.values())

    def _interested(self, key: bytes) -> Iterable[Watch]:
        single = self._single.get(key)
        return self._ranges.at(key) if single is None else [*self._ranges.at(key), *single]


class WatchStream:
    """One Watch call."""

    def __init__(self, call: Call, hub: WatchHub) -> None:
        self._call, self._hub = call, hub
        self._watches: dict[int, Watch] = {}
        self._behind: set[Watch] = set()
        """Those of them that are not told everything yet."""
        self._progress_owed = False
        self._next_id = 0
        self._ended = False

    def message(self, data: bytes) -> None:
        try:
            request = m.WatchRequest.FromString(data)
        except DecodeError as error:
            self._call.finish(grpc.INTERNAL, f"grpc: the request cannot be read: {error}")
            self.closed()
            return
        match request.WhichOneof("request_union"):
            case "create_request":
                self._create(request.create_request)
            case "cancel_request":
                watch = self._watches.get(request.cancel_request.watch_id)
                if watch is not None:
                    self._send(m.WatchResponse(header=self._hub.header(self._hub.store.revision), watch_id=watch.id, canceled=True))
                    self._forget(watch)
            case "progress_request":
                if self._behind:
                    self._progress_owed = True
                else:
                    self.progress(-1)

    def half_closed(self) -> None:
        """A client that will ask for nothing more still wants what it asked for."""
        return

    def closed(self) -> None:
        self._ended = True
        for watch in self._watches.values():
            self._hub.discard(watch)
        self._watches.clear()
        self._behind.clear()

    def progress(self, watch_id: int) -> None:
        """To watch -1 it speaks for all watches of the stream, which are all in step."""
        self._send(m.WatchResponse(header=self._hub.header(self._hub.store.revision), watch_id=watch_id))

    def deliver(self, watch: Watch, events: Sequence[Event]) -> None:
        fields = [event_field(event, prev_kv=watch.prev_kv) for event in events]
        header = self._hub.member.written_header(self._hub.store.revision)
        parts = list(_fragments(fields)) if watch.fragment else [fields]
        for number, part in enumerate(parts):
            self.send(watch_response(header, watch.id, part, fragment=number < len(parts) - 1))

    def send(self, message: bytes) -> None:
        """A WatchResponse."""
        self._call.send(message)

    def fall_behind(self, watch: Watch, since: int) -> None:
        """It was in step, and is not any more."""
        self._behind.add(watch)
        asyncio.get_running_loop().call_soon(self._catch_up_if_wanted, watch, since)

    def _create(self, request: Any) -> None:
        store = self._hub.store
        header = self._hub.header(store.revision)
        refused = self._refusal(request)
        if refused:
            self._send(m.WatchResponse(header=header, watch_id=-1, created=True, canceled=True, cancel_reason=refused))
            return
        watch = Watch(
            id=request.watch_id or self._new_id(),
            key=request.key or b"\0",
            range_end=request.range_end,
            start_revision=request.start_revision,
            prev_kv=request.prev_kv,
            no_put=0 in request.filters,
            no_delete=1 in request.filters,
            fragment=request.fragment,
            progress_notify=request.progress_notify,
            stream=self,
        )
        self._send(m.WatchResponse(header=header, watch_id=watch.id, created=True))
        self._watches[watch.id] = watch
        if 0 < watch.start_revision <= store.revision:
            self._behind.add(watch)
            self._catch_up(watch, watch.start_revision)
        else:
            self._hub.add(watch)

    def _refusal(self, request: Any) -> str:
        """Why there can be no such watch; "" where there can."""
        if request.watch_id and request.watch_id in self._watches:
            return "etcdserver: mvcc: duplicate watch ID provided on the WatchStream"
        if len(self._watches) >= WATCHES_MAX:
            return "etcdserver: too many watches on the stream"
        if request.range_end not in (b"", b"\0") and request.key >= request.range_end:
            return "mvcc: watcher range is empty"
        member = self._hub.member
        try:
            member.auth.check(member.who(self._call), request.key or b"\0", request.range_end, READ)
        except AuthError as error:
            return str(error)
        return ""

    def _catch_up(self, watch: Watch, since: int) -> None:
        """Tells the history from a revision to now."""
        store = self._hub.store
        history = store.events(watch.key, watch.range_end, since, store.revision, prev_kv=watch.prev_kv)
        self._slice(watch, history, since - 1, store.revision, self._hub.generation)

    def _slice(self, watch: Watch, history: Iterator[tuple[int, list[Event]]], told: int, until: int, generation: int) -> None:
        """Goes on with a history that reaches to `until`; up to `told` the watch has had everything."""
        if watch not in self._behind:
            return  # cancelled, or the client has gone
        loop, store = asyncio.get_running_loop(), self._hub.store
        if self._call.unsent_bytes > UNREAD_MAX_BYTES:
            loop.call_later(UNREAD_PAUSE_S, self._slice, watch, history, told, until, generation)
            return
        if store.compact_revision > told + 1:
            header = self._hub.header(store.revision)
            self._send(m.WatchResponse(header=header, watch_id=watch.id, canceled=True, compact_revision=store.compact_revision))
            self._forget(watch)
            return
        if generation != self._hub.generation:
            self._catch_up(watch, told + 1)
            return
        gathered: list[Event] = []
        for revision, events in history:
            told = revision
            gathered += [event for event in events if watch.wants(event)]
            if len(gathered) >= CATCH_UP_EVENTS or not events:  # without events: much was looked at and nothing found
                if gathered:
                    self.deliver(watch, gathered)
                loop.call_soon(self._slice, watch, history, told, until, generation)
                return
        if gathered:
            self.deliver(watch, gathered)
        if until < store.revision:
            loop.call_soon(self._catch_up_if_wanted, watch, until + 1)
        elif watch in self._behind:  # else it was too much to tell
            self._behind.discard(watch)
            self._hub.add(watch)
            self._pay_progress()

    def _catch_up_if_wanted(self, watch: Watch, since: int) -> None:
        if watch in self._behind:
            self._catch_up(watch, since)

    def _forget(self, watch: Watch) -> None:
        self._watches.pop(watch.id, None)
        self._behind.discard(watch)
        self._hub.discard(watch)
        self._pay_progress()

    def _pay_progress(self) -> None:
        if self._progress_owed and not self._behind:
            self._progress_owed = False
            self.progress(-1)

    def _new_id(self) -> int:
        while self._next_id in self._watches:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def _send(self, response: Any) -> None:
        self.send(response.SerializeToString())


def _fragments(fields: Sequence[bytes]) -> Iterable[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for field in fields:
        if part and size + len(field) > FRAGMENT_BYTES:
            yield part
            part, size = [], 0
        part.append(field)
        size += len(field)
    yield part
