"""Where a DaemonSet's pods belong, and what makes a pod one of a certain node."""

import copy
from collections.abc import Mapping
from typing import Any

from k8sfromscratch.api.registry import DAEMON_SETS
from k8sfromscratch.core.reconcile import objects, taints
from k8sfromscratch.core.reconcile.history import REVISION_HASH
from k8sfromscratch.core.reconcile.plan import Object
from k8sfromscratch.core.selectors.labels import Requirement

_TOLERATED: tuple[tuple[str, str], ...] = (
    (taints.NOT_READY, "NoExecute"),
    (taints.UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (taints.UNSCHEDULABLE, "NoSchedule"),
)
"""Daemons run on nodes in trouble too: they are often what gets a node out of it."""
_TOLERATED_ON_HOST_NETWORK = (("node.kubernetes.io/network-unavailable", "NoSchedule"),)


def tolerations(daemon_set: Object) -> list[dict[str, Any]]:
    """The template's, and those that every daemon has."""
    spec = objects.spec(daemon_set)["template"].get("spec") or {}
    own = list(spec.get("tolerations") or ())
    every = _TOLERATED + (_TOLERATED_ON_HOST_NETWORK if spec.get("hostNetwork") else ())
    added = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in every]
    return own + [toleration for toleration in added if toleration not in own]


def should_run(daemon_set: Object, node: Object) -> tuple[bool, bool]:
    """(may start there, may go on there): NoSchedule taints keep new pods off, only NoExecute ones end those that run."""
    spec = objects.spec(daemon_set)["template"].get("spec") or {}
    if spec.get("nodeName") and spec["nodeName"] != objects.name(node):
        return False, False
    if not _fits(spec, node):
        return False, False
    tolerated = tolerations(daemon_set)
    hard = [taint for taint in taints.of(node) if taint["effect"] in ("NoSchedule", "NoExecute") and taints.first_toleration(tolerated, taint) is None]
    return not hard, not any(taint["effect"] == "NoExecute" for taint in hard)


def _fits(spec: Mapping[str, Any], node: Object) -> bool:
    labels = objects.labels(node)
    if any(labels.get(label) != value for label, value in (spec.get("nodeSelector") or {}).items()):
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term_matches(term, node) for term in required.get("nodeSelectorTerms") or ())


def _term_matches(term: Mapping[str, Any], node: Object) -> bool:
    """An empty term matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    names = {"metadata.name": objects.name(node)}
    return all(_requirement(e).matches(objects.labels(node)) for e in expressions) and all(_requirement(f).matches(names) for f in fields)


def _requirement(expression: Mapping[str, Any]) -> Requirement:
    return Requirement(expression["key"], expression["operator"], frozenset(expression.get("values") or ()))


def node_of(pod: Object) -> str:
    """The node that a daemon pod is for: where it runs, or where its affinity sends it."""
    spec = objects.spec(pod)
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field["operator"] == "In" and len(field["values"]) == 1:
                return str(field["values"][0])
    return ""


def daemon_pod(daemon_set: Object, node_name: str, digest: str) -> Object:
    """A pod of the template that the scheduler can place on that node only; affinity of the template by node is thereby fulfilled already."""
    pod = objects.pod_from_template(objects.spec(daemon_set)["template"], DAEMON_SETS, daemon_set)
    pod["metadata"]["labels"] = {**pod["metadata"].get("labels", {}), REVISION_HASH: digest}
    field = {"key": "metadata.name", "operator": "In", "values": [node_name]}
    affinity = copy.deepcopy(pod["spec"].get("affinity") or {})
    by_node = affinity.setdefault("nodeAffinity", {})
    by_node["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    pod["spec"] |= {"affinity": affinity, "tolerations": tolerations(daemon_set)}
    return pod
