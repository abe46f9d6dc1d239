"""The store in this process, on disk: an engine without a network, for `kfs up --data-dir`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from k8sfromscratch.core.mvcc import errors
from k8sfromscratch.core.mvcc.types import Compare, Op, RangeOp, RangeResult, TxnOp, TxnResult, WatchBatch
from k8sfromscratch.core.rpc import etcd_convert as convert
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.engine import Engine
from k8sfromscratch.storage.interface import NoSpace, Unavailable
from k8sfromscratch.storage.local import translated
from k8sfromscratch.storage.machine import Kind
from k8sfromscratch.storage.watchers import Watcher, WatcherGroup


class DurableStorage:
    """Implements `storage.interface.Storage`.  `run` must run beside it: it commits the file and ends leases."""

    def __init__(self, engine: Engine, env: Env) -> None:
        self._engine, self._env = engine, env
        self._watchers = WatcherGroup()
        self._closed = False
        engine.subscribe(self._watchers.publish)

    @classmethod
    async def open(cls, data_dir: Path, env: Env) -> "DurableStorage":
        """Raises WalError, StorageError, OSError."""
        return cls(await Engine.open(data_dir, env), env)

    async def run(self) -> None:
        await self._engine.run()

    async def range(self, op: RangeOp) -> RangeResult:
        self._check_open()
        try:
            return self._engine.store.range(op)
        except errors.MvccError as error:
            raise translated(error) from error

    async def txn(self, compare: Sequence[Compare], success: Sequence[Op], failure: Sequence[Op] = ()) -> TxnResult:
        op = TxnOp(compare, success, failure)
        self._check_open()
        if not op.writes:
            try:
                return self._engine.store.txn(op)[0]
            except errors.MvccError as error:
                raise translated(error) from error
        if self._engine.over_quota and op.puts:
            raise NoSpace("mvcc: database space exceeded")
        result: TxnResult = await self._propose(Kind.TXN, convert.txn_request(op), op)
        return result

    async def watch(self, key: bytes, range_end: bytes = b"", *, start_revision: int = 0, prev_kv: bool = False) -> AsyncIterator[WatchBatch]:
        self._check_open()
        store = self._engine.store
        watcher = Watcher(key, range_end, prev_kv, store.revision)
        if 0 < start_revision <= store.revision:
            try:
                for revision, events in store.events(key, range_end, start_revision, store.revision, prev_kv=prev_kv):
                    watcher.put(WatchBatch(revision, events))
            except errors.MvccError as error:
                raise translated(error) from error
        self._watchers.add(watcher)
        async for batch in self._watchers.read(watcher):
            if not batch.events or batch.revision >= start_revision:
                yield batch

    async def request_progress(self) -> None:
        self._check_open()
        self._watchers.progress(self._engine.store.revision)

    async def lease_grant(self, ttl_s: int) -> int:
        lease = self._env.rng.getrandbits(62) + 1
        await self._propose(Kind.GRANT, m.LeaseGrantRequest(ID=lease, TTL=ttl_s), (lease, ttl_s))
        return lease

    async def lease_keep_alive(self, lease: int) -> int:
        self._check_open()
        try:
            return (await self._engine.lessor.renew(lease)).ttl_s
        except errors.MvccError as error:
            raise translated(error) from error

    async def lease_revoke(self, lease: int) -> None:
        await self._propose(Kind.REVOKE, m.LeaseRevokeRequest(ID=lease), lease)

    async def compact(self, revision: int) -> None:
        await self._propose(Kind.COMPACT, m.CompactionRequest(revision=revision), revision)

    async def close(self) -> None:
        self._closed = True
        self._watchers.fail_all(Unavailable("the store was closed"))
        await asyncio.shield(self._engine.close())

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the store was closed")

    async def _propose(self, kind: Kind, message: Any, op: Any) -> Any:
        try:
            return await self._engine.proposed(kind, message.SerializeToString(), op)
        except errors.MvccError as error:
            raise translated(error) from error
