"""Automatic compaction: forgetting what is older than so many revisions, or than so long.

    revision   every five minutes, all but the last `retention` revisions
    periodic   the revision is noted ten times an hour, or ten times a retention that is shorter; what was the revision one retention ago is compacted to,
               as often as the retention or every hour

All members keep the notes, the leader compacts.  Kubernetes' apiserver compacts by itself; this is for whoever uses etcd for something else.
"""

import asyncio
import logging
from collections import deque

from k8sfromscratch.core.mvcc.errors import Compacted
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.engine import Engine
from k8sfromscratch.storage.interface import Unavailable
from k8sfromscratch.storage.machine import Kind

log = logging.getLogger(__name__)

REVISION_EVERY_S = 300.0
PERIOD_MAX_S = 3600.0
LOOKS_A_PERIOD = 10


async def compactions(engine: Engine, env: Env, mode: str, retention: float) -> None:
    """Until cancelled.  `retention` is above 0: revisions, or seconds."""
    if mode == "revision":
        await _by_revision(engine, int(retention))
    else:
        await _by_time(engine, env, retention)


async def _by_revision(engine: Engine, retention: int) -> None:
    while True:
        await asyncio.sleep(REVISION_EVERY_S)
        await _compact(engine, engine.store.revision - retention)


async def _by_time(engine: Engine, env: Env, retention_s: float) -> None:
    period_s = min(retention_s, PERIOD_MAX_S)
    look_s = period_s / LOOKS_A_PERIOD
    noted: deque[int] = deque(maxlen=int(retention_s / look_s) + 1)
    """Of each look; the first is as old as the retention when it is full."""
    since = env.clock.monotonic()
    while True:
        noted.append(engine.store.revision)
        await asyncio.sleep(look_s)
        if len(noted) == noted.maxlen and env.clock.monotonic() - since >= period_s and await _compact(engine, noted[0]):
            since = env.clock.monotonic()


async def _compact(engine: Engine, revision: int) -> bool:
    """Whether everything below is forgotten now; when the member is too busy, the next look tries again."""
    if revision <= engine.store.compact_revision or not engine.is_leader:
        return True
    try:
        await engine.proposed(Kind.COMPACT, m.CompactionRequest(revision=revision).SerializeToString(), revision)
    except Compacted:
        return True  # somebody was faster
    except Unavailable:
        return False
    log.info("compacted to revision %d", revision)
    return True
