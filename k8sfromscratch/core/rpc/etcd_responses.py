"""The answers that a store gives all day, written as bytes: Put, Range, Txn and the events of watches; and a Put's request, read from them.

The protobuf library makes an object of every nested message, copies it into the one around it, and writes that: for a Range of a hundred keys it took
more time than to find them.  Only what differs from a field's default is written (proto3).  `header` is a ResponseHeader as bytes, as all answers of a
member begin with it; every message is given without its tag and length, but for those whose name ends in `field`.
"""

from collections.abc import Callable, Sequence

from k8sfromscratch.core.mvcc.types import DeleteResult, Event, KeyValue, PutOp, PutResult, RangeResult, TxnResult
from k8sfromscratch.core.rpc.wire import SHORT, varint

# A field's tag is its number and how it is written: number << 3 for a number, + 2 for bytes and messages.

_SHORT_END = len(SHORT)

Header = Callable[[int], bytes]
"""revision -> ResponseHeader"""


def header_of(cluster_id: int, member_id: int, term: int) -> Header:
    """Of the answers of one member, as long as its term is the same."""
    front, back = b"\x08%b\x10%b\x18" % (varint(cluster_id), varint(member_id)), b"\x20" + varint(term) if term else b""
    return lambda revision: b"%b%b%b" % (front, varint(revision), back)


def key_value(kv: KeyValue) -> bytes:
    key, value, created, modified, version, lease = kv
    if not version:  # of a deletion: the key and when
        return b"\x0a%b%b\x18%b" % (varint(len(key)), key, varint(modified))
    end = b"\x30" + varint(lease) if lease else b""
    if not value:
        return b"\x0a%b%b\x10%b\x18%b\x20%b%b" % (varint(len(key)), key, varint(created), varint(modified), varint(version), end)
    return b"\x0a%b%b\x10%b\x18%b\x20%b\x2a%b%b%b" % (
        varint(len(key)), key, varint(created), varint(modified), varint(version), varint(len(value)), value, end,
    )  # fmt: skip


def put_response(result: PutResult, header: bytes) -> bytes:
    if result.prev_kv is None:
        return b"\x0a%b%b" % (varint(len(header)), header)
    prev = key_value(result.prev_kv)
    return b"\x0a%b%b\x12%b%b" % (varint(len(header)), header, varint(len(prev)), prev)


def range_response(result: RangeResult, header: bytes) -> bytes:
    parts = [b"\x0a", varint(len(header)), header]
    for kv in result.kvs:
        key, value, created, modified, version, lease = kv
        size = len(value)
        if size and not lease and len(key) < _SHORT_END:  # as nearly all are: half as long as by `key_value`, and the value is copied once less
            front = b"\x0a%b%b\x10%b\x18%b\x20%b\x2a%b" % (
                SHORT[len(key)],
                key,
                first := varint(created),
                first if modified == created else varint(modified),
                SHORT[version] if version < _SHORT_END else varint(version),
                SHORT[size] if size < _SHORT_END else varint(size),
            )
            size += len(front)
            parts += (b"\x12", SHORT[size] if size < _SHORT_END else varint(size), front, value)
        else:
            written = key_value(kv)
            parts += (b"\x12", varint(len(written)), written)
    if result.more:
        parts.append(b"\x18\x01")
    if result.count:
        parts += (b"\x20", varint(result.count))
    return b"".join(parts)


def delete_response(result: DeleteResult, header: bytes) -> bytes:
    parts = [b"\x0a", varint(len(header)), header]
    if result.deleted:
        parts += (b"\x10", varint(result.deleted))
    for kv in result.prev_kvs:
        written = key_value(kv)
        parts += (b"\x1a", varint(len(written)), written)
    return b"".join(parts)


def txn_response(result: TxnResult, header: Header) -> bytes:
    """A nested transaction's header is empty, as upstream's: the outer one has the revision."""
    return _txn_response(result, header(result.revision), header)


def _txn_response(result: TxnResult, own: bytes, header: Header) -> bytes:
    parts = [b"\x0a", varint(len(own)), own]
    if result.succeeded:
        parts.append(b"\x10\x01")
    for each in result.responses:
        written = _response_op(each, header)
        parts += (b"\x1a", varint(len(written)), written)
    return b"".join(parts)


def _response_op(result: "RangeResult | PutResult | DeleteResult | TxnResult", header: Header) -> bytes:
    match result:
        case RangeResult():
            tag, written = b"\x0a", range_response(result, header(result.revision))
        case PutResult():
            tag, written = b"\x12", put_response(result, header(result.revision))
        case DeleteResult():
            tag, written = b"\x1a", delete_response(result, header(result.revision))
        case TxnResult():
            tag, written = b"\x22", _txn_response(result, b"", header)
    return b"%b%b%b" % (tag, varint(len(written)), written)


def event_field(event: Event, *, prev_kv: bool) -> bytes:
    """An event as it lies in a WatchResponse: the same for all watches that are told of it."""
    kv = key_value(event.kv)
    written = b"%b\x12%b%b" % (b"" if event.type == "PUT" else b"\x08\x01", varint(len(kv)), kv)
    if prev_kv and event.prev_kv is not None:
        prev = key_value(event.prev_kv)
        written = b"%b\x1a%b%b" % (written, varint(len(prev)), prev)
    return b"\x5a%b%b" % (varint(len(written)), written)


def watch_response(header: bytes, watch_id: int, events: Sequence[bytes], *, fragment: bool = False) -> bytes:
    """Of fields that `event_field` has written."""
    start = b"\x0a%b%b%b%b" % (varint(len(header)), header, b"\x10" + varint(watch_id) if watch_id else b"", b"\x38\x01" if fragment else b"")
    return start + (events[0] if len(events) == 1 else b"".join(events))


def plain_put(data: bytes) -> PutOp | None:
    """A PutRequest that has a short key and a value, in this order, and nothing else: what clients send all day.  None where it is anything else, and
    for the library to read."""
    size = len(data)
    if size < 6 or data[0] != 0x0A or not 0 < data[1] < 0x80:
        return None
    at = data[1] + 2
    if at + 1 >= size or data[at] != 0x12:
        return None
    length, shift, begin = 0, 0, at + 1
    while begin < size:
        byte = data[begin]
        begin += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return PutOp(data[2:at], data[begin:]) if begin + length == size else None
        shift += 7
    return None
