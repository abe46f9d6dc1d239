"""The values of the etcd v3 interface, as the store, its three backends and their callers share them.

Names and meanings are etcd's (rpc.proto, kv.proto): a key's `version` counts from 1 at its creation, `create_revision` and
`mod_revision` are store-wide revisions, `range_end` b"" means the one key, b"\\0" means to the end, `prefix_end(p)` a prefix.
What is made for every write is a NamedTuple: as immutable as a frozen dataclass, and made in a quarter of its time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class KeyValue(NamedTuple):
    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class Event(NamedTuple):
    """`kv` of a delete has only key and mod_revision.  `prev_kv` is there where the watcher asked for it and one existed."""

    type: Literal["PUT", "DELETE"]
    kv: KeyValue
    prev_kv: KeyValue | None = None


class RangeResult(NamedTuple):
    """`revision` is the store's latest, whatever revision was read; `count` ignores the limit."""

    kvs: Sequence[KeyValue]
    count: int  # type: ignore[assignment]  # a tuple has a method of that name, which nobody wants here
    more: bool
    revision: int


class Compare(NamedTuple):
    """`target` of `key` `op` `value`: int for VERSION, CREATE, MOD and LEASE, bytes for VALUE."""

    key: bytes
    target: Literal["VERSION", "CREATE", "MOD", "VALUE", "LEASE"]
    op: Literal["EQUAL", "GREATER", "LESS", "NOT_EQUAL"]
    value: int | bytes
    range_end: bytes = b""


class RangeOp(NamedTuple):
    key: bytes
    range_end: bytes = b""
    limit: int = 0
    revision: int = 0
    sort_order: Literal["NONE", "ASCEND", "DESCEND"] = "NONE"
    sort_target: Literal["KEY", "VERSION", "CREATE", "MOD", "VALUE"] = "KEY"
    serializable: bool = False
    keys_only: bool = False
    count_only: bool = False
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


class PutOp(NamedTuple):
    key: bytes
    value: bytes
    lease: int = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class DeleteOp(NamedTuple):
    key: bytes
    range_end: bytes = b""
    prev_kv: bool = False


class TxnOp(NamedTuple):
    compare: Sequence[Compare] = ()
    success: Sequence["Op"] = ()
    failure: Sequence["Op"] = ()

    @property
    def puts(self) -> bool:
        """Whether a branch puts: what a full store refuses."""
        return any(isinstance(op, PutOp) or (isinstance(op, TxnOp) and op.puts) for op in (*self.success, *self.failure))

    @property
    def writes(self) -> bool:
        """Whether a branch puts or deletes."""
        return any(isinstance(op, PutOp | DeleteOp) or (isinstance(op, TxnOp) and op.writes) for op in (*self.success, *self.failure))


Op = RangeOp | PutOp | DeleteOp | TxnOp


class PutResult(NamedTuple):
    revision: int
    prev_kv: KeyValue | None = None


@dataclass(frozen=True, slots=True)
class DeleteResult:
    revision: int
    deleted: int
    prev_kvs: Sequence[KeyValue] = field(default=())


class TxnResult(NamedTuple):
    """`revision` is the store's revision after the transaction: that of its writes, if it wrote."""

    succeeded: bool
    responses: Sequence["RangeResult | PutResult | DeleteResult | TxnResult"]
    revision: int


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Whole revisions only: the events of one revision are never split over two batches.
    Without events it is a progress mark: everything up to `revision` has been delivered."""

    revision: int
    events: Sequence[Event]


def prefix_end(prefix: bytes) -> bytes:
    """The `range_end` that makes a range of all keys with `prefix`: b"a/" -> b"a0"; all 0xff (or empty) -> b"\\0", to the end."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else b"\0"
