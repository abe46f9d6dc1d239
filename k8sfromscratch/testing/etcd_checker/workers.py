"""What clients do while things break: concurrent operations on few keys, leases that are kept and left, compactions, watches that come and go."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from random import Random
from typing import Any

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_checker.client import Client, Refused, Unknown
from k8sfromscratch.testing.etcd_checker.history import Batch, Compacted, History, LeaseLife, Operation, Outcome, Progress, Resumed, Watch

KEYS = tuple(b"k/%d" % each for each in range(5))
PREFIX, PREFIX_END = b"k/", b"k0"
LEASE_TTL_S = 2
PAUSE_MAX_S = 0.02
KEEP_EVERY_S = 0.4
RETRY_S = 0.1
SILENCE_S = 2.5
PROGRESS_EVERY_S = 0.5
COMPACT_BEHIND = 300
"""Revisions that are left behind the slowest of the watches that follow everything: none of those is overtaken, so that the history stays whole."""


class Stop:
    """Says to everybody that the storm is over."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    async def within(self, seconds: float) -> bool:
        """Waits no longer than that; whether it has come."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Worker:
    """One operation after the other, at a member until that fails."""

    def __init__(self, name: str, clients: Sequence[Client], history: History, random: Random, *, pretend: bool = False) -> None:
        """`pretend`: its reads are serializable ones, and it takes them for linearizable."""
        self._name, self._clients, self._history, self._random, self._pretend = name, clients, history, random, pretend
        self._count = 0
        self._known: dict[bytes, Any] = {}

    async def run(self, stop: Stop) -> None:
        client = self._random.choice(self._clients)
        while not await stop.within(self._random.uniform(0, PAUSE_MAX_S)):
            done = await client.operate(self._next())
            self._history.operations.append(done)
            if done.outcome == Outcome.OK:
                self._remember(done)
            if done.outcome == Outcome.UNKNOWN or self._random.random() < 0.02:
                client = self._random.choice(self._clients)

    def _next(self) -> Operation:
        makers = (self._put, self._get, self._list, self._serializable, self._past, self._delete, self._compare_and_swap, self._move)
        return self._random.choices(makers, (5, 5, 2, 2, 1, 1, 4, 3))[0]()

    def _operation(self, method: str, request: Any, *, linearizable: bool = True) -> Operation:
        return Operation(self._name, method, request, 0.0, linearizable=linearizable)

    def _key(self) -> bytes:
        return self._random.choice(KEYS)

    def _value(self) -> bytes:
        self._count += 1
        return b"%s/%d" % (self._name.encode(), self._count)

    def _remember(self, operation: Operation) -> None:
        if operation.method == "Range":
            self._known.update({kv.key: kv for kv in operation.answer.kvs})

    def _put(self) -> Operation:
        return self._operation("Put", m.PutRequest(key=self._key(), value=self._value(), prev_kv=self._random.random() < 0.5))

    def _get(self) -> Operation:
        return self._operation("Range", m.RangeRequest(key=self._key(), serializable=self._pretend))

    def _list(self) -> Operation:
        return self._operation("Range", m.RangeRequest(key=PREFIX, range_end=PREFIX_END, serializable=self._pretend))

    def _serializable(self) -> Operation:
        return self._operation("Range", m.RangeRequest(key=PREFIX, range_end=PREFIX_END, serializable=True), linearizable=False)

    def _past(self) -> Operation:
        """A list as of a revision that this client has seen.  A compaction may have overtaken it: then it is refused."""
        revision = max((kv.mod_revision for kv in self._known.values()), default=0)
        return self._operation("Range", m.RangeRequest(key=PREFIX, range_end=PREFIX_END, revision=revision))

    def _delete(self) -> Operation:
        whole = self._random.random() < 0.2
        key, end = (PREFIX, PREFIX_END) if whole else (self._key(), b"")
        return self._operation("DeleteRange", m.DeleteRangeRequest(key=key, range_end=end, prev_kv=self._random.random() < 0.5))

    def _compare_and_swap(self) -> Operation:
        """As an apiserver writes: if the key is as it was last seen, put, else get."""
        key = self._key()
        kv = self._known.get(key)
        if kv is None:
            compare = m.Compare(key=key, target=3, value=self._value()) if self._random.random() < 0.1 else m.Compare(key=key, target=0, version=0)
        else:
            compare = self._random.choice(
                (m.Compare(key=key, target=2, mod_revision=kv.mod_revision), m.Compare(key=key, target=0, version=kv.version),
                 m.Compare(key=key, target=3, value=kv.value), m.Compare(key=key, target=1, create_revision=kv.create_revision))
            )  # fmt: skip
        put = m.RequestOp(request_put=m.PutRequest(key=key, value=self._value(), prev_kv=True))
        get = m.RequestOp(request_range=m.RangeRequest(key=key))
        return self._operation("Txn", m.TxnRequest(compare=[compare], success=[put, get], failure=[get]))

    def _move(self) -> Operation:
        """Several keys at once: whoever sees one of them changed must see all."""
        first, second, third = self._random.sample(KEYS, 3)
        success = [
            m.RequestOp(request_delete_range=m.DeleteRangeRequest(key=first, prev_kv=True)),
            m.RequestOp(request_put=m.PutRequest(key=second, value=self._value())),
            m.RequestOp(request_put=m.PutRequest(key=third, value=self._value(), prev_kv=True)),
            m.RequestOp(request_range=m.RangeRequest(key=PREFIX, range_end=PREFIX_END)),
        ]
        return self._operation("Txn", m.TxnRequest(success=success))


class LeaseWorker:
    """Grants, keeps alive for a while, and leaves the lease to its end (or revokes it)."""

    def __init__(self, name: str, clients: Sequence[Client], history: History, random: Random) -> None:
        self._name, self._clients, self._history, self._random = name, clients, history, random
        self._count = 0

    async def run(self, stop: Stop) -> None:
        while not stop:
            try:
                await self._live_once(stop)
            except (Refused, Unknown):
                await stop.within(RETRY_S)

    async def _live_once(self, stop: Stop) -> None:
        called = time.monotonic()
        granted = await self._client().call("LeaseGrant", m.LeaseGrantRequest(TTL=LEASE_TTL_S))
        life = LeaseLife(granted.ID, granted.TTL, alive_from=[called])
        self._history.leases.append(life)
        for _ in range(2):
            self._count += 1
            key = b"lease/%s/%d" % (self._name.encode(), self._count)
            life.keys.append(key)
            put = Operation(self._name, "Put", m.PutRequest(key=key, value=key, lease=life.id), 0.0)
            self._history.operations.append(await self._client().operate(put))
        for _ in range(self._random.randint(0, 12)):
            if await stop.within(KEEP_EVERY_S):
                return
            called = time.monotonic()
            try:
                if not await self._client().keep_alive(life.id):
                    return
            except Unknown:
                continue
            life.alive_from.append(called)
        if self._random.random() < 0.2:
            life.revoked = True
            await self._client().call("LeaseRevoke", m.LeaseRevokeRequest(ID=life.id))

    def _client(self) -> Client:
        return self._random.choice(self._clients)


class Compactor:
    def __init__(self, clients: Sequence[Client], history: History, random: Random) -> None:
        self._clients, self._history, self._random = clients, history, random
        self.revision = 0
        """The last that was asked for: nothing below it is asked of anybody."""

    async def run(self, stop: Stop) -> None:
        while not await stop.within(self._random.uniform(1, 3)):
            revision = min(watch.position for watch in self._history.watches if watch.whole) - COMPACT_BEHIND
            if revision > self.revision:
                self.revision = revision
                try:
                    await self._random.choice(self._clients).call("Compact", m.CompactionRequest(revision=revision))
                except (Refused, Unknown):
                    continue


class Watcher:
    """Follows `watch`'s range through interruptions, at one member or at any, always behind what it has."""

    def __init__(self, watch: Watch, clients: Sequence[Client], random: Random) -> None:
        self._watch, self._clients, self._random = watch, clients, random
        self._new = asyncio.Condition()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self._follow(self._random.choice(self._clients))
            except Unknown:
                await asyncio.sleep(RETRY_S)

    async def reached(self, revision: int) -> None:
        async with self._new:
            await self._new.wait_for(lambda: self._watch.position >= revision)

    async def _follow(self, client: Client) -> None:
        watch, start = self._watch, self._watch.position + 1
        watch.log.append(Resumed(start, client.member))
        request = m.WatchCreateRequest(
            key=watch.key, range_end=watch.range_end, start_revision=start, prev_kv=watch.prev_kv, progress_notify=True, filters=[0] if watch.no_puts else []
        )
        stay_s = self._random.uniform(1, 6) if len(self._clients) > 1 else float("inf")
        leave = time.monotonic() + stay_s
        async with aclosing(client.watch(request, silence_s=SILENCE_S, progress_every_s=PROGRESS_EVERY_S)) as answers:
            async for answer in answers:
                self._note(answer)
                async with self._new:
                    self._new.notify_all()
                if time.monotonic() > leave:
                    return

    def _note(self, answer: Any) -> None:
        watch = self._watch
        if answer.canceled:
            if answer.compact_revision:
                watch.log.append(Compacted(answer.compact_revision))
                watch.position = answer.compact_revision - 1
            raise Unknown(answer.cancel_reason)
        if answer.events:
            watch.log.append(Batch(answer.header.revision, tuple(answer.events), time.monotonic()))
            watch.position = max(watch.position, answer.events[-1].kv.mod_revision)
        elif not answer.created:
            watch.log.append(Progress(answer.header.revision))
            if watch.bookmarks:
                watch.position = max(watch.position, answer.header.revision)
