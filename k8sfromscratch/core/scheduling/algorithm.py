"""One scheduling decision: filter all nodes, score the feasible ones, pick the best.

pod, cluster ──► FILTERS in upstream's order ──► feasible rows ──► scores ──► the best (a tie is broken by `tie`)
                      │
                      └─► Unschedulable: for every node the first plugin that refused it, and its reason
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from k8sfromscratch.core.scheduling import filters, pod_affinity, scores, topology_spread
from k8sfromscratch.core.scheduling.cluster import Cluster, Mask
from k8sfromscratch.core.scheduling.pod import PodInfo, SpreadConstraint

Reasons = Callable[[PodInfo, Cluster, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Filter:
    """`resolvable`: evicting pods could help (upstream's Unschedulable as against UnschedulableAndUnresolvable)."""

    plugin: str
    mask: Callable[[PodInfo, Cluster], Mask]
    reasons: Reasons
    resolvable: bool = False
    applies: Callable[[PodInfo], bool] = lambda pod: True


def _fixed(text: str) -> Reasons:
    return lambda pod, cluster, row: (text,)


FILTERS: tuple[Filter, ...] = (
    Filter("NodeUnschedulable", filters.unschedulable, _fixed("node(s) were unschedulable")),
    Filter("NodeName", filters.node_name, _fixed("node(s) didn't match the requested node name"), applies=lambda pod: bool(pod.node_name)),
    Filter("TaintToleration", filters.taint_toleration, lambda pod, cluster, row: (filters.taint_reason(pod, cluster, row),)),
    Filter("NodeAffinity", filters.node_affinity, _fixed("node(s) didn't match Pod's node affinity/selector")),
    Filter("NodePorts", filters.node_ports, _fixed("node(s) didn't have free ports for the requested pod ports"), True, lambda pod: bool(pod.ports)),
    Filter("NodeResourcesFit", filters.fits, filters.fit_reasons, True),
    Filter("PodTopologySpread", topology_spread.has_labels, _fixed(topology_spread.MISSING_REASON), applies=lambda pod: bool(pod.spread)),
    Filter("PodTopologySpread", topology_spread.within_skew, _fixed(topology_spread.REASON), True, lambda pod: bool(pod.spread)),
    Filter("InterPodAffinity", pod_affinity.required_affinity, _fixed(pod_affinity.AFFINITY_REASON), applies=lambda pod: bool(pod.required_affinity)),
    Filter(
        "InterPodAffinity", pod_affinity.required_anti_affinity, _fixed(pod_affinity.ANTI_AFFINITY_REASON), True, lambda pod: bool(pod.required_anti_affinity)
    ),
    Filter("InterPodAffinity", pod_affinity.existing_anti_affinity, _fixed(pod_affinity.EXISTING_REASON), True),
)


@dataclass(frozen=True, slots=True)
class Placed:
    node: str
    feasible: int
    """How many nodes would have done."""


@dataclass(frozen=True, slots=True)
class Unschedulable:
    reasons: Mapping[str, Sequence[str]]
    """Node name -> why not."""
    plugins: frozenset[str]
    """The plugins that refused; an event that none of them cares about need not wake the pod."""
    resolvable: frozenset[str]
    """Nodes where evicting pods could make room."""

    def message(self) -> str:
        """As `kubectl describe` shows it: `0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.`"""
        if not self.reasons:
            return "no nodes available to schedule pods"
        counts = Counter(text for texts in self.reasons.values() for text in texts)
        listed = sorted(f"{count} {text}" for text, count in counts.items())
        return f"0/{len(self.reasons)} nodes are available: {', '.join(listed)}."


def feasible_rows(pod: PodInfo, cluster: Cluster) -> Mask:
    mask = cluster.valid[: cluster.rows].copy()
    for check in FILTERS:
        if check.applies(pod) and mask.any():
            mask &= check.mask(pod, cluster)
    return mask


def schedule(
    pod: PodInfo,
    cluster: Cluster,
    *,
    tie: Callable[[int], int],
    soft_spread: Sequence[SpreadConstraint] = (),
    weights: scores.Weights = scores.Weights(),
) -> Placed | Unschedulable:
    """`tie(n)` picks one of n equal nodes, 0 <= pick < n.  `soft_spread` are the system's default constraints for this pod."""
    feasible = feasible_rows(pod, cluster)
    rows = np.flatnonzero(feasible)
    if not len(rows):
        return diagnose(pod, cluster)
    if len(rows) == 1:
        return Placed(cluster.names[rows[0]], 1)
    ranked = scores.total(pod, cluster, feasible, soft_spread, weights)[rows]
    best = rows[np.flatnonzero(ranked == ranked.max())]
    return Placed(cluster.names[best[tie(len(best)) if len(best) > 1 else 0]], len(rows))


def diagnose(pod: PodInfo, cluster: Cluster) -> Unschedulable:
    """Why each node was refused, by the first filter that did, as upstream reports it."""
    left = cluster.valid[: cluster.rows].copy()
    reasons: dict[str, Sequence[str]] = {}
    plugins: set[str] = set()
    resolvable: set[str] = set()
    for check in FILTERS:
        if not check.applies(pod):
            continue
        passed = check.mask(pod, cluster)
        for row in np.flatnonzero(left & ~passed):
            name = cluster.names[row]
            reasons[name] = tuple(check.reasons(pod, cluster, int(row)))
            plugins.add(check.plugin)
            if check.resolvable:
                resolvable.add(name)
        left &= passed
    return Unschedulable(reasons, frozenset(plugins), frozenset(resolvable))
