"""What a watch promises, and what of it can be seen.

    ordered      revisions only grow, over every interruption
    unique       no event comes twice
    atomic       the events of a revision come together, in one answer
    reliable     between two events that it gives, it has left out none of its range
    resumable    asked again behind what it has told, it goes on as if it had never stopped
    bookmarkable after progress at a revision nothing of up to it comes any more, so that one may resume behind it
    and prev_kv is the key-value before, whatever member answers

They are checked against one history that is merged from all of them.
"""

from collections.abc import Sequence
from typing import Any

from k8sfromscratch.testing.etcd_checker.history import Batch, Compacted, Progress, Resumed, Watch
from k8sfromscratch.testing.etcd_checker.replay import DELETE, Replay, in_range, require


def merged(watches: Sequence[Watch]) -> dict[int, tuple[Any, ...]]:
    """Revision -> its events, in the order of their keys, without prev_kv, from the watches that follow everything.  Raises Fault where they differ."""
    found: dict[int, tuple[tuple[Any, ...], str]] = {}
    for watch in watches:
        if not watch.whole:
            continue
        for batch in watch.log:
            if not isinstance(batch, Batch):
                continue
            for revision, events in _by_revision(batch).items():
                told = tuple(sorted((_bare(event) for event in events), key=lambda event: event.kv.key))
                other, who = found.setdefault(revision, (told, watch.name))
                require(told == other, f"revision {revision} is {other} to {who}, and {told} to {watch.name}")
    return {revision: events for revision, (events, _) in found.items()}


def check(watch: Watch, replay: Replay, end_revision: int, compacted: int = 0) -> None:
    """`compacted`: up to where somebody has asked for that.  Raises Fault."""
    told = bookmark = 0
    start = 0
    for entry in watch.log:
        if isinstance(entry, Resumed):
            require(not start or told + 1 == entry.start_revision, f"{watch.name} resumed at {entry.start_revision}, behind {told}: the checker's mistake")
            start, told = entry.start_revision, entry.start_revision - 1
        elif isinstance(entry, Compacted):
            require(start < entry.revision <= compacted, f"{watch.name} asked for {start}, and was told that all up to {entry.revision} is compacted")
            told = bookmark = entry.revision - 1
        elif isinstance(entry, Progress):
            if watch.bookmarks:
                _nothing_between(watch, replay, told, entry.revision)
                told = bookmark = max(told, entry.revision)
        else:
            _check_batch(watch, replay, entry, told, bookmark)
            told = entry.events[-1].kv.mod_revision
    require(told >= min(end_revision, _last_in(watch, replay)), f"{watch.name} was told all up to {told}; {_last_in(watch, replay)} is missing")


def _check_batch(watch: Watch, replay: Replay, batch: Batch, told: int, bookmark: int) -> None:
    first, last = batch.events[0].kv.mod_revision, batch.events[-1].kv.mod_revision
    require(first > bookmark, f"{watch.name}: revision {first} comes after progress at {bookmark}")
    require(first > told, f"{watch.name}: revision {first} comes again, or too late: {told} was told")
    require(batch.revision >= last, f"{watch.name}: an answer of revision {batch.revision} has events of {last}")
    _nothing_between(watch, replay, told, first - 1)
    order = [event.kv.mod_revision for event in batch.events]
    require(order == sorted(order), f"{watch.name}: events out of order: {order}")
    got = _by_revision(batch)
    for revision in range(first, last + 1):
        expected = _expected(watch, replay, revision)
        told_now = sorted((_bare(event) for event in got.get(revision, ())), key=lambda event: event.kv.key)
        require(told_now == expected, f"{watch.name}: revision {revision} came as {told_now}; it is {expected}")
    if watch.prev_kv:
        for event in batch.events:
            if event.kv.mod_revision == bookmark + 1 and not event.HasField("prev_kv"):
                continue  # the first after a compaction: what was before is gone
            before = replay.get(event.kv.key, event.kv.mod_revision - 1)
            said = event.prev_kv if event.HasField("prev_kv") else None
            require(said == before, f"{watch.name}: prev_kv of {event.kv.key!r} in revision {event.kv.mod_revision} is {said}; it was {before}")


def _nothing_between(watch: Watch, replay: Replay, told: int, until: int) -> None:
    for revision in range(told + 1, min(until, replay.last) + 1):
        missed = _expected(watch, replay, revision)
        require(not missed, f"{watch.name}: left out revision {revision}: {missed}")


def _expected(watch: Watch, replay: Replay, revision: int) -> list[Any]:
    events = replay.events.get(revision, ())
    return [event for event in events if in_range(event.kv.key, watch.key, watch.range_end) and not (watch.no_puts and event.type != DELETE)]


def _last_in(watch: Watch, replay: Replay) -> int:
    return next((revision for revision in range(replay.last, 1, -1) if _expected(watch, replay, revision)), 0)


def _by_revision(batch: Batch) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for event in batch.events:
        found.setdefault(event.kv.mod_revision, []).append(event)
    return found


def _bare(event: Any) -> Any:
    bare = type(event)()
    bare.CopyFrom(event)
    bare.ClearField("prev_kv")
    return bare
