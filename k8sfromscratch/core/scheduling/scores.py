"""Scores: each ranks all feasible nodes from 0 to 100, as upstream's plugin of that name does, and the weighted sum decides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from k8sfromscratch.core.scheduling import pod_affinity, topology_spread
from k8sfromscratch.core.scheduling.cluster import Cluster, Mask
from k8sfromscratch.core.scheduling.filters import node_term, untolerated
from k8sfromscratch.core.scheduling.pod import PodInfo, SpreadConstraint

Scores = npt.NDArray[np.float64]

MAX_SCORE = 100
_IMAGE_MIN_BYTES = 23 * 1024 * 1024
_IMAGE_MAX_BYTES = 1000 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Weights:
    """Upstream's default profile."""

    taint_toleration: int = 3
    node_affinity: int = 2
    topology_spread: int = 2
    pod_affinity: int = 2
    least_allocated: int = 1
    balanced_allocation: int = 1
    image_locality: int = 1


def total(pod: PodInfo, cluster: Cluster, feasible: Mask, soft_spread: Sequence[SpreadConstraint], weights: Weights) -> Scores:
    """The weighted sum over all rows; only the feasible ones mean anything."""
    score = weights.least_allocated * least_allocated(pod, cluster)
    score += weights.balanced_allocation * balanced_allocation(pod, cluster)
    score += weights.taint_toleration * taint_toleration(pod, cluster, feasible)
    score += weights.image_locality * image_locality(pod, cluster)
    if pod.preferred_node_terms:
        score += weights.node_affinity * node_affinity(pod, cluster, feasible)
    affinity = pod_affinity.score(pod, cluster)
    if affinity is not None:
        score += weights.pod_affinity * _stretched(affinity, feasible)
    own = [c for c in pod.spread if not c.hard]
    cost = topology_spread.score(pod, cluster, feasible, own or soft_spread, require_all=bool(own))
    if cost is not None:
        score += weights.topology_spread * _spread_score(cost, feasible)
    return score


def least_allocated(pod: PodInfo, cluster: Cluster) -> Scores:
    """NodeResourcesFit with the LeastAllocated strategy: the mean of what stays free of cpu and memory."""
    capacity = cluster.allocatable[: cluster.rows, :2]
    wanted = cluster.nonzero[: cluster.rows] + (pod.nonzero_cpu_m, pod.nonzero_memory)
    with np.errstate(divide="ignore", invalid="ignore"):
        free = np.where((capacity > 0) & (wanted <= capacity), (capacity - wanted) * MAX_SCORE // np.maximum(capacity, 1), 0)
    counted = np.maximum((capacity > 0).sum(axis=1), 1)
    mean: Scores = (free.sum(axis=1) // counted).astype(np.float64)
    return mean


def balanced_allocation(pod: PodInfo, cluster: Cluster) -> Scores:
    """NodeResourcesBalancedAllocation: the nearer the used shares of cpu and memory to each other, the better."""
    capacity = cluster.allocatable[: cluster.rows, :2]
    wanted = cluster.requested[: cluster.rows, :2] + (pod.requests.get("cpu", 0), pod.requests.get("memory", 0))
    share = np.minimum(wanted / np.maximum(capacity, 1), 1.0)
    balanced: Scores = np.floor((1 - np.abs(share[:, 0] - share[:, 1]) / 2) * MAX_SCORE)
    return balanced


def taint_toleration(pod: PodInfo, cluster: Cluster, feasible: Mask) -> Scores:
    columns = [column for _, column in untolerated(pod, cluster, ("PreferNoSchedule",))]
    return _normalized(cluster.taints[: cluster.rows, columns].sum(axis=1).astype(np.float64), feasible, reverse=True)


def node_affinity(pod: PodInfo, cluster: Cluster, feasible: Mask) -> Scores:
    raw = np.zeros(cluster.rows, dtype=np.float64)
    for preferred in pod.preferred_node_terms:
        raw += int(preferred.get("weight") or 0) * node_term(cluster, preferred.get("preference") or {})
    return _normalized(raw, feasible)


def image_locality(pod: PodInfo, cluster: Cluster) -> Scores:
    """The bytes of the pod's images already there, each weighted by the share of nodes that have it, so that one
    node with all images does not draw everything."""
    size = np.zeros(cluster.rows, dtype=np.float64)
    nodes = max(len(cluster.row_of), 1)
    for image in pod.images:
        holders = cluster.images.get(_with_tag(image), {})
        for row, size_bytes in holders.items():
            size[row] += size_bytes * len(holders) // nodes
    most = _IMAGE_MAX_BYTES * max(len(pod.images), 1)
    scaled: Scores = np.floor(MAX_SCORE * (np.clip(size, _IMAGE_MIN_BYTES, most) - _IMAGE_MIN_BYTES) / (most - _IMAGE_MIN_BYTES))
    return scaled


def _with_tag(image: str) -> str:
    return image if ":" in image.rsplit("/", 1)[-1] or "@" in image else f"{image}:latest"


def _normalized(raw: Scores, feasible: Mask, *, reverse: bool = False) -> Scores:
    """Scaled so that the highest feasible one is 100; `reverse` where a low one is good."""
    highest = raw[feasible].max(initial=0)
    if highest == 0:
        return np.full(len(raw), MAX_SCORE if reverse else 0, dtype=np.float64)
    scaled = np.floor(MAX_SCORE * raw / highest)
    return MAX_SCORE - scaled if reverse else scaled


def _stretched(raw: Scores, feasible: Mask) -> Scores:
    """Scaled so that the feasible ones reach from 0 to 100."""
    chosen = raw[feasible]
    low, high = chosen.min(initial=np.inf), chosen.max(initial=-np.inf)
    if not high > low:
        return np.zeros(len(raw), dtype=np.float64)
    return np.floor(MAX_SCORE * (raw - low) / (high - low))


def _spread_score(cost: Scores, feasible: Mask) -> Scores:
    """Upstream's 100 * (max + min - cost) / max; rows that lack a topology key get 0."""
    known = cost[feasible & ~np.isnan(cost)]
    if not len(known):
        return np.zeros(len(cost), dtype=np.float64)
    low, high = known.min(), known.max()
    if high == 0:
        return np.where(np.isnan(cost), 0.0, float(MAX_SCORE))
    return np.floor(np.nan_to_num(MAX_SCORE * (high + low - cost) / high))
