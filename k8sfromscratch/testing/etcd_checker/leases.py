"""No lease ends before its time: every key that went with its lease had not been kept alive for a whole time to live.

When a revision was made is known from above only: it was there when somebody had seen it, or a later one.  A lease that was granted or renewed by a
call that began at t, and that was answered well, lives at least until t + ttl; so it was lost early if its key's deletion had been seen by then.
That no lease lives on for long is seen at the end of a run: the keys of those that nobody renews must go.
"""

from collections.abc import Sequence

from k8sfromscratch.testing.etcd_checker.history import LeaseLife
from k8sfromscratch.testing.etcd_checker.operations import Owners, Seen
from k8sfromscratch.testing.etcd_checker.replay import Replay, require


def check(lives: Sequence[LeaseLife], replay: Replay, owners: Owners, seen: Seen) -> set[int]:
    """The revisions that are the end of a lease.  Raises Fault."""
    by_id = {life.id: life for life in lives}
    ended: set[int] = set()
    for revision, events in owners.unclaimed_deletes.items():
        before = [replay.get(event.kv.key, revision - 1) for event in events]
        leases = {kv.lease for kv in before}
        life = by_id.get(before[0].lease) if len(leases) == 1 else None
        if life is None:
            continue
        ended.add(revision)
        held = {key for key in life.keys if (kv := replay.get(key, revision - 1)) is not None and kv.lease == life.id}
        gone = {kv.key for kv in before}
        require(held == gone, f"lease {life.id:x} ended in revision {revision} with {sorted(gone)}; it had {sorted(held)}")
        early_s = max(life.alive_from) + life.ttl - seen.by(revision)
        require(life.revoked or early_s <= 0, f"lease {life.id:x} (ttl {life.ttl} s) ended {early_s:.2f} s early: its keys were gone in revision {revision}")
    return ended
