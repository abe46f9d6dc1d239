"""The Lock and Election services: who comes first holds the lock, or leads; the others wait in the order in which they came.

Each contender puts a key `name/<its lease>`.  The one whose key was created first holds it; the others are told when a key of the name goes: by
unlocking, by resigning, or because its lease ended.  So the order is that of the create revisions, and nothing but keys is kept: what a client's
own recipe (`etcdctl lock`, `elect`) does, works together with it.

    Lock("l", lease 0x1f) ─► put l/1f if it is not there ─► is there an older key below l/ ? ─ no ─► answered: l/1f
                                                                    ▲        │ yes
                                                                    └────────┴ waits for a deletion below l/

A call that its client ends takes its key back.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from k8sfromscratch.components.etcd.connection import Call, OpenStream
from k8sfromscratch.components.etcd.leasing import Leasing
from k8sfromscratch.components.etcd.member import Member, fail
from k8sfromscratch.core.mvcc.auth import READ
from k8sfromscratch.core.mvcc.errors import MvccError
from k8sfromscratch.core.mvcc.types import Compare, DeleteOp, Event, KeyValue, PutOp, RangeOp, RangeResult, TxnOp, TxnResult, prefix_end
from k8sfromscratch.core.rpc import etcd_requests, grpc
from k8sfromscratch.core.rpc.etcd_convert import kv_message
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.machine import Kind

SESSION_TTL_S = 60
"""Of the lease that a contender without one gets; it ends so long after the call, as upstream's."""
RENEW_EVERY_S = SESSION_TTL_S / 3


class QueueError(MvccError):
    """What upstream tells with the code UNKNOWN."""


class Held(NamedTuple):
    key: bytes
    revision: int
    lease: int


Work = Callable[[Call, Any], Coroutine[Any, Any, None]]


class QueueServices:
    def __init__(self, member: Member, leasing: Leasing) -> None:
        self._member, self._store, self._leasing = member, member.store, leasing
        self._waiting: dict[bytes, set[asyncio.Event]] = {}
        """By the names' prefixes."""
        member.engine.subscribe(self._published)

    def streams(self) -> dict[str, OpenStream]:
        """All as streams, the unary ones too: a stream is told when its client goes."""
        methods: dict[str, tuple[Any, Work]] = {
            "/v3lockpb.Lock/Lock": (m.LockRequest, self.lock),
            "/v3lockpb.Lock/Unlock": (m.UnlockRequest, self.unlock),
            "/v3electionpb.Election/Campaign": (m.CampaignRequest, self.campaign),
            "/v3electionpb.Election/Proclaim": (m.ProclaimRequest, self.proclaim),
            "/v3electionpb.Election/Leader": (m.LeaderRequest, self.leader),
            "/v3electionpb.Election/Observe": (m.LeaderRequest, self.observe),
            "/v3electionpb.Election/Resign": (m.ResignRequest, self.resign),
        }

        def opener(request: Any, work: Work) -> OpenStream:
            return lambda call: _QueueCall(call, self._member, request, work)

        return {name: opener(*method) for name, method in methods.items()}

    # Lock

    async def lock(self, call: Call, request: Any) -> None:
        held = await self._acquire(call, request.name + b"/", request.lease, b"", "mutex: session is expired")
        _answer(call, m.LockResponse(header=self._member.header_now(), key=held.key))

    async def unlock(self, call: Call, request: Any) -> None:
        await self._txn(call, TxnOp(success=[DeleteOp(request.key)]))
        _answer(call, m.UnlockResponse(header=self._member.header_now()))

    # Election

    async def campaign(self, call: Call, request: Any) -> None:
        held = await self._acquire(call, request.name + b"/", request.lease, request.value, "election: session expired")
        leader = m.LeaderKey(name=request.name, key=held.key, rev=held.revision, lease=held.lease)
        _answer(call, m.CampaignResponse(header=self._member.header_now(), leader=leader))

    async def proclaim(self, call: Call, request: Any) -> None:
        leader = _leader_key(request)
        still = Compare(leader.key, "CREATE", "EQUAL", leader.rev)
        result = await self._txn(call, TxnOp([still], [PutOp(leader.key, request.value, leader.lease)]))
        if not result.succeeded:
            raise QueueError("election: not leader")
        _answer(call, m.ProclaimResponse(header=self._member.header(result.revision)))

    async def resign(self, call: Call, request: Any) -> None:
        leader = _leader_key(request)
        result = await self._txn(call, TxnOp([Compare(leader.key, "CREATE", "EQUAL", leader.rev)], [DeleteOp(leader.key)]))
        _answer(call, m.ResignResponse(header=self._member.header(result.revision)))

    async def leader(self, call: Call, request: Any) -> None:
        prefix = request.name + b"/"
        await self._member.engine.read_barrier()
        self._check_read(call, prefix)
        first = self._first(prefix)
        if first is None:
            raise QueueError("election: no leader")
        _answer(call, m.LeaderResponse(header=self._member.header_now(), kv=kv_message(first)))

    async def observe(self, call: Call, request: Any) -> None:
        """Tells the leader, and again whenever another leads or it proclaims something.  Of several changes in one turn the last is told."""
        prefix = request.name + b"/"
        await self._member.engine.read_barrier()
        self._check_read(call, prefix)
        told: tuple[bytes, int] | None = None
        with _Waiter(self._waiting, prefix) as changed:
            while True:
                first = self._first(prefix)
                if first is not None and told != (first.key, first.mod_revision):
                    told = first.key, first.mod_revision
                    call.send(m.LeaderResponse(header=self._member.header_now(), kv=kv_message(first)).SerializeToString())
                await changed.wait()
                changed.clear()

    # The queue

    async def _acquire(self, call: Call, prefix: bytes, lease: int, value: bytes, expired: str) -> Held:
        """Returns when every older key of the name is gone.  Raises QueueError when its own is gone before."""
        self._check_read(call, prefix)
        own = not lease
        if own:
            lease = self._member.env.rng.getrandbits(62) + 1
            granted = m.LeaseGrantRequest(ID=lease, TTL=SESSION_TTL_S).SerializeToString()
            await self._member.proposed(call, Kind.GRANT, granted, (lease, SESSION_TTL_S))
        key = prefix + b"%x" % (lease & 2**64 - 1)
        entered = await self._txn(call, TxnOp([Compare(key, "CREATE", "EQUAL", 0)], [PutOp(key, value, lease)], [RangeOp(key)]))
        revision = entered.revision if entered.succeeded else _only(entered.responses).create_revision
        try:
            if not entered.succeeded and value and _only(entered.responses).value != value:
                await self._txn(call, TxnOp([Compare(key, "CREATE", "EQUAL", revision)], [PutOp(key, value, lease)]))
            with _Waiter(self._waiting, prefix) as changed:
                while self._first(prefix, before=revision) is not None:
                    await self._changed(changed, lease if own else 0)
        except asyncio.CancelledError:
            gone = TxnOp([Compare(key, "CREATE", "EQUAL", revision)], [DeleteOp(key)])
            self._member.engine.propose(Kind.TXN, etcd_requests.txn_request(gone), gone)
            raise
        mine = self._store.at(key, self._store.revision)
        if mine is None or mine.create_revision != revision:
            raise QueueError(expired)
        return Held(key, revision, lease)

    async def _changed(self, changed: asyncio.Event, lease: int) -> None:
        """Returns when a key of the name has come or gone; a lease of ours is renewed meanwhile."""
        while not changed.is_set():
            try:
                async with asyncio.timeout(RENEW_EVERY_S if lease else None):
                    await changed.wait()
            except TimeoutError:
                await self._leasing.renewed([lease])
        changed.clear()

    def _first(self, prefix: bytes, before: int = 0) -> KeyValue | None:
        """The oldest key of the name, or the oldest below a create revision."""
        found = self._store.range(RangeOp(prefix, prefix_end(prefix), 1, 0, "ASCEND", "CREATE", max_create_revision=before - 1 if before else 0))
        return found.kvs[0] if found.kvs else None

    def _published(self, revision: int, events: Sequence[Event]) -> None:
        if not self._waiting:
            return
        for event in events:
            for changed in self._waiting.get(event.kv.key[: event.kv.key.rfind(b"/") + 1], ()):
                changed.set()

    def _check_read(self, call: Call, prefix: bytes) -> None:
        self._member.auth.check(self._member.who(call), prefix, prefix_end(prefix), READ)

    async def _txn(self, call: Call, op: TxnOp) -> TxnResult:
        result: TxnResult = await self._member.proposed(call, Kind.TXN, etcd_requests.txn_request(op), op)
        return result


class _Waiter:
    """A place in the table of those who wait, for as long as it is needed."""

    def __init__(self, table: dict[bytes, set[asyncio.Event]], prefix: bytes) -> None:
        self._table, self._prefix, self._event = table, prefix, asyncio.Event()

    def __enter__(self) -> asyncio.Event:
        self._table.setdefault(self._prefix, set()).add(self._event)
        return self._event

    def __exit__(self, *_: object) -> None:
        waiting = self._table[self._prefix]
        waiting.discard(self._event)
        if not waiting:
            del self._table[self._prefix]


class _QueueCall:
    """One call: its work runs as a task, which ends with the call."""

    def __init__(self, call: Call, member: Member, request: Any, work: Work) -> None:
        self._call, self._member, self._request, self._work = call, member, request, work
        self._task: asyncio.Task[None] | None = None

    def message(self, data: bytes) -> None:
        if self._task is not None:
            return
        try:
            request = self._request.FromString(data)
        except DecodeError as error:
            fail(self._call, error)
            return
        self._task = self._member.spawn(self._told(request), self._call)

    async def _told(self, request: Any) -> None:
        try:
            await self._work(self._call, request)
        except QueueError as error:
            self._call.finish(grpc.UNKNOWN, str(error))

    def half_closed(self) -> None:
        return None

    def closed(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _answer(call: Call, message: Any) -> None:
    call.send(message.SerializeToString())
    call.finish()


def _leader_key(request: Any) -> Any:
    if not request.HasField("leader"):
        raise QueueError('"leader" field must be provided')
    return request.leader


def _only(responses: Sequence[Any]) -> KeyValue:
    (found,) = responses
    assert isinstance(found, RangeResult)
    return found.kvs[0]
