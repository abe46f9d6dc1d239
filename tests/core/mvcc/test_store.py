"""The store against a naive twin that keeps a full copy of everything at every revision."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8sfromscratch.core.mvcc import store as store_module
from k8sfromscratch.core.mvcc.errors import Compacted, DuplicateKey, FutureRevision, KeyNotFound, LeaseExists, LeaseNotFound
from k8sfromscratch.core.mvcc.key_index import KeyHistory, Revision
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.mvcc.types import Compare, DeleteOp, Event, KeyValue, PutOp, RangeOp, TxnOp, prefix_end


def put(store: MvccStore, key: bytes, value: bytes = b"v", **more: object) -> int:
    return store.txn(TxnOp(success=[PutOp(key, value, **more)]))[0].revision  # type: ignore[arg-type]


class Values:
    """A backend whose content can be seen."""

    def __init__(self) -> None:
        self.values: dict[Revision, KeyValue] = {}

    def put(self, revision: Revision, kv: KeyValue) -> None:
        self.values[revision] = kv

    def get(self, revision: Revision) -> KeyValue | None:
        return self.values.get(revision)

    def get_all(self, revisions: Sequence[Revision]) -> list[KeyValue]:
        return [self.values[revision] for revision in revisions]

    def drop(self, revisions: Iterable[Revision]) -> None:
        for revision in revisions:
            del self.values[revision]


class Twin:
    """revision -> {key: KeyValue}."""

    def __init__(self) -> None:
        self.states: dict[int, dict[bytes, KeyValue]] = {1: {}}
        self.events: dict[int, list[tuple[str, bytes]]] = {}
        self.revision = 1

    def apply(self, ops: Sequence[PutOp | DeleteOp]) -> None:
        state, revision, events = dict(self.states[self.revision]), self.revision + 1, []
        for op in ops:
            if isinstance(op, PutOp):
                old = state.get(op.key)
                created, version = (old.create_revision, old.version + 1) if old else (revision, 1)
                state[op.key] = KeyValue(op.key, op.value, created, revision, version)
                events.append(("PUT", op.key))
            else:
                for key in sorted(k for k in state if covers(op, k)):
                    del state[key]
                    events.append(("DELETE", key))
        if events:
            self.revision = revision
            self.states[revision] = state
            self.events[revision] = events


def covers(op: DeleteOp, key: bytes) -> bool:
    return key == op.key if not op.range_end else op.key <= key < op.range_end


keys = st.sampled_from([b"a", b"b", b"ba", b"c", b"\x00", b"\xff"])
puts = st.tuples(keys, st.binary(max_size=3)).map(lambda drawn: PutOp(*drawn))
deletes = st.builds(DeleteOp, keys, st.sampled_from([b"", b"", b"c", b"\xff\xff"]))
transactions = st.lists(st.lists(st.one_of(puts, deletes), min_size=1, max_size=3), max_size=25)


@settings(max_examples=300)
@given(transactions, st.integers(0, 30))
def test_every_revision_reads_and_replays_as_the_twin_says(history: list[list[PutOp | DeleteOp]], compact_at: int) -> None:
    store_backend = Values()
    store, twin = MvccStore(store_backend), Twin()
    for ops in history:
        try:
            store.txn(TxnOp(success=ops))
        except DuplicateKey:
            continue
        twin.apply(ops)
    assert store.revision == twin.revision
    if 1 < compact_at <= store.revision:
        store.compact(compact_at)
    for revision in range(1, store.revision + 1):
        if revision < store.compact_revision:
            with pytest.raises(Compacted):
                store.range(RangeOp(b"\0", b"\0", revision=revision))
            continue
        found = store.range(RangeOp(b"\0", b"\0", revision=revision))
        assert list(found.kvs) == [kv for _, kv in sorted(twin.states[revision].items())], revision
        assert found.revision == twin.revision
    since = max(store.compact_revision, 2)
    restored = MvccStore(store_backend)
    restored.restore(sorted(store_backend.values.items()), store.revision, store.compact_revision)
    assert list(restored.events(b"\0", b"\0", since, store.revision, prev_kv=True)) == list(store.events(b"\0", b"\0", since, store.revision, prev_kv=True))
    replayed = {main: [(e.type, e.kv.key) for e in events] for main, events in store.events(b"\0", b"\0", since, store.revision, prev_kv=True)}
    assert replayed == {revision: events for revision, events in twin.events.items() if revision >= since}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store_module, "INDEXED_KEYS_MAX", -1)  # by revisions, as where there are many keys
        for key, end in ((b"\0", b"\0"), (b"b", b"c")):
            walked = list(store.events(key, end, since, store.revision, prev_kv=True))
            patched.setattr(store_module, "INDEXED_KEYS_MAX", 10)
            assert walked == list(store.events(key, end, since, store.revision, prev_kv=True))
            patched.setattr(store_module, "INDEXED_KEYS_MAX", -1)
    for main, events in store.events(b"\0", b"\0", since, store.revision, prev_kv=True):
        before = twin.states[max(r for r in twin.states if r < main)]
        for event in events:
            if main - 1 >= store.compact_revision:
                assert event.prev_kv == before.get(event.kv.key)


def test_the_worked_example_of_the_key_index() -> None:
    history = KeyHistory()
    history.put((1, 0))
    history.put((2, 0))
    history.tombstone((4, 0))
    history.put((5, 0))
    assert [history.at(main) for main in (1, 2, 3, 4, 5, 9)] == [(1, 0), (2, 0), (2, 0), None, (5, 0), (5, 0)]
    assert history.compact(3) == [(1, 0)]
    assert history.at(3) == (2, 0)
    assert history.compact(4) == [(2, 0)]
    assert history.at(4) is None
    assert history.compact(5) == [(4, 0)]
    assert history.at(5) == (5, 0)


def test_version_and_create_revision_begin_anew_with_each_life() -> None:
    store = MvccStore()
    put(store, b"a")
    put(store, b"a")
    store.txn(TxnOp(success=[DeleteOp(b"a")]))
    again = put(store, b"a")
    (kv,) = store.range(RangeOp(b"a")).kvs
    assert (kv.version, kv.create_revision) == (1, again)


def test_a_read_only_transaction_makes_no_revision() -> None:
    store = MvccStore()
    put(store, b"a")
    before = store.revision
    result, events = store.txn(TxnOp([Compare(b"a", "VERSION", "GREATER", 0)], [RangeOp(b"a")]))
    assert result.succeeded and store.revision == before and events == []


def test_a_deletion_at_the_compacted_revision_is_still_told() -> None:
    store = MvccStore()
    put(store, b"a")
    store.txn(TxnOp(success=[DeleteOp(b"a")]))
    store.compact(store.revision)
    assert [(main, [e.type for e in events]) for main, events in store.events(b"a", b"", 3, 3, prev_kv=True)] == [(3, ["DELETE"])]
    assert store.range(RangeOp(b"a")).count == 0
    put(store, b"b")
    store.compact(store.revision)
    assert list(store.events(b"a", b"", 4, 4, prev_kv=False)) == []


def test_a_history_in_which_little_is_found_lets_its_reader_do_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "INDEXED_KEYS_MAX", 1)
    monkeypatch.setattr(store_module, "QUIET_REVISIONS", 10)
    store = MvccStore()
    for number in range(2, 36):
        put(store, b"other/%d" % number)
    revision = put(store, b"wanted")
    put(store, b"wanted/too")
    told = [(main, [event.kv.key for event in events]) for main, events in store.events(b"o", b"wanted\0", 2, revision, prev_kv=False)]
    assert told[-1] == (revision, [b"wanted"]) and len(told) == 35
    told = [(main, [event.kv.key for event in events]) for main, events in store.events(b"wanted", b"x", 2, store.revision, prev_kv=False)]
    assert told == [(10, []), (20, []), (30, []), (revision, [b"wanted"]), (revision + 1, [b"wanted/too"])]


def test_a_range_in_a_transaction_sees_the_writes_before_it() -> None:
    store = MvccStore()
    result, _ = store.txn(TxnOp(success=[PutOp(b"a", b"1"), RangeOp(b"a")]))
    assert [kv.value for kv in result.responses[1].kvs] == [b"1"]  # type: ignore[union-attr]


def test_nested_transactions_choose_their_branch() -> None:
    store = MvccStore()
    inner = TxnOp([Compare(b"x", "CREATE", "EQUAL", 0)], [PutOp(b"x", b"new")], [PutOp(b"y", b"old")])
    store.txn(TxnOp(success=[inner]))
    store.txn(TxnOp(success=[inner]))
    assert [(kv.key, kv.value) for kv in store.range(RangeOp(b"\0", b"\0")).kvs] == [(b"x", b"new"), (b"y", b"old")]


@pytest.mark.parametrize(
    ("op", "error"),
    [
        (TxnOp(success=[PutOp(b"a", b""), PutOp(b"a", b"")]), DuplicateKey),
        (TxnOp(success=[DeleteOp(b"a", b"c"), PutOp(b"b", b"")]), DuplicateKey),
        (TxnOp(success=[PutOp(b"b", b""), PutOp(b"a", b"", lease=99)]), LeaseNotFound),
        (TxnOp(success=[PutOp(b"b", b""), PutOp(b"none", b"", ignore_value=True)]), KeyNotFound),
        (TxnOp(success=[PutOp(b"b", b""), RangeOp(b"a", revision=99)]), FutureRevision),
    ],
)
def test_what_is_refused_changes_nothing(op: TxnOp, error: type[Exception]) -> None:
    store = MvccStore()
    put(store, b"a")
    with pytest.raises(error):
        store.txn(op)
    assert store.revision == 2 and store.range(RangeOp(b"b")).count == 0


def test_sorting_and_bounds() -> None:
    store = MvccStore()
    for key, value in ((b"a", b"3"), (b"b", b"1"), (b"c", b"2"), (b"a", b"0")):
        put(store, key, value)

    def keys_of(**options: object) -> list[bytes]:
        return [kv.key for kv in store.range(RangeOp(b"a", b"z", **options)).kvs]  # type: ignore[arg-type]

    assert keys_of(sort_order="DESCEND") == [b"c", b"b", b"a"]
    assert keys_of(sort_order="ASCEND", sort_target="VALUE") == [b"a", b"b", b"c"]
    assert keys_of(sort_order="DESCEND", sort_target="MOD", limit=1) == [b"a"]
    assert keys_of(sort_order="DESCEND", sort_target="VERSION", limit=1) == [b"a"]
    assert keys_of(min_mod_revision=4) == [b"a", b"c"]
    bounded = store.range(RangeOp(b"a", b"z", max_create_revision=3, limit=1))
    assert [kv.key for kv in bounded.kvs] == [b"a"] and bounded.count == 3 and bounded.more


def test_leases_own_their_keys_until_the_key_changes_hands() -> None:
    store = MvccStore()
    store.leases.grant(7, 10, 0.0)
    put(store, b"a", lease=7)
    put(store, b"b", lease=7)
    put(store, b"b")
    assert store.leases.get(7).keys == {b"a"}
    events: list[Event] = store.revoke(7)
    assert [(e.type, e.kv.key) for e in events] == [("DELETE", b"a")]
    assert store.range(RangeOp(b"b")).count == 1
    with pytest.raises(LeaseNotFound):
        store.revoke(7)
    store.leases.grant(7, 10, 0.0)
    with pytest.raises(LeaseExists):
        store.leases.grant(7, 10, 0.0)


def test_leases_expire_by_the_callers_clock() -> None:
    store = MvccStore()
    store.leases.grant(1, 10, 0.0)
    store.leases.grant(2, 20, 0.0)
    assert store.leases.next_expiry() == 10
    store.leases.keep_alive(1, 5.0)
    assert store.leases.expired(14.9) == []
    with pytest.raises(LeaseNotFound):
        store.leases.keep_alive(1, 15.0)
    assert store.leases.expired(15.0) == [1]
    assert store.leases.expired(20.0) == [1, 2]


@pytest.mark.parametrize(("prefix", "end"), [(b"a/", b"a0"), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0")])
def test_prefix_end(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end
