"""The store as its own events tell it: the state at each revision, and what a request must answer on it."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from k8sfromscratch.core.rpc.etcd_messages import messages as m

DELETE = 1
"""An event's type."""


class Fault(AssertionError):
    """The history cannot be that of an etcd that keeps its promises."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Fault(what)


def in_range(key: bytes, start: bytes, end: bytes) -> bool:
    """As etcd's (key, range_end): no end is one key, an end of one zero byte is all from the key on."""
    if not end:
        return key == start
    return key >= start and (end == b"\0" or key < end)


class Replay:
    """Built from all events, by revision; refuses those that cannot follow one another."""

    def __init__(self, events: dict[int, tuple[Any, ...]]) -> None:
        self.events = events
        self.last = max(events, default=1)
        self._revisions: dict[bytes, list[int]] = {}
        self._states: dict[bytes, list[Any]] = {}
        for revision in range(2, self.last + 1):
            require(revision in events, f"nobody has seen revision {revision}, and there are later ones")
            for event in events[revision]:
                self._follow(revision, event)
        self._keys = sorted(self._revisions)

    def _follow(self, revision: int, event: Any) -> None:
        kv, before = event.kv, self.get(event.kv.key, revision - 1)
        require(kv.mod_revision == revision, f"an event of revision {revision} says it is of {kv.mod_revision}")
        if event.type == DELETE:
            require(before is not None, f"revision {revision} deletes {kv.key!r}, which is not there")
            state = None
        else:
            created = before.create_revision if before is not None else revision
            version = before.version + 1 if before is not None else 1
            require((kv.create_revision, kv.version) == (created, version), f"revision {revision} of {kv.key!r} is said to be {kv.create_revision, kv.version}")
            state = kv
        revisions = self._revisions.setdefault(kv.key, [])
        require(not revisions or revisions[-1] < revision, f"revision {revision} has two events of {kv.key!r}")
        revisions.append(revision)
        self._states.setdefault(kv.key, []).append(state)

    def get(self, key: bytes, revision: int) -> Any:
        """The key-value then, or None."""
        at = bisect_right(self._revisions.get(key, []), revision)
        return self._states[key][at - 1] if at else None

    def keys(self, start: bytes, end: bytes) -> Sequence[bytes]:
        """All that ever were in the range."""
        low = bisect_left(self._keys, start)
        if not end:
            return self._keys[low : low + 1] if low < len(self._keys) and self._keys[low] == start else []
        return self._keys[low:] if end == b"\0" else self._keys[low : bisect_left(self._keys, end)]


class View:
    """The state at a revision, and what one transaction of the next one does to it."""

    def __init__(self, replay: Replay, base: int, revision: int) -> None:
        self._replay, self._base, self._revision = replay, base, revision
        self.written: dict[bytes, Any] = {}

    def get(self, key: bytes) -> Any:
        return self.written[key] if key in self.written else self._replay.get(key, self._base)

    def range(self, start: bytes, end: bytes) -> list[Any]:
        keys = set(self._replay.keys(start, end)) | {key for key in self.written if in_range(key, start, end)}
        return [kv for key in sorted(keys) if (kv := self.get(key)) is not None]

    def put(self, request: Any) -> Any:
        """What was there before."""
        before = self.get(request.key)
        created = before.create_revision if before is not None else self._revision
        version = before.version + 1 if before is not None else 1
        self.written[request.key] = m.KeyValue(
            key=request.key, value=request.value, lease=request.lease, create_revision=created, mod_revision=self._revision, version=version
        )
        return before

    def delete(self, request: Any) -> list[Any]:
        gone = self.range(request.key, request.range_end)
        for kv in gone:
            self.written[kv.key] = None
        return gone

    def holds(self, compare: Any) -> bool:
        """One comparison of a transaction, of one key: what is not there has version, revisions and lease 0; its value compares to nothing."""
        kv = self.get(compare.key)
        field = compare.WhichOneof("target_union")
        if field == "value" and kv is None:
            return False
        found = getattr(kv, field) if kv is not None else 0
        wanted = getattr(compare, field)
        return bool((found == wanted, found > wanted, found < wanted, found != wanted)[compare.result])


def run_branch(view: View, requests: Iterable[Any], answers: Sequence[Any] | None) -> None:
    """The requests of a branch, one after the other, against their answers (None: there was no answer to compare)."""
    for at, request in enumerate(requests):
        kind = request.WhichOneof("request")
        asked = getattr(request, kind)
        answer = getattr(answers[at], kind.replace("request", "response")) if answers is not None else None
        if kind == "request_put":
            before = view.put(asked)
            if answer is not None and asked.prev_kv:
                require(answer.prev_kv == (before if before is not None else m.KeyValue()), f"put of {asked.key!r}: prev_kv {answer.prev_kv}, it was {before}")
        elif kind == "request_delete_range":
            gone = view.delete(asked)
            if answer is not None:
                require(answer.deleted == len(gone), f"{answer.deleted} deleted of {[kv.key for kv in gone]}")
                require(not asked.prev_kv or list(answer.prev_kvs) == gone, f"deleted {list(answer.prev_kvs)}, there was {gone}")
        elif answer is not None:
            found = view.range(asked.key, asked.range_end)
            require(list(answer.kvs) == found, f"read {list(answer.kvs)}, there was {found}")
            require(answer.count == len(found), f"counted {answer.count} of {len(found)}")
