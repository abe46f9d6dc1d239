"""Jobs with `ttlSecondsAfterFinished` are deleted, pods and all, that long after they have finished."""

from datetime import datetime, timedelta

from k8sfromscratch.api.registry import JOBS
from k8sfromscratch.core.reconcile import objects, times
from k8sfromscratch.core.reconcile.plan import NOTHING, Delete, Object, Plan


def finished_at(job: Object) -> datetime | None:
    for kind in ("Complete", "Failed"):
        condition = objects.condition(job, kind)
        if condition is not None and condition["status"] == "True" and condition.get("lastTransitionTime"):
            return times.parse(condition["lastTransitionTime"])
    return None


def plan(job: Object | None, now: datetime) -> Plan:
    if job is None or objects.deleting(job):
        return NOTHING
    ttl_s, finished = objects.spec(job).get("ttlSecondsAfterFinished"), finished_at(job)
    if ttl_s is None or finished is None:
        return NOTHING
    left_s = times.seconds_until(finished + timedelta(seconds=ttl_s), now)
    if left_s > 0:
        return Plan(requeue_after_s=left_s)
    version = job["metadata"].get("resourceVersion")
    return Plan((Delete(JOBS, objects.namespace(job), objects.name(job), objects.uid(job), version, propagation_policy="Foreground"),))
