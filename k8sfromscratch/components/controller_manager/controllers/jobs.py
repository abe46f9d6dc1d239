"""Jobs, the CronJobs that start them, and what becomes of those that have finished."""

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from k8sfromscratch.api.registry import CRON_JOBS, JOBS, PODS
from k8sfromscratch.components.controller_manager.controller import BY_CONTROLLER, BY_JOB, Context, Controller, Trigger, dependent_keys, own_key
from k8sfromscratch.core.reconcile import cronjob, job, job_pods, objects, ttl_after_finished
from k8sfromscratch.core.reconcile.plan import Object, Plan


def ttl_after_finished_controller(context: Context) -> Controller:
    jobs = context.informer(JOBS)

    async def plan(key: str, now: datetime) -> Plan:
        return ttl_after_finished.plan(jobs.store.get(key), now)

    return Controller("ttl-after-finished-controller", plan, (Trigger(jobs, own_key),))


def job_controller(context: Context) -> Controller:
    jobs, pods = context.informer(JOBS), context.informer(PODS)

    def stray_keys(old: Object | None, new: Object | None) -> Iterable[str]:
        name = job_pods.job_name(new) if new is not None else None
        return (f"{objects.namespace(new)}/{name}",) if new is not None and name else ()

    async def plan(key: str, now: datetime) -> Plan:
        found = jobs.store.get(key)
        uid = objects.uid(found) if found is not None else ""
        strays = [pod for pod in pods.store.by_index(BY_JOB, key) if found is None or not objects.controlled_by(pod, found)]
        return job.plan(found, pods.store.by_index(BY_CONTROLLER, uid) if uid else (), strays, now)

    triggers = (Trigger(jobs, own_key), Trigger(pods, dependent_keys(JOBS, jobs)), Trigger(pods, stray_keys))
    return Controller("job-controller", plan, triggers)


def cronjob_controller(context: Context) -> Controller:
    cron_jobs, jobs = context.informer(CRON_JOBS), context.informer(JOBS)

    async def plan(key: str, now: datetime) -> Plan:
        found = cron_jobs.store.get(key)
        if found is None:
            return Plan()
        return cronjob.plan(found, jobs.store.by_index(BY_CONTROLLER, objects.uid(found)), _zone(objects.spec(found).get("timeZone")), now)

    return Controller("cronjob-controller", plan, (Trigger(cron_jobs, own_key), Trigger(jobs, dependent_keys(CRON_JOBS, cron_jobs))))


def _zone(name: str | None) -> tzinfo | None:
    """Without a name UTC, not this machine's zone: which machine leads must not matter."""
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None
