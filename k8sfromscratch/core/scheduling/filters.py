"""Filters over single nodes: each says for all rows at once whether a pod could run there.

Names and messages are upstream's plugins' (NodeUnschedulable, NodeName, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from k8sfromscratch.core.scheduling.cluster import UNSCHEDULABLE_TAINT, Cluster, Mask
from k8sfromscratch.core.scheduling.pod import PodInfo

HARD_EFFECTS = ("NoSchedule", "NoExecute")


def tolerates(toleration: Mapping[str, Any], taint: tuple[str, str, str]) -> bool:
    """core/v1 Toleration.ToleratesTaint: an empty key with Exists takes any key, an empty effect any effect."""
    key, value, effect = taint
    if toleration.get("effect") and toleration["effect"] != effect:
        return False
    if toleration.get("key") and toleration["key"] != key:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return bool(toleration.get("key")) and operator == "Equal" and (toleration.get("value") or "") == value


def untolerated(pod: PodInfo, cluster: Cluster, effects: Sequence[str]) -> list[tuple[tuple[str, str, str], int]]:
    """Taints of these effects in use anywhere that the pod does not tolerate, with their column."""
    return [(taint, column) for taint, column in cluster.taint_id.items() if taint[2] in effects and not any(tolerates(t, taint) for t in pod.tolerations)]


def unschedulable(pod: PodInfo, cluster: Cluster) -> Mask:
    column = cluster.taint_id.get(UNSCHEDULABLE_TAINT)
    if column is None or any(tolerates(t, UNSCHEDULABLE_TAINT) for t in pod.tolerations):
        return np.ones(cluster.rows, dtype=np.bool_)
    free: Mask = np.logical_not(cluster.taints[: cluster.rows, column])
    return free


def taint_toleration(pod: PodInfo, cluster: Cluster) -> Mask:
    columns = [column for _, column in untolerated(pod, cluster, HARD_EFFECTS)]
    tolerated: Mask = np.logical_not(cluster.taints[: cluster.rows, columns].any(axis=1))
    return tolerated


def taint_reason(pod: PodInfo, cluster: Cluster, row: int) -> str:
    for (key, value, _), column in untolerated(pod, cluster, HARD_EFFECTS):
        if cluster.taints[row, column]:
            return f"node(s) had untolerated taint {{{key}: {value}}}"
    return "node(s) had untolerated taints"


def node_affinity(pod: PodInfo, cluster: Cluster) -> Mask:
    """nodeSelector and required node affinity: all of the selector, and one of the terms."""
    mask = np.ones(cluster.rows, dtype=np.bool_)
    for key, value in pod.node_selector.items():
        mask &= expression(cluster, key, "In", [value])
    if pod.required_node_terms is not None:
        any_term = np.zeros(cluster.rows, dtype=np.bool_)
        for term in pod.required_node_terms:
            any_term |= node_term(cluster, term)
        mask &= any_term
    return mask


def node_term(cluster: Cluster, term: Mapping[str, Any]) -> Mask:
    """One NodeSelectorTerm; an empty one matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return np.zeros(cluster.rows, dtype=np.bool_)
    mask = np.ones(cluster.rows, dtype=np.bool_)
    for e in expressions:
        mask &= expression(cluster, e["key"], e["operator"], e.get("values") or ())
    for e in fields:
        named = np.zeros(cluster.rows, dtype=np.bool_)
        if e["key"] == "metadata.name":
            named[[cluster.row_of[name] for name in e.get("values") or () if name in cluster.row_of]] = True
        mask &= named if e["operator"] == "In" else ~named
    return mask


def expression(cluster: Cluster, key: str, operator: str, values: Sequence[str]) -> Mask:
    """One node selector requirement; unlike a pod's label selector it also knows Gt and Lt, on integers."""
    column = cluster.column(key)
    if column is None:
        return np.full(cluster.rows, operator in ("NotIn", "DoesNotExist"), dtype=np.bool_)
    ids = column.ids[: cluster.rows]
    if operator == "Exists":
        return ids >= 0
    if operator == "DoesNotExist":
        return ids < 0
    if operator in ("Gt", "Lt"):
        return np.isin(ids, [i for i, text in enumerate(column.values) if _ordered(text, operator, values)])
    chosen = np.isin(ids, [column.id_of[value] for value in values if value in column.id_of])
    return chosen if operator == "In" else ~chosen


def _ordered(text: str, operator: str, values: Sequence[str]) -> bool:
    try:
        have, bound = int(text), int(values[0])
    except (ValueError, IndexError):
        return False
    return have > bound if operator == "Gt" else have < bound


def node_name(pod: PodInfo, cluster: Cluster) -> Mask:
    mask = np.zeros(cluster.rows, dtype=np.bool_)
    row = cluster.row_of.get(pod.node_name)
    if row is not None:
        mask[row] = True
    return mask


def node_ports(pod: PodInfo, cluster: Cluster) -> Mask:
    """A host port is taken where another pod has it on the same address, or either has it on all addresses."""
    mask = np.ones(cluster.rows, dtype=np.bool_)
    for address, protocol, port in pod.ports:
        for row, used in cluster.port_users.get((protocol, port), {}).items():
            if address == "0.0.0.0" or "0.0.0.0" in used or address in used:
                mask[row] = False
    return mask


def fits(pod: PodInfo, cluster: Cluster) -> Mask:
    """Every resource the pod asks for is still free; what it does not ask for may be overcommitted."""
    enough: Mask = np.logical_not(_short(pod, cluster).any(axis=1))
    return enough


def fit_reasons(pod: PodInfo, cluster: Cluster, row: int) -> list[str]:
    names = list(cluster.resources)
    return [_shortage(names[column]) for column in np.flatnonzero(_short(pod, cluster)[row])]


def _short(pod: PodInfo, cluster: Cluster) -> Mask:
    wanted = cluster.request_vector(pod.requests)
    free = cluster.allocatable[: cluster.rows] - cluster.requested[: cluster.rows]
    short: Mask = (wanted > free) & (wanted > 0)
    return short


def _shortage(resource: str) -> str:
    return "Too many pods" if resource == "pods" else f"Insufficient {resource}"
