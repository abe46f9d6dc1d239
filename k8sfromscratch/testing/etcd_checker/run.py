"""A run: a cluster, clients, faults from a seed, a calm, and then the question whether all that was seen is right.

start ─► workers, watches ─► nemesis: rounds of faults ─► mend ─► leases run out ─► last write ─► every watch has it ─► audit ─► check
"""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_checker import checks
from k8sfromscratch.testing.etcd_checker.client import Client, Refused, Unknown
from k8sfromscratch.testing.etcd_checker.cluster import MEMBERS, POLL_S, Cluster
from k8sfromscratch.testing.etcd_checker.history import History, Operation, Outcome, Watch
from k8sfromscratch.testing.etcd_checker.nemesis import KINDS, Nemesis
from k8sfromscratch.testing.etcd_checker.replay import Fault
from k8sfromscratch.testing.etcd_checker.sandbox import Sandbox
from k8sfromscratch.testing.etcd_checker.workers import LEASE_TTL_S, PREFIX, PREFIX_END, Compactor, LeaseWorker, Stop, Watcher, Worker

WORKERS, LEASE_WORKERS = 8, 2
CALM_S = 30.0
"""In which a healthy cluster must have ended what was left to end, and told it to everybody."""
CALM_CALL_S = 8.0
"""A single call then; the machine may be busy with other things."""
ALL, ALL_END = b"\0", b"\0"


@dataclass(frozen=True, slots=True)
class Options:
    """`logs`: where the members' logs are left; None: nowhere.  `upstream`: the program `etcd` instead of ours.  `pretend`: the clients read serializably
    and claim that it was linearizable, which is wrong."""

    seed: int
    rounds: int
    logs: Path | None
    upstream: bool = False
    pretend: bool = False
    only: Sequence[str] = KINDS


async def run(options: Options) -> History:
    """The history, which was found to be right.  Raises Fault."""
    random, started = Random(options.seed), time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:7.2f} s  {what}", file=sys.stderr, flush=True)

    box = Sandbox(MEMBERS)
    logs = options.logs or box.directory
    logs.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(box, logs, upstream=options.upstream)
    try:
        await cluster.mend()
        say("all members answer")
        history, compacted = await _storm(options, cluster, random, say)
    finally:
        await cluster.close()
    checks.check(history, compacted, keepalives_count=not options.upstream)
    return history


async def _storm(options: Options, cluster: Cluster, random: Random, say: Callable[[str], None]) -> tuple[History, int]:
    history, stop = History(), Stop()
    clients = list(cluster.clients.values())
    watchers = _watchers(options, history, clients, random)
    workers = [Worker(f"c{each}", clients, history, Random(random.random()), pretend=options.pretend) for each in range(WORKERS)]
    lease_workers = [LeaseWorker(f"l{each}", clients, history, Random(random.random())) for each in range(LEASE_WORKERS)]
    compactor = Compactor(clients, history, Random(random.random()))
    try:
        async with asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(each.run()) for each in watchers]
            working = [tasks.create_task(work(stop)) for work in (*(each.run for each in workers), *(each.run for each in lease_workers), compactor.run)]
            await Nemesis(cluster, random, say).run(options.rounds, options.only)
            await cluster.mend()
            say("mended")
            await stop.within(1.0)
            stop.set()
            await asyncio.wait(working)
            await _calm(history, clients[0], watchers)
            say(f"calm: {len(history.operations)} operations, revision {history.end_revision}")
            for task in watching:
                task.cancel()
    except* Fault as faults:
        raise faults.exceptions[0] from None
    await _audit(history, clients)
    return history, compactor.revision


def _watchers(options: Options, history: History, clients: list[Client], random: Random) -> list[Watcher]:
    """One for everything at each member, and some that go from one to the other."""
    bookmarks = not options.upstream  # upstream's progress is right from 3.4.31 and 3.5.13 on only
    watches = [(Watch(f"all at m{client.member}", ALL, ALL_END, whole=True, bookmarks=bookmarks), [client]) for client in clients]
    watches += [
        (Watch("a list's", PREFIX, PREFIX_END, bookmarks=bookmarks), clients),
        (Watch("a key's", PREFIX + b"1", b"", bookmarks=bookmarks), clients),
        (Watch("deletions'", PREFIX, PREFIX_END, no_puts=True, bookmarks=bookmarks), clients),
        (Watch("leases'", b"lease/", b"lease0", prev_kv=False, bookmarks=bookmarks), clients),
    ]
    history.watches += [watch for watch, _ in watches]
    return [Watcher(watch, at, Random(random.random())) for watch, at in watches]


async def _calm(history: History, client: Client, watchers: list[Watcher]) -> None:
    """Nobody renews a lease any more: each must end.  Then one last write comes to all.  Raises Fault."""
    leased = m.RangeRequest(key=b"lease/", range_end=b"lease0", count_only=True)
    end = time.monotonic() + CALM_S + 2 * LEASE_TTL_S
    while (await _told(client, "Range", leased)).count:
        if time.monotonic() > end:
            raise Fault("keys of leases that nobody renews are still there")
        await asyncio.sleep(POLL_S)
    history.end_revision = await _last_write(history, client)
    try:
        async with asyncio.timeout(CALM_S):
            await asyncio.gather(*(each.reached(history.end_revision) for each in watchers))
    except TimeoutError:
        late = [f"{each.name} at {each.position}" for each in history.watches]
        raise Fault(f"not every watch was told all up to {history.end_revision}: {', '.join(late)}") from None


async def _told(client: Client, method: str, request: Any) -> Any:
    """What a healthy member answers.  Where the machine has no time for a leader there is another, in a calm too: who meets that asks again.
    Raises Fault."""
    end = time.monotonic() + CALM_S
    while True:
        try:
            return await client.call(method, request, timeout_s=CALM_CALL_S)
        except (Refused, Unknown) as error:
            if isinstance(error, Refused) or time.monotonic() > end:
                raise Fault(f"m{client.member} does not answer {method} in a calm: {error}") from error
            await asyncio.sleep(POLL_S)


async def _done(history: History, client: Client, operation: Operation) -> bool:
    """Whether it is known to be done.  Raises Fault where it was refused."""
    history.operations.append(await client.operate(operation, timeout_s=CALM_CALL_S))
    if operation.outcome == Outcome.FAILED:
        raise Fault(f"a calm cluster refuses: {operation}")
    return operation.outcome == Outcome.OK


async def _last_write(history: History, client: Client) -> int:
    """One revision of which every watch sees something: a deletion, and a key among the leases'.  Raises Fault."""
    end = time.monotonic() + CALM_S
    for attempt in count(1):
        put = m.PutRequest(key=PREFIX + b"1", value=b"the end %d" % attempt)
        delete = m.RequestOp(request_delete_range=m.DeleteRangeRequest(key=put.key))
        mark = m.RequestOp(request_put=m.PutRequest(key=b"lease/none", value=b"the end of all %d" % attempt))
        last = Operation("the end", "Txn", m.TxnRequest(success=[delete, mark]), 0.0)
        if await _done(history, client, Operation("the end", "Put", put, 0.0)) and await _done(history, client, last):
            return int(last.answer.header.revision)
        if time.monotonic() > end:
            raise Fault(f"a calm cluster does not write: {last}")
        await asyncio.sleep(POLL_S)
    raise AssertionError("there is always another attempt")


async def _audit(history: History, clients: list[Client]) -> None:
    """All members hold the same.  Raises Fault."""
    found: dict[int, Any] = {}
    for client in clients:
        for linearizable in (True, False):
            end = time.monotonic() + CALM_S
            request = m.RangeRequest(key=ALL, range_end=ALL_END, serializable=not linearizable)
            while not await _done(history, client, read := Operation("audit", "Range", request, 0.0, linearizable=linearizable)):
                if time.monotonic() > end:
                    raise Fault(f"a calm cluster does not answer: {read}")
                await asyncio.sleep(POLL_S)
        found[client.member] = (await _told(client, "HashKV", m.HashKVRequest(revision=history.end_revision))).hash
    if len(set(found.values())) != 1:
        raise Fault(f"the members do not hold the same at revision {history.end_revision}: {found}")
