"""NoExecute taints drive out the pods that do not tolerate them: at once, or when `tolerationSeconds` are over.

The wait counts from the taint's `timeAdded` (or from the pod's creation, if that is later), so it is the same whichever controller
looks, and a restart does not start it again.  A taint without that time counts from when it was noticed.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.api.registry import PODS
from k8sfromscratch.core.reconcile import objects, taints, times
from k8sfromscratch.core.reconcile.plan import NOTHING, Delete, Emit, Object, Patch, Plan, Step


def plan(pod: Object | None, node: Object | None, noticed_at: datetime, now: datetime) -> Plan:
    if pod is None or node is None or objects.deleting(pod):
        return NOTHING
    moments = [moment for taint in taints.no_execute(node) if (moment := _evicted_at(pod, taint, noticed_at)) is not None]
    if not moments:
        return NOTHING
    left_s = times.seconds_until(min(moments), now)
    if left_s > 0:
        return Plan(requeue_after_s=left_s)
    space, name = objects.namespace(pod), objects.name(pod)
    note = Emit(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {space}/{name}")
    reason = disruption_patch(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", now)
    return Plan((note, reason, Delete(PODS, space, name, objects.uid(pod))))


def _evicted_at(pod: Object, taint: Mapping[str, Any], noticed_at: datetime) -> datetime | None:
    """None: the pod may stay for ever."""
    since = max(times.parse_or(taint.get("timeAdded"), noticed_at), times.parse_or(objects.created_at(pod), noticed_at))
    toleration = taints.first_toleration(objects.spec(pod).get("tolerations") or (), taint)
    if toleration is None:
        return since
    seconds = toleration.get("tolerationSeconds")
    return None if seconds is None else since + timedelta(seconds=max(seconds, 0))


def disruption_patch(pod: Object, reason: str, message: str, now: datetime, **status: Any) -> Step:
    """Says on the pod why it is about to be deleted."""
    target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message, "lastTransitionTime": times.text(now)}
    conditions = objects.with_condition(objects.status(pod).get("conditions") or (), target)
    patch = {"metadata": {"uid": objects.uid(pod)}, "status": {**status, "conditions": conditions}}
    return Patch(PODS, objects.namespace(pod), objects.name(pod), patch, subresource="status", ignore=frozenset({"NotFound"}))
