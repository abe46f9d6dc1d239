"""Random histories for etcd, as values: what is asked, with revisions and leases relative to where the history begins.

A history lives below a prefix of its own, so that many run one after another on one server; prefixes ascend, so a range to the end holds its own keys only.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from k8sfromscratch.core.rpc.etcd_messages import messages as m

SUFFIXES = (b"", b"a", b"a\0", b"ab", b"b", b"_", b"\xff", b"\0\xfe")
VALUES = (b"", b"1", b"2", b"\0\xff")
LEASES = 3
"""Different leases a history may speak of; number 0 is none."""


@dataclass(frozen=True)
class Place:
    """Where a history runs on one server: what its relative numbers mean there."""

    prefix: bytes
    revision: int
    lease: int


@dataclass(frozen=True)
class Op:
    """`method` of the service, and a request to be built for a place; or a Watch to be created."""

    method: str
    fields: tuple[tuple[str, Any], ...]

    def request(self, place: Place) -> Any:
        return _message(self.method, dict(self.fields), place)


REQUESTS = {
    "KV/Range": (m.RangeRequest, m.RangeResponse),
    "KV/Put": (m.PutRequest, m.PutResponse),
    "KV/DeleteRange": (m.DeleteRangeRequest, m.DeleteRangeResponse),
    "KV/Txn": (m.TxnRequest, m.TxnResponse),
    "KV/Compact": (m.CompactionRequest, m.CompactionResponse),
    "Lease/LeaseGrant": (m.LeaseGrantRequest, m.LeaseGrantResponse),
    "Lease/LeaseRevoke": (m.LeaseRevokeRequest, m.LeaseRevokeResponse),
    "Lease/LeaseTimeToLive": (m.LeaseTimeToLiveRequest, m.LeaseTimeToLiveResponse),
    "Lease/LeaseLeases": (m.LeaseLeasesRequest, m.LeaseLeasesResponse),
    "Lease/LeaseKeepAlive": (m.LeaseKeepAliveRequest, m.LeaseKeepAliveResponse),
    "Watch": (m.WatchCreateRequest, m.WatchResponse),
    "Compare": (m.Compare, None),
}


def _message(method: str, fields: dict[str, Any], place: Place) -> Any:
    kind = REQUESTS[method][0]
    built: dict[str, Any] = {}
    for name, value in fields.items():
        if name in ("key", "range_end"):
            built[name] = _key(value, place)
        elif name in ("revision", "start_revision", "create_revision", "mod_revision") or name.startswith(("min_", "max_")):
            built[name] = value if value is None or isinstance(value, str) else max(place.revision + value, 0)
            if value is None:
                del built[name]
        elif name in ("lease", "ID"):
            built[name] = place.lease + value if value else 0
        elif name == "compare":
            built[name] = [each.request(place) for each in value]
        elif name in ("success", "failure"):
            built[name] = [m.RequestOp(**{_ONEOF[each.method]: each.request(place)}) for each in value]
        else:
            built[name] = value
    return kind(**built)


_ONEOF = {"KV/Range": "request_range", "KV/Put": "request_put", "KV/DeleteRange": "request_delete_range", "KV/Txn": "request_txn"}


def _key(value: Any, place: Place) -> bytes:
    """A suffix; None for no key at all; "end" for to the end."""
    if value is None:
        return b""
    if value == "end":
        return b"\0"
    return place.prefix + bytes(value)


def _op(method: str, **fields: Any) -> Any:
    """A strategy of ops."""
    return st.fixed_dictionaries(fields).map(lambda drawn: Op(method, tuple(drawn.items())))


keys = st.sampled_from(SUFFIXES)
rarely_none = st.one_of(*[keys] * 12, st.none())
ends = st.one_of(st.none(), st.none(), keys, st.just("end"))
often_not = st.sampled_from([False, False, False, True])
relative = st.integers(-1, 12)
revisions = st.one_of(st.none(), st.none(), st.none(), relative)
bounds = st.one_of(*[st.none()] * 8, relative)
leases = st.sampled_from([0, 0, 0, 0, *range(1, LEASES + 1)])
values = st.sampled_from(VALUES)

ranges = _op(
    "KV/Range",
    key=rarely_none,
    range_end=ends,
    limit=st.sampled_from([0, 0, 0, 1, 2, -1]),
    revision=revisions,
    sort_order=st.sampled_from([0, 0, 1, 2]),
    sort_target=st.sampled_from([0, 0, 0, 1, 2, 3, 4]),
    serializable=often_not,
    keys_only=often_not,
    count_only=often_not,
    min_mod_revision=bounds,
    max_mod_revision=bounds,
    min_create_revision=bounds,
    max_create_revision=bounds,
)
puts = _op("KV/Put", key=rarely_none, value=values, lease=leases, prev_kv=often_not)
special_puts = _op("KV/Put", key=keys, value=st.sampled_from([b"", b"", b"", b"1"]), lease=st.sampled_from([0, 0, 0, 1]), prev_kv=often_not)
ignoring = st.tuples(special_puts, st.sampled_from(["ignore_value", "ignore_lease"])).map(lambda drawn: Op("KV/Put", (*drawn[0].fields, (drawn[1], True))))
deletes = _op("KV/DeleteRange", key=rarely_none, range_end=ends, prev_kv=often_not)
results = st.integers(0, 3)
compares = st.one_of(
    _op("Compare", key=rarely_none, range_end=ends, result=results, target=st.just(0), version=st.integers(0, 3)),
    _op("Compare", key=keys, range_end=ends, result=results, target=st.just(1), create_revision=relative),
    _op("Compare", key=keys, range_end=ends, result=results, target=st.just(2), mod_revision=relative),
    _op("Compare", key=keys, range_end=ends, result=results, target=st.just(3), value=values),
    _op("Compare", key=keys, range_end=ends, result=results, target=st.just(4), lease=leases),
)
bounded_deletes = _op("KV/DeleteRange", key=rarely_none, range_end=st.one_of(st.none(), keys), prev_kv=often_not)
"""In a transaction: see EXPLAINED in the test."""
simple = st.one_of(puts, puts, bounded_deletes, ranges, ignoring)


def _txns(inner: Any) -> Any:
    return _op("KV/Txn", compare=st.lists(compares, max_size=2).map(tuple), success=_few(inner), failure=_few(inner))


def _few(ops: Any) -> Any:
    return st.lists(ops, max_size=3).map(tuple)


transactions = _txns(st.one_of(simple, simple, simple, _txns(simple)))
watches = _op(
    "Watch",
    key=rarely_none,
    range_end=ends,
    start_revision=st.one_of(st.none(), relative, relative),
    prev_kv=st.booleans(),
    fragment=often_not,
    filters=st.sampled_from([(), (), (), (0,), (1,), (0, 1)]),
)
lease_numbers = st.integers(1, LEASES)
lease_ops = st.one_of(
    _op("Lease/LeaseGrant", ID=lease_numbers, TTL=st.sampled_from([1, 60, 600, 0, -1, 9_000_000_001])),
    _op("Lease/LeaseGrant", ID=lease_numbers, TTL=st.just(60)),
    _op("Lease/LeaseRevoke", ID=lease_numbers),
    _op("Lease/LeaseTimeToLive", ID=lease_numbers, keys=st.booleans()),
    _op("Lease/LeaseLeases"),
    _op("Lease/LeaseKeepAlive", ID=lease_numbers),
)
compactions = _op("KV/Compact", revision=relative, physical=st.booleans())
ops = st.one_of(puts, puts, puts, deletes, ranges, ranges, transactions, transactions, ignoring, lease_ops, watches, compactions)
histories = st.lists(ops, min_size=1, max_size=14)
