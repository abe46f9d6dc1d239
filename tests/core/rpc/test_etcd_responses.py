"""Answers written by hand are the library's, byte for byte; and what is read by hand is what the library reads."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.mvcc.types import DeleteResult, Event, KeyValue, PutResult, RangeResult, TxnResult
from k8sfromscratch.core.rpc import etcd_convert as convert
from k8sfromscratch.core.rpc import etcd_responses as responses
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.core.rpc.wire import varint

NUMBERS = st.integers(1, 2**62)
LEASES = st.just(0) | st.integers(-(2**63), 2**63 - 1)
LIVING = st.builds(KeyValue, st.binary(min_size=1, max_size=300), st.binary(max_size=300), NUMBERS, NUMBERS, NUMBERS, LEASES)
GONE = st.builds(KeyValue, st.binary(min_size=1, max_size=20), st.just(b""), st.just(0), NUMBERS, st.just(0), st.just(0))
RANGES = st.builds(RangeResult, st.lists(LIVING, max_size=4), st.integers(0, 2**40), st.booleans(), NUMBERS)
PUTS = st.builds(PutResult, NUMBERS, st.none() | LIVING)
DELETES = st.builds(DeleteResult, NUMBERS, st.integers(0, 2**40), st.lists(LIVING, max_size=3))
TXNS = st.recursive(
    st.builds(TxnResult, st.booleans(), st.lists(RANGES | PUTS | DELETES, max_size=3), NUMBERS),
    lambda inner: st.builds(TxnResult, st.booleans(), st.lists(RANGES | PUTS | inner, max_size=3), NUMBERS),
    max_leaves=4,
)
TERMS = st.integers(0, 2**40)


def library_event(event: Event) -> Any:
    prev = convert.kv_message(event.prev_kv) if event.prev_kv is not None else None
    return m.Event(type=0 if event.type == "PUT" else 1, kv=convert.kv_message(event.kv), prev_kv=prev)


def library_range_response(result: RangeResult, header: Any) -> Any:
    return m.RangeResponse(header=header, kvs=[convert.kv_message(kv) for kv in result.kvs], more=result.more, count=result.count)


def library_put_response(result: PutResult, header: Any) -> Any:
    return m.PutResponse(header=header, prev_kv=convert.kv_message(result.prev_kv) if result.prev_kv is not None else None)


def library_delete_response(result: DeleteResult, header: Any) -> Any:
    return m.DeleteRangeResponse(header=header, deleted=result.deleted, prev_kvs=[convert.kv_message(kv) for kv in result.prev_kvs])


def library_txn_response(result: TxnResult, header: Callable[[int], Any]) -> Any:
    """A nested transaction's header is empty, as upstream's: the outer one has the revision."""
    return m.TxnResponse(header=header(result.revision), succeeded=result.succeeded, responses=[_response_op(each, header) for each in result.responses])


def _response_op(result: RangeResult | PutResult | DeleteResult | TxnResult, header: Callable[[int], Any]) -> Any:
    match result:
        case RangeResult():
            return m.ResponseOp(response_range=library_range_response(result, header(result.revision)))
        case PutResult():
            return m.ResponseOp(response_put=library_put_response(result, header(result.revision)))
        case DeleteResult():
            return m.ResponseOp(response_delete_range=library_delete_response(result, header(result.revision)))
        case TxnResult():
            responses = [_response_op(each, header) for each in result.responses]
            return m.ResponseOp(response_txn=m.TxnResponse(header=m.ResponseHeader(), succeeded=result.succeeded, responses=responses))


@given(st.one_of(RANGES, PUTS, DELETES, TXNS), st.integers(1, 2**64 - 1), st.integers(1, 2**64 - 1), TERMS)
def test_answers_are_the_librarys(result: RangeResult | PutResult | DeleteResult | TxnResult, cluster: int, member: int, term: int) -> None:
    written = responses.header_of(cluster, member, term)

    def header(revision: int) -> object:
        return m.ResponseHeader(cluster_id=cluster, member_id=member, revision=revision, raft_term=term)

    at = result.revision
    match result:
        case RangeResult():
            ours, library = responses.range_response(result, written(at)), library_range_response(result, header(at))
        case PutResult():
            ours, library = responses.put_response(result, written(at)), library_put_response(result, header(at))
        case DeleteResult():
            ours, library = responses.delete_response(result, written(at)), library_delete_response(result, header(at))
        case TxnResult():
            ours, library = responses.txn_response(result, written), library_txn_response(result, header)
    assert ours == library.SerializeToString()


@given(
    st.lists(st.builds(Event, st.just("PUT"), LIVING, st.none() | LIVING) | st.builds(Event, st.just("DELETE"), GONE, st.none() | LIVING), max_size=4),
    st.integers(-1, 2**40),
    st.booleans(),
    st.booleans(),
)
def test_events_are_the_librarys(events: list[Event], watch_id: int, fragment: bool, prev_kv: bool) -> None:
    header = m.ResponseHeader(cluster_id=1, member_id=2, revision=3, raft_term=4)
    shown = events if prev_kv else [Event(event.type, event.kv) for event in events]
    library = m.WatchResponse(header=header, watch_id=watch_id, events=[library_event(event) for event in shown], fragment=fragment)
    fields = [responses.event_field(event, prev_kv=prev_kv) for event in events]
    ours = responses.watch_response(responses.header_of(1, 2, 4)(3), watch_id, fields, fragment=fragment)
    assert ours == library.SerializeToString()


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=40_000) | st.binary(max_size=300), LEASES, st.booleans())
def test_a_put_is_read_as_the_library_reads_it(key: bytes, value: bytes, lease: int, prev_kv: bool) -> None:
    data = m.PutRequest(key=key, value=value, lease=lease, prev_kv=prev_kv).SerializeToString()
    read = responses.plain_put(data)
    if read is None:
        assert lease or prev_kv or not value or len(key) > 127
    else:
        assert read == convert.put_op(m.PutRequest.FromString(data))


@given(st.binary(max_size=30))
def test_any_bytes_are_read_as_the_library_reads_them_or_left_to_it(data: bytes) -> None:
    read = responses.plain_put(data)
    if read is not None:
        assert read == convert.put_op(m.PutRequest.FromString(data))


@given(st.integers(-(2**63), 2**64 - 1))
def test_numbers_are_written_as_the_library_writes_them(number: int) -> None:
    field = m.ResponseHeader(cluster_id=number % 2**64).SerializeToString()
    assert field == (b"\x08" + varint(number) if number else b"")
