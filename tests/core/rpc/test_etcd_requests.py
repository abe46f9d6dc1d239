"""What is written by hand is what the protobuf library reads, for any request."""

from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.mvcc.types import Compare, DeleteOp, PutOp, RangeOp, TxnOp
from k8sfromscratch.core.rpc import etcd_convert, etcd_requests
from k8sfromscratch.core.rpc.etcd_messages import messages as m

OPS_MAX = 100
keys, ends = st.binary(min_size=1, max_size=200), st.binary(max_size=20)
numbers = st.integers(min_value=0, max_value=2**63 - 1)
flags = st.booleans()
ranges = st.builds(
    RangeOp,
    keys,
    ends,
    numbers,
    numbers,
    st.sampled_from(("NONE", "DESCEND")),
    st.just("KEY"),
    flags,
    flags,
    flags,
    numbers,
    numbers,
    numbers,
    numbers,
)
leases = st.integers(min_value=-(2**63), max_value=2**63 - 1)
puts = st.builds(PutOp, keys, st.binary(max_size=300), leases, flags, st.just(False), st.just(False))
deletes = st.builds(DeleteOp, keys, ends, flags)
results = st.sampled_from(("EQUAL", "GREATER", "LESS", "NOT_EQUAL"))
compares = st.one_of(
    st.builds(Compare, keys, st.sampled_from(("VERSION", "CREATE", "MOD", "LEASE")), results, numbers, ends),
    st.builds(Compare, keys, st.just("VALUE"), results, st.binary(max_size=20), ends),
)
txns = st.recursive(
    st.builds(TxnOp, st.lists(compares, max_size=3), st.lists(st.one_of(ranges, puts, deletes), max_size=3), st.lists(ranges, max_size=2)),
    lambda inner: st.builds(TxnOp, st.lists(compares, max_size=2), st.lists(inner, max_size=2), st.lists(st.one_of(inner, puts), max_size=2)),
    max_leaves=3,
)


@given(ranges)
def test_a_range_is_read_as_it_was_meant(op: RangeOp) -> None:
    assert etcd_convert.range_op(m.RangeRequest.FromString(etcd_requests.range_request(op))) == op


@given(txns)
def test_a_transaction_is_read_as_it_was_meant(op: TxnOp) -> None:
    assert etcd_convert.txn_op(m.TxnRequest.FromString(etcd_requests.txn_request(op)), OPS_MAX) == op


@given(txns)
def test_what_is_compared_with_zero_is_said(op: TxnOp) -> None:
    """A comparison's value is a member of a oneof: left out, it would be no comparison with 0 but one with nothing."""
    for compare in m.TxnRequest.FromString(etcd_requests.txn_request(op)).compare:
        assert compare.WhichOneof("target_union") is not None
