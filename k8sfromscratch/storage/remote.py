"""The store over gRPC: our etcd, or upstream's.

Each watch is a stream of its own on the one connection.  Writes are never tried again by themselves: when the connection breaks nobody knows
whether they were done; reads may be, by whoever asked.
"""

import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any, NoReturn

from k8sfromscratch.core.mvcc.types import Compare, Op, RangeOp, RangeResult, TxnOp, TxnResult, WatchBatch
from k8sfromscratch.core.rpc import etcd_convert as convert
from k8sfromscratch.core.rpc import etcd_requests, grpc
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.channel import Channel, Incoming, RpcError
from k8sfromscratch.storage.interface import Compacted, FutureRevision, LeaseNotFound, NoSpace, StorageError, Unavailable


class RemoteStorage:
    """Implements `storage.interface.Storage`."""

    def __init__(self, endpoints: Sequence[str], tls: ssl.SSLContext | None = None) -> None:
        self._channel = Channel(endpoints, tls)
        self._watches: set[Incoming] = set()

    async def range(self, op: RangeOp) -> RangeResult:
        data = await self._call("KV/Range", etcd_requests.range_request(op))
        return convert.range_result(m.RangeResponse.FromString(data))

    async def txn(self, compare: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        data = await self._call("KV/Txn", etcd_requests.txn_request(TxnOp(compare, success, failure)))
        return convert.txn_result(m.TxnResponse.FromString(data))

    async def watch(self, key: bytes, range_end: bytes = b"", *, start_revision: int = 0, prev_kv: bool = False) -> AsyncIterator[WatchBatch]:
        incoming = await self._channel.open("/etcdserverpb.Watch/Watch")
        create = m.WatchCreateRequest(key=key, range_end=range_end, start_revision=start_revision, prev_kv=prev_kv)
        incoming.send(m.WatchRequest(create_request=create).SerializeToString())
        self._watches.add(incoming)
        try:
            async for data in incoming:
                response = m.WatchResponse.FromString(data)
                if response.compact_revision:
                    raise Compacted(response.compact_revision)
                if response.canceled:
                    raise StorageError(f"the store ended the watch: {response.cancel_reason}")
                if response.created:
                    continue
                for batch in _batches(response):
                    yield batch
            raise Unavailable("the store ended the watch")
        except RpcError as error:
            _translate(error)
        finally:
            self._watches.discard(incoming)
            incoming.cancel()

    async def request_progress(self) -> None:
        request = m.WatchRequest(progress_request=m.WatchProgressRequest()).SerializeToString()
        for incoming in self._watches:
            incoming.send(request)

    async def lease_grant(self, ttl_s: int) -> int:
        data = await self._call("Lease/LeaseGrant", m.LeaseGrantRequest(TTL=ttl_s).SerializeToString())
        return int(m.LeaseGrantResponse.FromString(data).ID)

    async def lease_keep_alive(self, lease: int) -> int:
        incoming = await self._channel.open("/etcdserverpb.Lease/LeaseKeepAlive")
        try:
            incoming.send(m.LeaseKeepAliveRequest(ID=lease).SerializeToString())
            async for data in incoming:
                ttl_s = int(m.LeaseKeepAliveResponse.FromString(data).TTL)
                if ttl_s <= 0:
                    raise LeaseNotFound(f"lease {lease:x} has expired")
                return ttl_s
            raise Unavailable("the store ended the stream of keep-alives")
        except RpcError as error:
            _translate(error)
        finally:
            incoming.cancel()

    async def lease_revoke(self, lease: int) -> None:
        await self._call("Lease/LeaseRevoke", m.LeaseRevokeRequest(ID=lease).SerializeToString())

    async def compact(self, revision: int) -> None:
        await self._call("KV/Compact", m.CompactionRequest(revision=revision).SerializeToString())

    async def close(self) -> None:
        await self._channel.close()

    async def _call(self, method: str, message: bytes) -> bytes:
        try:
            return await self._channel.call(f"/etcdserverpb.{method}", message)
        except RpcError as error:
            _translate(error)


def _batches(response: Any) -> list[WatchBatch]:
    """One batch a revision.  An answer without events is a progress mark; one for revision 0, which old servers send, says nothing."""
    if not response.events:
        return [WatchBatch(response.header.revision, ())] if response.header.revision else []
    batches: list[WatchBatch] = []
    events = [convert.event(e) for e in response.events]
    start = 0
    for at in range(1, len(events) + 1):
        if at == len(events) or events[at].kv.mod_revision != events[start].kv.mod_revision:
            batches.append(WatchBatch(events[start].kv.mod_revision, events[start:at]))
            start = at
    return batches


def _translate(error: RpcError) -> NoReturn:
    text = error.text
    if error.code == grpc.OUT_OF_RANGE and "compacted" in text:
        raise Compacted(0) from error
    if error.code == grpc.OUT_OF_RANGE and "future" in text:
        raise FutureRevision(text) from error
    if error.code == grpc.NOT_FOUND and "lease" in text:
        raise LeaseNotFound(text) from error
    if error.code == grpc.RESOURCE_EXHAUSTED and "space" in text:
        raise NoSpace(text) from error
    if error.code == grpc.RESOURCE_EXHAUSTED and "too many requests" in text:
        raise Unavailable(text) from error
    if error.code in (grpc.UNAVAILABLE, grpc.DEADLINE_EXCEEDED, grpc.CANCELLED):
        raise Unavailable(text) from error
    raise StorageError(f"{text} (gRPC code {error.code})") from error
