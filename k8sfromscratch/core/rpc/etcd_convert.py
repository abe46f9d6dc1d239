"""Between etcd's messages and `core.mvcc.types`, both ways: the server reads requests and writes answers, the client the other way round."""

from collections.abc import Iterable
from typing import Any

from k8sfromscratch.core.mvcc.types import (
    Compare,
    DeleteOp,
    DeleteResult,
    Event,
    KeyValue,
    Op,
    PutOp,
    PutResult,
    RangeOp,
    RangeResult,
    TxnOp,
    TxnResult,
)
from k8sfromscratch.core.rpc.etcd_messages import messages as m

_ORDERS = ("NONE", "ASCEND", "DESCEND")
_SORT_TARGETS = ("KEY", "VERSION", "CREATE", "MOD", "VALUE")
_RESULTS = ("EQUAL", "GREATER", "LESS", "NOT_EQUAL")
_TARGETS = ("VERSION", "CREATE", "MOD", "VALUE", "LEASE")
_TARGET_FIELDS = {"VERSION": "version", "CREATE": "create_revision", "MOD": "mod_revision", "VALUE": "value", "LEASE": "lease"}


class RequestError(ValueError):
    """A request that etcd refuses as INVALID_ARGUMENT, with its words."""


# Requests, read by the server


def range_op(r: Any) -> RangeOp:
    if not r.key:
        raise RequestError("etcdserver: key is not provided")
    if not 0 <= r.sort_order < len(_ORDERS) or not 0 <= r.sort_target < len(_SORT_TARGETS):
        raise RequestError("etcdserver: invalid sort option")
    order = _ORDERS[r.sort_order]
    if order == "NONE" and r.sort_target:
        order = "ASCEND"  # etcd: a target without an order sorts upwards
    if order == "ASCEND" and not r.sort_target:
        order = "NONE"  # keys come in order anyway
    return RangeOp(
        r.key,
        r.range_end,
        r.limit,
        r.revision,
        order,  # type: ignore[arg-type]
        _SORT_TARGETS[r.sort_target],  # type: ignore[arg-type]
        r.serializable,
        r.keys_only,
        r.count_only,
        r.min_mod_revision,
        r.max_mod_revision,
        r.min_create_revision,
        r.max_create_revision,
    )


def put_op(r: Any) -> PutOp:
    key = r.key
    if not key:
        raise RequestError("etcdserver: key is not provided")
    value, lease, ignore_value, ignore_lease = r.value, r.lease, r.ignore_value, r.ignore_lease
    if ignore_value and value:
        raise RequestError("etcdserver: value is provided")
    if ignore_lease and lease:
        raise RequestError("etcdserver: lease is provided")
    return PutOp(key, value, lease, r.prev_kv, ignore_value, ignore_lease)


def delete_op(r: Any) -> DeleteOp:
    if not r.key:
        raise RequestError("etcdserver: key is not provided")
    return DeleteOp(r.key, r.range_end, r.prev_kv)


def txn_op(r: Any, ops_max: int) -> TxnOp:
    for ops in (r.compare, r.success, r.failure):
        if len(ops) > ops_max:
            raise RequestError("etcdserver: too many operations in txn request")
    return TxnOp([_compare(c) for c in r.compare], [_op(o, ops_max) for o in r.success], [_op(o, ops_max) for o in r.failure])


def _op(o: Any, ops_max: int) -> Op:
    match o.WhichOneof("request"):
        case "request_range":
            return range_op(o.request_range)
        case "request_put":
            return put_op(o.request_put)
        case "request_delete_range":
            return delete_op(o.request_delete_range)
        case "request_txn":
            return txn_op(o.request_txn, ops_max)
        case _:
            raise RequestError("etcdserver: an operation of no kind")


def _compare(c: Any) -> Compare:
    if not c.key:
        raise RequestError("etcdserver: key is not provided")
    if not 0 <= c.result < len(_RESULTS) or not 0 <= c.target < len(_TARGETS):
        raise RequestError("etcdserver: invalid compare")
    target = _TARGETS[c.target]
    return Compare(c.key, target, _RESULTS[c.result], getattr(c, _TARGET_FIELDS[target]), c.range_end)  # type: ignore[arg-type]


# Requests, written by the client


def range_request(op: RangeOp) -> Any:
    return m.RangeRequest(
        key=op.key,
        range_end=op.range_end,
        limit=op.limit,
        revision=op.revision,
        sort_order=_ORDERS.index(op.sort_order),
        sort_target=_SORT_TARGETS.index(op.sort_target),
        serializable=op.serializable,
        keys_only=op.keys_only,
        count_only=op.count_only,
        min_mod_revision=op.min_mod_revision,
        max_mod_revision=op.max_mod_revision,
        min_create_revision=op.min_create_revision,
        max_create_revision=op.max_create_revision,
    )


def txn_request(op: TxnOp) -> Any:
    return m.TxnRequest(
        compare=[_compare_message(c) for c in op.compare], success=[_request_op(o) for o in op.success], failure=[_request_op(o) for o in op.failure]
    )


def _request_op(op: Op) -> Any:
    match op:
        case RangeOp():
            return m.RequestOp(request_range=range_request(op))
        case PutOp():
            put = m.PutRequest(key=op.key, value=op.value, lease=op.lease, prev_kv=op.prev_kv, ignore_value=op.ignore_value, ignore_lease=op.ignore_lease)
            return m.RequestOp(request_put=put)
        case DeleteOp():
            return m.RequestOp(request_delete_range=m.DeleteRangeRequest(key=op.key, range_end=op.range_end, prev_kv=op.prev_kv))
        case TxnOp():
            return m.RequestOp(request_txn=txn_request(op))


def _compare_message(c: Compare) -> Any:
    fields = {"key": c.key, "target": _TARGETS.index(c.target), "result": _RESULTS.index(c.op), "range_end": c.range_end}
    return m.Compare(**fields, **{_TARGET_FIELDS[c.target]: c.value})


# Answers, written by the server: what is not in `etcd_responses`


def kv_message(kv: KeyValue) -> Any:
    return m.KeyValue(key=kv.key, create_revision=kv.create_revision, mod_revision=kv.mod_revision, version=kv.version, value=kv.value, lease=kv.lease)


# Answers, read by the client


def key_value(kv: Any) -> KeyValue:
    return KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def event(e: Any) -> Event:
    return Event("DELETE" if e.type else "PUT", key_value(e.kv), key_value(e.prev_kv) if e.HasField("prev_kv") else None)


def range_result(r: Any) -> RangeResult:
    return RangeResult([key_value(kv) for kv in r.kvs], r.count, r.more, r.header.revision)


def txn_result(r: Any) -> TxnResult:
    return TxnResult(r.succeeded, list(_results(r.responses)), r.header.revision)


def _results(responses: Iterable[Any]) -> Iterable[RangeResult | PutResult | DeleteResult | TxnResult]:
    for each in responses:
        match each.WhichOneof("response"):
            case "response_range":
                yield range_result(each.response_range)
            case "response_put":
                put = each.response_put
                yield PutResult(put.header.revision, key_value(put.prev_kv) if put.HasField("prev_kv") else None)
            case "response_delete_range":
                deleted = each.response_delete_range
                yield DeleteResult(deleted.header.revision, deleted.deleted, [key_value(kv) for kv in deleted.prev_kvs])
            case "response_txn":
                yield txn_result(each.response_txn)
