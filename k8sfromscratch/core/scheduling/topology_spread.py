"""PodTopologySpread: keeps the pods that a selector matches even over the domains of a topology key (KEP-895).

skew of a domain = matching pods in it (with this one) - the fewest in any eligible domain
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from k8sfromscratch.core.scheduling.cluster import Cluster, Mask
from k8sfromscratch.core.scheduling.filters import node_affinity, taint_toleration
from k8sfromscratch.core.scheduling.pod import PodInfo, SpreadConstraint
from k8sfromscratch.core.selectors.labels import matches

REASON = "node(s) didn't match pod topology spread constraints"
MISSING_REASON = "node(s) didn't match pod topology spread constraints (missing required label)"


def default_constraints(selector: Mapping[str, Any]) -> tuple[SpreadConstraint, ...]:
    """What a pod of a service or workload gets that says nothing itself: soft, by node and by zone."""
    return tuple(
        SpreadConstraint(key, skew, False, selector, 1, True, False) for key, skew in (("kubernetes.io/hostname", 3), ("topology.kubernetes.io/zone", 5))
    )


def has_labels(pod: PodInfo, cluster: Cluster) -> Mask:
    """Rows that carry the keys of all hard constraints."""
    mask = np.ones(cluster.rows, dtype=np.bool_)
    for constraint in pod.spread:
        if constraint.hard:
            mask &= _inside(cluster, constraint)
    return mask


def within_skew(pod: PodInfo, cluster: Cluster) -> Mask:
    hard = [c for c in pod.spread if c.hard]
    mask = np.ones(cluster.rows, dtype=np.bool_)
    if not hard:
        return mask
    all_keys = has_labels(pod, cluster)
    for constraint in hard:
        column = cluster.column(constraint.topology_key)
        if column is None:
            return np.zeros(cluster.rows, dtype=np.bool_)
        ids = column.ids[: cluster.rows]
        eligible = all_keys & cluster.valid[: cluster.rows] & _policy(pod, cluster, constraint)
        counts = np.bincount(ids[eligible], weights=_matching(pod, cluster, constraint)[eligible], minlength=len(column.values))
        domains = np.unique(ids[eligible])
        fewest = counts[domains].min() if len(domains) >= max(constraint.min_domains, 1) else 0
        itself = constraint.selector is not None and matches(dict(constraint.selector), dict(pod.labels))
        inside = ids >= 0
        mask &= inside & (np.where(inside, counts[ids], 0) + itself - fewest <= constraint.max_skew)
    return mask


def score(pod: PodInfo, cluster: Cluster, feasible: Mask, constraints: Sequence[SpreadConstraint], *, require_all: bool) -> npt.NDArray[np.float64] | None:
    """Lower raw cost is better: the matching pods of the row's domains, weighted by how many domains there are.  NaN where a
    row lacks a key and `require_all` (constraints of the pod's own); system defaults let such rows be."""
    if not constraints:
        return None
    ignored = np.zeros(cluster.rows, dtype=np.bool_)
    if require_all:
        for constraint in constraints:
            ignored |= ~_inside(cluster, constraint)
    cost = np.zeros(cluster.rows, dtype=np.float64)
    for constraint in constraints:
        column = cluster.column(constraint.topology_key)
        if column is None:
            continue
        ids = column.ids[: cluster.rows]
        inside = ids >= 0
        counts = np.bincount(ids[inside], weights=_matching(pod, cluster, constraint)[inside], minlength=len(column.values))
        domains = len(np.unique(ids[feasible & inside & ~ignored]))
        weight = float(np.log(domains + 2))
        cost += np.where(inside, counts[ids] * weight + (constraint.max_skew - 1), 0.0)
    cost = np.round(cost)
    cost[ignored] = np.nan
    return cost


def _inside(cluster: Cluster, constraint: SpreadConstraint) -> Mask:
    column = cluster.column(constraint.topology_key)
    return column.ids[: cluster.rows] >= 0 if column is not None else np.zeros(cluster.rows, dtype=np.bool_)


def _policy(pod: PodInfo, cluster: Cluster, constraint: SpreadConstraint) -> Mask:
    mask = np.ones(cluster.rows, dtype=np.bool_)
    if constraint.honor_affinity:
        mask &= node_affinity(pod, cluster)
    if constraint.honor_taints:
        mask &= taint_toleration(pod, cluster)
    return mask


def _matching(pod: PodInfo, cluster: Cluster, constraint: SpreadConstraint) -> npt.NDArray[np.int64]:
    return cluster.selector_counts(pod.namespace, constraint.selector)
