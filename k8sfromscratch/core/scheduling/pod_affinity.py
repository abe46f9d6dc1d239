"""InterPodAffinity: required and preferred affinity between pods, by topology domain.

A domain is the set of nodes with one value of the term's topology key; a node without the key is in none.
"""

import numpy as np
import numpy.typing as npt

from k8sfromscratch.core.scheduling.cluster import Cluster, Ints, Mask
from k8sfromscratch.core.scheduling.pod import PodInfo

AFFINITY_REASON = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY_REASON = "node(s) didn't match pod anti-affinity rules"
EXISTING_REASON = "node(s) didn't satisfy existing pods anti-affinity rules"


def by_domain(cluster: Cluster, topology_key: str, counts: Ints) -> Ints:
    """For each row the sum of `counts` over the rows of its domain; 0 where it is in none."""
    column = cluster.column(topology_key)
    if column is None:
        return np.zeros(cluster.rows, dtype=np.int64)
    ids = column.ids[: cluster.rows]
    inside = ids >= 0
    sums = np.bincount(ids[inside], weights=counts[inside], minlength=len(column.values)).astype(np.int64)
    return np.where(inside, sums[ids], 0)


def required_affinity(pod: PodInfo, cluster: Cluster) -> Mask:
    """Every term finds a matching pod in the node's domain.  The first pod of a group that is to be near itself may go
    to any node that has the keys, when no pod matches anywhere and it matches all terms itself."""
    mask = np.ones(cluster.rows, dtype=np.bool_)
    if not pod.required_affinity:
        return mask
    has_keys = np.ones(cluster.rows, dtype=np.bool_)
    found_any = False
    for term in pod.required_affinity:
        counts = cluster.term_counts(term)
        column = cluster.column(term.topology_key)
        has_keys &= column.ids[: cluster.rows] >= 0 if column is not None else np.zeros(cluster.rows, dtype=np.bool_)
        found = by_domain(cluster, term.topology_key, counts)
        found_any |= bool(found.any())
        mask &= found > 0
    if not found_any and all(cluster.term_matches(term, pod.group) for term in pod.required_affinity):
        return has_keys
    return mask & has_keys


def required_anti_affinity(pod: PodInfo, cluster: Cluster) -> Mask:
    mask = np.ones(cluster.rows, dtype=np.bool_)
    for term in pod.required_anti_affinity:
        mask &= by_domain(cluster, term.topology_key, cluster.term_counts(term)) == 0
    return mask


def existing_anti_affinity(pod: PodInfo, cluster: Cluster) -> Mask:
    """No pod already running refuses this one in the node's domain."""
    mask = np.ones(cluster.rows, dtype=np.bool_)
    for term, rows in cluster.anti_terms.values():
        if cluster.term_matches(term, pod.group):
            counts = np.zeros(cluster.rows, dtype=np.int64)
            counts[list(rows)] = list(rows.values())
            mask &= by_domain(cluster, term.topology_key, counts) == 0
    return mask


def score(pod: PodInfo, cluster: Cluster) -> npt.NDArray[np.float64] | None:
    """The raw sum of weights; None where nothing has a preference."""
    total = np.zeros(cluster.rows, dtype=np.float64)
    touched = False
    for term in pod.preferred_affinity:
        total += term.weight * by_domain(cluster, term.topology_key, cluster.term_counts(term))
        touched = True
    for term, rows in cluster.soft_terms.values():
        if cluster.term_matches(term, pod.group):
            counts = np.zeros(cluster.rows, dtype=np.int64)
            counts[list(rows)] = list(rows.values())
            total += (term.weight or 1) * by_domain(cluster, term.topology_key, counts)
            touched = True
    return total if touched else None
