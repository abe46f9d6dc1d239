"""Every five minutes the store forgets what is older than five minutes: history is for resuming watches and paging lists only.

Several apiservers agree through one key, written on the condition that nobody else has written it since: one compacts, the others
learn its revision.  Source: storage/etcd3/compact.go.
"""

import asyncio
import logging

from k8sfromscratch.core.mvcc.types import Compare, PutOp, RangeOp, RangeResult
from k8sfromscratch.storage.interface import Compacted, Storage, StorageError

log = logging.getLogger(__name__)

INTERVAL_S = 300.0
_KEY = b"compact_rev_key"


async def run(storage: Storage, interval_s: float = INTERVAL_S) -> None:
    """Until cancelled."""
    version, revision = 0, 0
    while True:
        await asyncio.sleep(interval_s)
        try:
            version, revision = await _round(storage, version, revision)
        except Compacted:
            continue  # someone else was there first
        except StorageError as error:
            log.warning("cannot compact the store: %s", error)


async def _round(storage: Storage, version: int, revision: int) -> tuple[int, int]:
    """`version` of the key as last seen, and the store's revision then; the same for the next round."""
    result = await storage.txn([Compare(_KEY, "VERSION", "EQUAL", version)], [PutOp(_KEY, str(revision).encode())], [RangeOp(_KEY)])
    if not result.succeeded:
        present = result.responses[0]
        assert isinstance(present, RangeResult)
        return (present.kvs[0].version if present.kvs else 0), result.revision
    if revision:
        await storage.compact(revision)
    return version + 1, result.revision
