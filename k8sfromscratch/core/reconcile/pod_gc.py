"""Pods that nobody else will ever clean up: finished ones beyond a threshold, those of nodes that are gone, those being deleted
that never got a node, and those stuck on a node that an operator has declared out of service.

All but the first kind are deleted with no grace: there is no kubelet that could confirm.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from k8sfromscratch.api.registry import PODS
from k8sfromscratch.core.reconcile import objects, taints
from k8sfromscratch.core.reconcile.plan import Delete, Object, Plan, Step
from k8sfromscratch.core.reconcile.taint_eviction import disruption_patch

PERIOD_S = 20.0
QUARANTINE_S = 40.0
"""How long a node must have been missing before its pods count as orphans: it may be re-created under the same name."""


def plan(pods: Sequence[Object], nodes: Mapping[str, Object], gone: Collection[str], now: datetime, *, terminated_threshold: int) -> Plan:
    """`gone`: names of nodes that a live read has confirmed missing after the quarantine."""
    steps: list[Step] = []
    taken: set[str] = set()
    for pod in pods:
        reason = _lost_because(pod, nodes, gone)
        if reason is not None:
            taken.add(objects.uid(pod))
            steps += _forced(pod, reason, now)
    if terminated_threshold > 0:
        finished = [pod for pod in pods if objects.status(pod).get("phase") in ("Succeeded", "Failed") and objects.uid(pod) not in taken]
        surplus = objects.by_age(finished)[: max(len(finished) - terminated_threshold, 0)]
        steps += [Delete(PODS, objects.namespace(pod), objects.name(pod), objects.uid(pod)) for pod in surplus]
    return Plan(tuple(steps), requeue_after_s=PERIOD_S)


def _lost_because(pod: Object, nodes: Mapping[str, Object], gone: Collection[str]) -> str | None:
    node_name = objects.spec(pod).get("nodeName")
    if not node_name:
        return "PodGC: pod was being deleted and never scheduled" if objects.deleting(pod) else None
    if node_name in gone:
        return "PodGC: node no longer exists"
    node = nodes.get(node_name)
    if node is not None and objects.deleting(pod) and taints.has_out_of_service(node) and taints.ready_taint(node) is not None:
        return "PodGC: node is out of service"
    return None


def _forced(pod: Object, why: str, now: datetime) -> list[Step]:
    delete = Delete(PODS, objects.namespace(pod), objects.name(pod), objects.uid(pod), grace_period_s=0)
    if objects.status(pod).get("phase") in ("Succeeded", "Failed"):
        return [delete]
    return [disruption_patch(pod, "DeletionByPodGC", why, now, phase="Failed"), delete]
