"""All nodes and the pods on them, as arrays with one row a node.

A node keeps its row until it is removed; a removed row is used again.  Arrays grow by doubling, so `rows` (the rows ever used) bounds every view.

    invariant: requested[r] is the sum of the requests of the pods in pods_on[r], and groups, port_users and term tables count
               exactly those pods, once each.

Labels are columns: for each label key one array of small integers, -1 where the node lacks the key, so that a selector is one comparison.
Pods are counted by group (same namespace and labels), so that a selector is matched once a group and not once a pod.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from k8sfromscratch.core.scheduling.pod import AffinityTerm, Object, PodInfo, amount_of
from k8sfromscratch.core.selectors.labels import matches

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Group = tuple[str, tuple[tuple[str, str], ...]]

_BASE_RESOURCES = ("cpu", "memory", "ephemeral-storage", "pods")
_INITIAL_ROWS = 16
_SELECTOR_CACHE_MAX = 4096
"""Selectors remembered with the groups they match; when it is full it is emptied, since a cluster has far fewer live ones."""

UNSCHEDULABLE_TAINT = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


class LabelColumn:
    """One label key over all nodes.  `ids[row]` is the value's number, -1 for none; `values[id]` the text."""

    def __init__(self, size: int) -> None:
        self.ids: Ints = np.full(size, -1, dtype=np.int64)
        self.values: list[str] = []
        self.id_of: dict[str, int] = {}

    def intern(self, value: str) -> int:
        number = self.id_of.get(value)
        if number is None:
            number = self.id_of[value] = len(self.values)
            self.values.append(value)
        return number


class Cluster:
    def __init__(self) -> None:
        self.rows = 0
        self.row_of: dict[str, int] = {}
        self.names: list[str] = []
        self.valid: Mask = np.zeros(_INITIAL_ROWS, dtype=np.bool_)
        self.resources: dict[str, int] = {name: i for i, name in enumerate(_BASE_RESOURCES)}
        self.allocatable: Ints = np.zeros((_INITIAL_ROWS, len(self.resources)), dtype=np.int64)
        self.requested: Ints = np.zeros((_INITIAL_ROWS, len(self.resources)), dtype=np.int64)
        self.nonzero: Ints = np.zeros((_INITIAL_ROWS, 2), dtype=np.int64)
        self.taint_id: dict[tuple[str, str, str], int] = {}
        self.taints: Mask = np.zeros((_INITIAL_ROWS, 4), dtype=np.bool_)
        self.labels: dict[str, LabelColumn] = {}
        self.pods_on: list[dict[str, PodInfo]] = []
        self.pod_row: dict[str, int] = {}
        self.groups: dict[Group, dict[int, int]] = {}
        self.anti_terms: dict[str, tuple[AffinityTerm, dict[int, int]]] = {}
        """Required anti-affinity terms of running pods: identity -> (term, row -> pods)."""
        self.soft_terms: dict[tuple[str, int], tuple[AffinityTerm, dict[int, int]]] = {}
        """Preferred terms of running pods with their weight; required affinity counts with weight 1."""
        self.port_users: dict[tuple[str, int], dict[int, list[str]]] = defaultdict(dict)
        """(protocol, host port) -> row -> host IPs in use there."""
        self.images: dict[str, dict[int, int]] = {}
        """Image name -> row -> size in bytes."""
        self.namespace_labels: dict[str, Mapping[str, str]] = {}
        self._group_cache: dict[str, dict[Group, bool]] = {}
        self._free: list[int] = []

    # Nodes

    def set_node(self, obj: Object) -> None:
        """Adds a node or takes over what changed in it."""
        name = obj["metadata"]["name"]
        row = self.row_of.get(name)
        if row is None:
            row = self._new_row(name)
        status, spec = obj.get("status") or {}, obj.get("spec") or {}
        wanted = {r: amount_of(r, q) for r, q in (status.get("allocatable") or status.get("capacity") or {}).items()}
        for resource in wanted:
            self._column(resource)
        self.allocatable[row] = [wanted.get(resource, 0) for resource in self.resources]
        self._set_labels(row, obj["metadata"].get("labels") or {})
        self._set_taints(row, spec)
        self._set_images(row, status)

    def remove_node(self, name: str) -> None:
        """Forgets the node and the pods on it (their deletion comes as events of their own)."""
        row = self.row_of.pop(name, None)
        if row is None:
            return
        for key in list(self.pods_on[row]):
            self.remove_pod(key)
        self.valid[row] = False
        self.allocatable[row] = 0
        self.taints[row] = False
        for column in self.labels.values():
            column.ids[row] = -1
        self._set_images(row, {})
        self.names[row] = ""
        self._free.append(row)

    # Pods

    def add_pod(self, pod: PodInfo, node: str) -> bool:
        """Counts a pod on a node; False where the node is not known.  A pod already counted is moved."""
        self.remove_pod(pod.key)
        row = self.row_of.get(node)
        if row is None:
            return False
        self.pods_on[row][pod.key] = pod
        self.pod_row[pod.key] = row
        self._count(pod, row, 1)
        return True

    def remove_pod(self, key: str) -> None:
        row = self.pod_row.pop(key, None)
        if row is not None:
            self._count(self.pods_on[row].pop(key), row, -1)

    # What filters and scores ask

    def column(self, key: str) -> LabelColumn | None:
        return self.labels.get(key)

    def request_vector(self, requests: Mapping[str, int]) -> Ints:
        """The requests in the order of the resource columns; resources nobody offers get a column of zeros."""
        for resource in requests:
            self._column(resource)
        return np.array([requests.get(resource, 0) for resource in self.resources], dtype=np.int64)

    def selected_groups(self, identity: str, select: Callable[[Group], bool]) -> list[Group]:
        """The groups of running pods that `select` takes, remembered under `identity`."""
        known = self._group_cache.get(identity)
        if known is None:
            if len(self._group_cache) >= _SELECTOR_CACHE_MAX:
                self._group_cache.clear()
            known = self._group_cache[identity] = {}
        found = []
        for group in self.groups:
            verdict = known.get(group)
            if verdict is None:
                verdict = known[group] = select(group)
            if verdict:
                found.append(group)
        return found

    def term_counts(self, term: AffinityTerm) -> Ints:
        """For each row the number of pods that `term` selects."""
        return self._counts(self.selected_groups(term.identity, lambda group: self.term_matches(term, group)))

    def selector_counts(self, namespace: str, selector: Mapping[str, Any] | None) -> Ints:
        """For each row the number of pods of `namespace` that a label selector matches."""
        if selector is None:
            return np.zeros(self.rows, dtype=np.int64)
        groups = self.selected_groups(repr((namespace, selector)), lambda group: group[0] == namespace and matches(dict(selector), dict(group[1])))
        return self._counts(groups)

    def term_matches(self, term: AffinityTerm, group: Group) -> bool:
        namespace, labels = group
        if term.selector is None:
            return False
        in_scope = namespace in term.namespaces
        if not in_scope and term.namespace_selector is not None:
            in_scope = matches(dict(term.namespace_selector), dict(self.namespace_labels.get(namespace, {})))
        return in_scope and matches(dict(term.selector), dict(labels))

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        if labels is None:
            self.namespace_labels.pop(name, None)
        else:
            self.namespace_labels[name] = labels
        self._group_cache.clear()

    # Within

    def _counts(self, groups: list[Group]) -> Ints:
        counts = np.zeros(self.rows, dtype=np.int64)
        for group in groups:
            users = self.groups[group]
            counts[list(users)] += list(users.values())
        return counts

    def _count(self, pod: PodInfo, row: int, sign: int) -> None:
        self.requested[row] += sign * self.request_vector(pod.requests)
        self.nonzero[row] += (sign * pod.nonzero_cpu_m, sign * pod.nonzero_memory)
        _tally(self.groups.setdefault(pod.group, {}), row, sign)
        if not self.groups[pod.group]:
            del self.groups[pod.group]
            for known in self._group_cache.values():
                known.pop(pod.group, None)
        for term in pod.required_anti_affinity:
            _tally(self.anti_terms.setdefault(term.identity, (term, {}))[1], row, sign)
            if not self.anti_terms[term.identity][1]:
                del self.anti_terms[term.identity]
        for term in (*pod.required_affinity, *pod.preferred_affinity):
            key = (term.identity, term.weight)
            _tally(self.soft_terms.setdefault(key, (term, {}))[1], row, sign)
            if not self.soft_terms[key][1]:
                del self.soft_terms[key]
        for address, protocol, port in pod.ports:
            used = self.port_users[(protocol, port)].setdefault(row, [])
            if sign > 0:
                used.append(address)
            else:
                used.remove(address)
                if not used:
                    del self.port_users[(protocol, port)][row]

    def _new_row(self, name: str) -> int:
        if self._free:
            row = self._free.pop()
            self.names[row] = name
        else:
            row = self.rows
            self.rows += 1
            self.names.append(name)
            self.pods_on.append({})
            if row >= len(self.valid):
                self._grow()
        self.row_of[name] = row
        self.valid[row] = True
        return row

    def _grow(self) -> None:
        def doubled(array: npt.NDArray[Any], fill: int = 0) -> npt.NDArray[Any]:
            larger = np.full((2 * array.shape[0], *array.shape[1:]), fill, dtype=array.dtype)
            larger[: array.shape[0]] = array
            return larger

        self.valid, self.taints = doubled(self.valid), doubled(self.taints)
        self.allocatable, self.requested, self.nonzero = doubled(self.allocatable), doubled(self.requested), doubled(self.nonzero)
        for column in self.labels.values():
            column.ids = doubled(column.ids, -1)

    def _column(self, resource: str) -> int:
        index = self.resources.get(resource)
        if index is None:
            index = self.resources[resource] = len(self.resources)
            empty = np.zeros((len(self.valid), 1), dtype=np.int64)
            self.allocatable = np.hstack([self.allocatable, empty])
            self.requested = np.hstack([self.requested, empty])
        return index

    def _set_labels(self, row: int, labels: Mapping[str, str]) -> None:
        for key, column in self.labels.items():
            if key not in labels:
                column.ids[row] = -1
        for key, value in labels.items():
            column = self.labels.get(key) or self.labels.setdefault(key, LabelColumn(len(self.valid)))
            column.ids[row] = column.intern(value)

    def _set_taints(self, row: int, spec: Mapping[str, Any]) -> None:
        wanted = {(t["key"], t.get("value") or "", t["effect"]) for t in spec.get("taints") or ()}
        if spec.get("unschedulable"):
            wanted.add(UNSCHEDULABLE_TAINT)
        for taint in wanted:
            if taint not in self.taint_id:
                self.taint_id[taint] = len(self.taint_id)
        if len(self.taint_id) > self.taints.shape[1]:
            self.taints = np.hstack([self.taints, np.zeros((len(self.valid), len(self.taint_id)), dtype=np.bool_)])
        self.taints[row] = False
        for taint in wanted:
            self.taints[row, self.taint_id[taint]] = True

    def _set_images(self, row: int, status: Mapping[str, Any]) -> None:
        for name in [name for name, nodes in self.images.items() if row in nodes]:
            del self.images[name][row]
            if not self.images[name]:
                del self.images[name]
        for image in status.get("images") or ():
            for name in image.get("names") or ():
                self.images.setdefault(name, {})[row] = int(image.get("sizeBytes") or 0)


def _tally(counts: dict[int, int], row: int, sign: int) -> None:
    counts[row] = counts.get(row, 0) + sign
    if not counts[row]:
        del counts[row]
