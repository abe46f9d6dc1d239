"""A history as a whole: the watches' one story of the store, and whether everything else agrees with it."""

from k8sfromscratch.testing.etcd_checker import leases, operations, watches
from k8sfromscratch.testing.etcd_checker.history import Batch, History
from k8sfromscratch.testing.etcd_checker.replay import Replay


def check(history: History, compacted: int = 0, *, keepalives_count: bool = True) -> None:
    """`compacted`: the greatest revision that was asked to be compacted.  `keepalives_count`: whether a renewal that was answered binds the cluster;
    upstream's before 3.4.25 and 3.5.8 lets a leader that was replaced answer one.  Raises Fault."""
    replay = Replay(watches.merged(history.watches))
    owners = operations.explain(history.operations, replay)
    reached = operations.real_time(history.operations, owners)
    seen = operations.Seen([*reached, *((each.at, each.events[-1].kv.mod_revision) for w in history.watches for each in w.log if isinstance(each, Batch))])
    if not keepalives_count:
        for life in history.leases:
            del life.alive_from[1:]
    ended = leases.check(history.leases, replay, owners, seen)
    operations.unanswered_deletes(history.operations, owners, seen, ended)
    for watch in history.watches:
        watches.check(watch, replay, history.end_revision, compacted)
