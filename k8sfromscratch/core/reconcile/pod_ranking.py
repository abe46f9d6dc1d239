"""Which pods a scale-down deletes first.

The one whose loss costs least: a pod without a node before one that has a node, pending before running, not ready before ready, then the
lower deletion cost, then the one with more siblings on its node, then the one ready for a shorter time, with more restarts, younger.
Ages are compared by their order of magnitude, so that a scale-down does not always hit the pods of the last rollout; the uid, which
is random, settles what is then equal.  Source: upstream's ActivePodsWithRanks (KEP-2185, KEP-2255).
"""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from k8sfromscratch.core.reconcile import objects, times
from k8sfromscratch.core.reconcile.plan import Object

POD_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_ORDER = {"Pending": 0, "Unknown": 1, "Running": 2}


def pods_to_delete(pods: Sequence[Object], related: Sequence[Object], count: int, now: datetime) -> list[Object]:
    """The `count` of `pods` to lose.  `related` are the active pods of the same workload, the siblings that share nodes with them."""
    if count >= len(pods):
        return list(pods)
    siblings = Counter(objects.spec(pod).get("nodeName", "") for pod in related)
    return sorted(pods, key=lambda pod: _rank(pod, siblings, now))[:count]


def deletion_cost(pod: Object) -> int:
    """The annotation's value; 0 where it is absent or no integer."""
    text = objects.annotations(pod).get(POD_DELETION_COST, "0")
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() else 0


def _rank(pod: Object, siblings: Counter[str], now: datetime) -> tuple[Any, ...]:
    node = objects.spec(pod).get("nodeName", "")
    ready = objects.condition(pod, "Ready")
    is_ready = ready is not None and ready["status"] == "True"
    restarts = max((s.get("restartCount", 0) for s in objects.status(pod).get("containerStatuses") or ()), default=0)
    return (
        bool(node),
        _PHASE_ORDER.get(objects.status(pod).get("phase", "Pending"), 2),
        is_ready,
        deletion_cost(pod),
        -siblings[node],
        _magnitude(ready.get("lastTransitionTime") if is_ready and ready else None, now),
        -restarts,
        _magnitude(objects.created_at(pod), now),
        objects.uid(pod),
    )


def _magnitude(since: str | None, now: datetime) -> float:
    """The age's power of two.  An unknown age counts as none at all."""
    age_s = -times.seconds_until(times.parse(since), now) if since else 0.0
    return math.floor(math.log2(age_s)) if age_s >= 1 else -1.0
