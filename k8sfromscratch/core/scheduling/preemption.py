"""DefaultPreemption: which pods of lower priority must go so that one of higher priority fits.

For each node where eviction can help: take away all pods of lower priority, see whether the pod fits, then give them back from the most
important down as long as it still fits.  What could not be given back are the victims.  Among nodes the one that hurts least wins.
Pod disruption budgets do not count yet; upstream, too, breaks them when nothing else helps.
"""

from dataclasses import dataclass

from k8sfromscratch.core.scheduling.algorithm import Unschedulable, feasible_rows
from k8sfromscratch.core.scheduling.cluster import Cluster
from k8sfromscratch.core.scheduling.pod import PodInfo

CANDIDATES_MAX = 100
"""Nodes tried in one attempt: upstream's floor of candidates; enough to find a cheap one without going over all of a large cluster."""


@dataclass(frozen=True, slots=True)
class Eviction:
    node: str
    victims: tuple[PodInfo, ...]


def preempt(pod: PodInfo, cluster: Cluster, failure: Unschedulable) -> Eviction | None:
    """The cheapest eviction that makes room, or None.  `cluster` is changed while looking and is as before afterwards."""
    if pod.preemption_policy == "Never":
        return None
    found: list[Eviction] = []
    for node in sorted(failure.resolvable)[:CANDIDATES_MAX]:
        eviction = _on_node(pod, cluster, node)
        if eviction is not None:
            found.append(eviction)
    return min(found, key=_cost, default=None)


def _on_node(pod: PodInfo, cluster: Cluster, node: str) -> Eviction | None:
    row = cluster.row_of[node]
    lower = sorted((p for p in cluster.pods_on[row].values() if p.priority < pod.priority), key=lambda p: (-p.priority, p.key))
    if not lower:
        return None
    for other in lower:
        cluster.remove_pod(other.key)
    gone = list(lower)
    try:
        if not feasible_rows(pod, cluster)[row]:
            return None
        for other in lower:
            cluster.add_pod(other, node)
            if feasible_rows(pod, cluster)[row]:
                gone.remove(other)
            else:
                cluster.remove_pod(other.key)
        return Eviction(node, tuple(gone)) if gone else None
    finally:
        for other in gone:
            cluster.add_pod(other, node)


def _cost(eviction: Eviction) -> tuple[int, int, int, str]:
    """Upstream's order: the lowest highest priority, then the lowest sum, then the fewest, then by name."""
    priorities = [p.priority for p in eviction.victims]
    return max(priorities), sum(priorities), len(priorities), eviction.node
