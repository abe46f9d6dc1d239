"""What the checker finds: a history that is right, and one after the other everything that may be wrong with it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_checker import checks
from k8sfromscratch.testing.etcd_checker.history import Batch, Compacted, History, LeaseLife, Operation, Outcome, Progress, Resumed, Watch
from k8sfromscratch.testing.etcd_checker.replay import Fault

LEASE = 7


class Story:
    """A store of one member that does everything right, each operation in a second of its own; its watches are told at once."""

    def __init__(self) -> None:
        self.revision, self.now = 1, 0.0
        self.kvs: dict[bytes, Any] = {}
        self.everything = Watch("all", b"\0", b"\0", whole=True, log=[Resumed(2, 1)])
        self.one_key = Watch("one", b"a", b"", log=[Resumed(2, 2)])
        self.history = History(watches=[self.everything, self.one_key])

    def put(self, key: bytes, value: bytes, lease: int = 0) -> Operation:
        return self._do("Put", m.PutRequest(key=key, value=value, lease=lease, prev_kv=True))

    def delete(self, key: bytes) -> Operation:
        return self._do("DeleteRange", m.DeleteRangeRequest(key=key, prev_kv=True))

    def get(self, key: bytes = b"a") -> Operation:
        return self._do("Range", m.RangeRequest(key=key))

    def swap(self, key: bytes, version: int, value: bytes) -> Operation:
        compare = m.Compare(key=key, target=0, version=version)
        return self._do("Txn", m.TxnRequest(compare=[compare], success=[m.RequestOp(request_put=m.PutRequest(key=key, value=value))]))

    def end_lease(self) -> None:
        self.now += 1
        self._tell([self._deleted(key) for key, kv in sorted(self.kvs.items()) if kv.lease == LEASE])

    def _do(self, method: str, request: Any) -> Operation:
        operation = Operation("c", method, request, self.now + 0.1, self.now + 0.9, Outcome.OK)
        self.now += 1
        self.history.operations.append(operation)
        operation.answer = getattr(self, f"_{method.lower()}")(request)
        operation.answer.header.revision = self.revision
        return operation

    def _put(self, request: Any) -> Any:
        before = self.kvs.get(request.key)
        made = self.revision + 1
        self.kvs[request.key] = m.KeyValue(
            key=request.key, value=request.value, lease=request.lease, mod_revision=made,
            create_revision=before.create_revision if before else made, version=before.version + 1 if before else 1,
        )  # fmt: skip
        self._tell([m.Event(type=0, kv=self.kvs[request.key], prev_kv=before)])
        return m.PutResponse(prev_kv=before)

    def _deleterange(self, request: Any) -> Any:
        before = self.kvs.get(request.key)
        if before is None:
            return m.DeleteRangeResponse()
        self._tell([self._deleted(request.key)])
        return m.DeleteRangeResponse(deleted=1, prev_kvs=[before])

    def _deleted(self, key: bytes) -> Any:
        return m.Event(type=1, kv=m.KeyValue(key=key, mod_revision=self.revision + 1), prev_kv=self.kvs.pop(key))

    def _range(self, request: Any) -> Any:
        found = [self.kvs[request.key]] if request.key in self.kvs else []
        return m.RangeResponse(kvs=copy.deepcopy(found), count=len(found))

    def _txn(self, request: Any) -> Any:
        (compare,) = request.compare
        kv = self.kvs.get(compare.key)
        if (kv.version if kv else 0) != compare.version:
            return m.TxnResponse(succeeded=False)
        return m.TxnResponse(succeeded=True, responses=[m.ResponseOp(response_put=self._put(request.success[0].request_put))])

    def _tell(self, events: list[Any]) -> None:
        self.revision += 1
        for watch in self.history.watches:
            told = [event for event in events if watch.whole or event.kv.key == watch.key]
            if told:
                watch.log.append(Batch(self.revision, tuple(told), self.now - 0.5))
        self.history.end_revision = self.revision


def story() -> Story:
    s = Story()
    s.history.leases.append(LeaseLife(LEASE, 2, [b"l1", b"l2"], [0.0]))
    s.put(b"a", b"1")  # operation 0, revision 2
    s.get()
    s.put(b"a", b"2")  # operation 2, revision 3
    s.get()  # operation 3
    s.swap(b"a", 2, b"3")  # operation 4, revision 4
    s.swap(b"a", 2, b"never")  # operation 5
    s.put(b"l1", b"l1", LEASE)  # revision 5
    s.put(b"l2", b"l2", LEASE)  # revision 6
    s.delete(b"a")  # operation 8, revision 7
    s.delete(b"a")
    s.end_lease()  # revision 8
    s.get()
    s.put(b"a", b"4")  # operation 11, revision 9
    return s


def test_what_is_right_is_right() -> None:
    s = story()
    assert s.revision == 9
    checks.check(s.history)


def test_a_write_without_an_answer_may_have_been_done_or_not() -> None:
    s = story()
    for at in (2, 8):
        s.history.operations[at].outcome, s.history.operations[at].answer = Outcome.UNKNOWN, None
    s.history.operations.append(Operation("d", "Put", m.PutRequest(key=b"a", value=b"lost"), 0.0))
    checks.check(s.history)


def test_operations_at_the_same_time_may_be_in_either_order() -> None:
    s = story()
    s.history.operations[3].called = s.history.operations[2].called
    s.history.operations[3].answer = copy.deepcopy(s.history.operations[1].answer)
    checks.check(s.history)


def test_what_was_compacted_need_not_be_told() -> None:
    s = story()
    s.one_key.log[1:4] = [Compacted(5), Resumed(5, 3)]
    checks.check(s.history, 5)
    with pytest.raises(Fault, match="is compacted"):
        checks.check(s.history, 4)


def _stale_read(s: Story) -> None:
    s.history.operations[3].answer = copy.deepcopy(s.history.operations[1].answer)


def _read_of_what_is_not_there(s: Story) -> None:
    s.history.operations[3].answer.kvs[0].value = b"1"


def _lost_write(s: Story) -> None:
    del s.everything.log[-1], s.one_key.log[-1]


def _write_twice(s: Story) -> None:
    operation = s.history.operations[11]
    s._put(operation.request)
    operation.answer, operation.outcome = None, Outcome.UNKNOWN


def _refused_and_done(s: Story) -> None:
    s.history.operations[0].outcome = Outcome.FAILED


def _before_it_was_called(s: Story) -> None:
    s.history.operations[2].outcome, s.history.operations[2].answer, s.history.operations[2].called = Outcome.UNKNOWN, None, 50.0


def _deleted_before_it_was_asked(s: Story) -> None:
    s.history.operations[8].outcome, s.history.operations[8].answer, s.history.operations[8].called = Outcome.UNKNOWN, None, 50.0


def _from_nobody(s: Story) -> None:
    del s.history.operations[4]


def _two_for_one_revision(s: Story) -> None:
    s.history.operations[2].request.value = b"another"


def _comparison(s: Story) -> None:
    s.history.operations[4].request.compare[0].version = 1


def _previous_value(s: Story) -> None:
    s.history.operations[2].answer.prev_kv.value = b"0"


def _deleted_nothing(s: Story) -> None:
    s.history.operations[9].answer.deleted = 1


def _version(s: Story) -> None:
    for watch in s.history.watches:
        batch = watch.log[2]
        assert isinstance(batch, Batch)
        batch.events[0].kv.version = 5


def _differs(s: Story) -> None:
    other = copy.deepcopy(s.everything)
    batch = other.log[1]
    assert isinstance(batch, Batch)
    batch.events[0].kv.value = b"else"
    s.history.watches.append(other)


def _watch_gap(s: Story) -> None:
    del s.one_key.log[2]


def _watch_stops(s: Story) -> None:
    del s.one_key.log[-1]


def _watch_twice(s: Story) -> None:
    s.one_key.log.insert(3, s.one_key.log[2])


def _watch_order(s: Story) -> None:
    s.one_key.log[2:4] = reversed(s.one_key.log[2:4])


def _watch_splits(s: Story) -> None:
    watch = Watch("leases", b"l", b"m", log=[Resumed(7, 1)])
    batch = next(each for each in s.everything.log if isinstance(each, Batch) and len(each.events) == 2)
    watch.log += [Batch(8, (event,), batch.at) for event in batch.events]
    s.history.watches.append(watch)


def _watch_prev(s: Story) -> None:
    batch = s.one_key.log[2]
    assert isinstance(batch, Batch)
    batch.events[0].prev_kv.value = b"0"


def _bookmark_too_far(s: Story) -> None:
    s.one_key.log.insert(2, Progress(3))


def _lease_early(s: Story) -> None:
    s.history.leases[0].alive_from.append(9.5)


def _lease_ends_by_halves(s: Story) -> None:
    s.history.leases[0].keys += [b"l3", b"l4"]
    s.put(b"l3", b"l3", LEASE)
    s.put(b"l4", b"l4", LEASE)
    s.now += 1
    s._tell([s._deleted(b"l3")])


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (_stale_read, "it began when revision 3 had been seen"),
        (_read_of_what_is_not_there, "read"),
        (_lost_write, "a revision that never was"),
        (_write_twice, "it took effect twice"),
        (_refused_and_done, "refused"),
        (_before_it_was_called, "it began when"),
        (_deleted_before_it_was_asked, "nobody has deleted"),
        (_from_nobody, "nobody has put"),
        (_two_for_one_revision, "its events are"),
        (_comparison, "the comparisons come out otherwise"),
        (_previous_value, "prev_kv"),
        (_deleted_nothing, "deleted"),
        (_version, "is said to be"),
        (_differs, "to all"),
        (_watch_gap, "left out revision 3"),
        (_watch_stops, "is missing"),
        (_watch_twice, "comes again"),
        (_watch_order, "left out revision 3"),
        (_watch_splits, "came as"),
        (_watch_prev, "prev_kv of"),
        (_bookmark_too_far, "left out revision 3"),
        (_lease_early, "s early"),
        (_lease_ends_by_halves, "it had"),
    ],
)
def test_what_is_wrong_is_found(break_it: Callable[[Story], None], says: str) -> None:
    s = story()
    break_it(s)
    with pytest.raises(Fault, match=says):
        checks.check(s.history)
