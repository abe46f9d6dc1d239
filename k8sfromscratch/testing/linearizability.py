"""Is there an order of these operations on one register that respects real time and explains every read?

Written values are unique, so each read names its write, and the question has an answer without a search (Gibbons and Korach, "Testing shared
memories", 1997).  A write and its reads are a cluster; in the order asked for, nothing else stands between them.  An operation comes before
another if it returned before that was called; so cluster X must come before cluster Y if any of X's did so to any of Y's:

    the earliest return in X < the latest call in Y

An order exists if no read returned before its write was called, and no two clusters must each come before the other.  (Longer circles need not be
looked for: of two edges that have no end in common, the one that starts at the earlier return reaches the end of the other as well, so that every
longer circle has a shorter one within it.)

An operation lies between its call and its return; one whose outcome is not known never returns: it may have taken effect at any time, or not at all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True, slots=True)
class Operation:
    """A write of `value`, or a read that found it.  `returned` is None where the outcome is not known (of a write: a read without one says nothing)."""

    called: int
    returned: int | None
    write: bool
    value: bytes | None


@dataclass(slots=True)
class _Cluster:
    write_called: float
    write_returned: float
    first_return: float
    last_call: float
    read: bool = False


def is_linearizable(history: Sequence[Operation], initial: bytes | None = None) -> bool:
    """Raises ValueError where two writes write the same."""
    clusters = {initial: _Cluster(-math.inf, -math.inf, -math.inf, -math.inf)}
    for op in history:
        if op.write:
            if op.value in clusters:
                raise ValueError(f"{op.value!r} is written twice")
            end = math.inf if op.returned is None else op.returned
            clusters[op.value] = _Cluster(op.called, end, end, op.called)
    for op in history:
        if op.write or op.returned is None:
            continue
        cluster = clusters.get(op.value)
        if cluster is None or op.returned < cluster.write_called:
            return False
        cluster.first_return, cluster.last_call = min(cluster.first_return, op.returned), max(cluster.last_call, op.called)
        cluster.read = True
    # A write of unknown outcome whose value nobody has read may be taken never to have happened.
    happened = [each for each in clusters.values() if each.read or each.write_returned != math.inf]
    return not any(x.first_return < y.last_call and y.first_return < x.last_call for x, y in combinations(happened, 2))
