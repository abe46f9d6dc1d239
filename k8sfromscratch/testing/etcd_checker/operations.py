"""Are the operations linearizable?  In a time that grows with their number, as etcd says itself in which order it did them.

To find an order in which operations could have happened is hard in general.  Here every answer
carries a revision, so there is one order to check, in three steps:

1. Replay.  The events that the watches were given, one set a revision and none missing, are the writes in their order: they must follow from one
   another (versions, create revisions, previous values).
2. Explanation.  Every write that was answered must be exactly the events of its revision, made by its request on the state of the revision before;
   every read exactly the state of its revision; the comparisons of a transaction must come out as it says.  No revision belongs to two
   operations, and none to nobody: a value is put by one operation only, so each event names its own.  An operation without an answer has taken
   effect once or never; one that was refused, never.
3. Real time.  An operation that began when another had ended comes after it: its revision is not less, and greater if it writes.

With 1 and 2 the order "by revision, the write before the reads that saw it" explains every answer; with 3 it agrees with the clock: that is
linearizability.  A state that is wrong for a moment cannot hide, as there is no freedom left in the order.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_checker.history import Operation, Outcome
from k8sfromscratch.testing.etcd_checker.replay import DELETE, Fault, Replay, View, in_range, require, run_branch


@dataclass(slots=True)
class _Parts:
    """An operation as a transaction; a single request is one without comparisons."""

    compare: Sequence[Any]
    success: Sequence[Any]
    failure: Sequence[Any]

    @classmethod
    def of(cls, operation: Operation) -> "_Parts":
        if operation.method == "Txn":
            return cls(operation.request.compare, operation.request.success, operation.request.failure)
        field_name = {"Put": "request_put", "DeleteRange": "request_delete_range", "Range": "request_range"}[operation.method]
        return cls((), (m.RequestOp(**{field_name: operation.request}),), ())

    def values(self) -> list[bytes]:
        return [each.request_put.value for each in (*self.success, *self.failure) if each.WhichOneof("request") == "request_put"]

    def deletes(self) -> list[Any]:
        return [each.request_delete_range for each in (*self.success, *self.failure) if each.WhichOneof("request") == "request_delete_range"]


@dataclass(slots=True)
class Owners:
    """Which operation made which revision."""

    by_revision: dict[int, Operation] = field(default_factory=dict)
    unclaimed_deletes: dict[int, Sequence[Any]] = field(default_factory=dict)
    """Revisions that only delete and that no operation has claimed: leases that ended, or deletions without an answer."""

    def claim(self, revision: int, operation: Operation) -> None:
        other = self.by_revision.setdefault(revision, operation)
        require(other is operation, f"revision {revision} is said to be of two operations:\n  {other}\n  {operation}")


def explain(operations: Sequence[Operation], replay: Replay) -> Owners:
    """Step 2.  Raises Fault."""
    owners = Owners()
    of_value: dict[bytes, Operation] = {}
    for operation in operations:
        for value in _Parts.of(operation).values():
            require(value not in of_value, f"the value {value!r} is put by two operations: the checker's own mistake")
            of_value[value] = operation
    for operation in operations:
        if operation.outcome == Outcome.OK:
            _explain_answered(operation, replay, owners)
    for revision, events in sorted(replay.events.items()):
        if revision not in owners.by_revision:
            _explain_rest(revision, events, of_value, replay, owners)
    return owners


def _explain_answered(operation: Operation, replay: Replay, owners: Owners) -> None:
    answer, parts = operation.answer, _Parts.of(operation)
    revision = answer.header.revision
    require(0 < revision <= replay.last, f"of a revision that never was ({replay.last} is the last): {operation}")
    single = {"Put": "response_put", "DeleteRange": "response_delete_range", "Range": "response_range"}
    answers = list(answer.responses) if operation.method == "Txn" else [m.ResponseOp(**{single[operation.method]: answer})]
    succeeded = answer.succeeded if operation.method == "Txn" else True
    requests = parts.success if succeeded else parts.failure
    require(len(answers) == len(requests), f"another number of answers than of requests: {operation}")
    wrote = any(
        each.WhichOneof("response") == "response_put" or (each.WhichOneof("response") == "response_delete_range" and each.response_delete_range.deleted)
        for each in answers
    )
    base = revision - 1 if wrote else revision
    if operation.method == "Range" and operation.request.revision:
        require(operation.request.revision <= revision, f"a read of a revision yet to come was answered: {operation}")
        base = operation.request.revision
    view = View(replay, base, revision)
    try:
        require(all(view.holds(each) for each in parts.compare) == succeeded, "the comparisons come out otherwise")
        run_branch(view, requests, answers)
        if wrote:
            _made_exactly(view, replay.events[revision])
    except Fault as fault:
        raise Fault(f"{fault}\n  {operation}") from None
    if wrote:
        owners.claim(revision, operation)


def _made_exactly(view: View, events: Sequence[Any]) -> None:
    seen = {event.kv.key: None if event.type == DELETE else event.kv for event in events}
    require(view.written == seen, f"its events are {seen}, and it would have made {view.written}")


def _explain_rest(revision: int, events: Sequence[Any], of_value: dict[bytes, Operation], replay: Replay, owners: Owners) -> None:
    """What no answered operation is: one without an answer, or a deletion that nobody asked for in particular."""
    puts = [event.kv for event in events if event.type != DELETE]
    if not puts:
        owners.unclaimed_deletes[revision] = events
        return
    operation = of_value.get(puts[0].value)
    require(operation is not None, f"nobody has put {puts[0].value!r} of revision {revision}")
    assert operation is not None
    require(
        operation.outcome == Outcome.UNKNOWN, f"revision {revision} was made by an operation that is not its own, or by one that was refused:\n  {operation}"
    )
    require(operation not in owners.by_revision.values(), f"it took effect twice, the second time in revision {revision}:\n  {operation}")
    parts, view = _Parts.of(operation), View(replay, revision - 1, revision)
    run_branch(view, parts.success if all(view.holds(each) for each in parts.compare) else parts.failure, None)
    try:
        _made_exactly(view, events)
    except Fault as fault:
        raise Fault(f"revision {revision}: {fault}\n  {operation}") from None
    owners.claim(revision, operation)


def real_time(operations: Sequence[Operation], owners: Owners) -> list[tuple[float, int]]:
    """Step 3.  Returns (time, revision): by then that revision was there.  Raises Fault."""
    made = {id(operation): revision for revision, operation in owners.by_revision.items()}
    points: list[tuple[float, int, Operation]] = []
    for operation in operations:
        if operation.outcome == Outcome.OK and operation.linearizable:
            points.append((operation.returned, 1, operation))
            points.append((operation.called, 0, operation))
        elif id(operation) in made:
            points.append((operation.called, 0, operation))
    points.sort(key=lambda each: each[:2])
    latest, by = 0, None
    reached: list[tuple[float, int]] = []
    for time, ends, operation in points:
        revision = made.get(id(operation)) or operation.answer.header.revision
        if ends:
            if revision > latest:
                latest, by = revision, operation
                reached.append((time, revision))
        elif revision < latest or (revision == latest and id(operation) in made):
            raise Fault(f"it began when revision {latest} had been seen, and took effect at {revision}:\n  {operation}\n  before it: {by}")
    return reached


class Seen:
    """When a revision had surely been there: as soon as it, or a later one, was seen."""

    def __init__(self, points: Iterable[tuple[float, int]]) -> None:
        """(time, revision)."""
        by_revision = sorted((revision, time) for time, revision in points)
        self._revisions = [revision for revision, _ in by_revision]
        self._times = [time for _, time in by_revision]
        for at in range(len(self._times) - 2, -1, -1):
            self._times[at] = min(self._times[at], self._times[at + 1])

    def by(self, revision: int) -> float:
        at = bisect_left(self._revisions, revision)
        return self._times[at] if at < len(self._times) else float("inf")


def unanswered_deletes(operations: Sequence[Operation], owners: Owners, seen: Seen, ended_by_lease: set[int]) -> None:
    """Each revision that only deletes, and that is no lease's end, is a deletion without an answer, that had begun by then; each is one at most.

    Any that had begun will do for any later revision as well, so it is enough to give them out in order."""
    waiting = sorted((each for each in operations if each.outcome == Outcome.UNKNOWN and _Parts.of(each).deletes()), key=lambda each: each.called)
    used: set[int] = set()
    for revision, events in sorted(owners.unclaimed_deletes.items()):
        if revision in ended_by_lease:
            continue
        keys = {event.kv.key for event in events}
        found = next(
            (
                each
                for each in waiting
                if id(each) not in used and each.called <= seen.by(revision) and any(_covers(asked, keys) for asked in _Parts.of(each).deletes())
            ),
            None,
        )
        require(found is not None, f"nobody has deleted {sorted(keys)} in revision {revision}")
        used.add(id(found))


def _covers(request: Any, keys: set[bytes]) -> bool:
    return all(in_range(key, request.key, request.range_end) for key in keys)
