"""Jobs, and what becomes of those that have finished."""

from datetime import datetime

from k8sfromscratch.api.registry import JOBS, PODS
from k8sfromscratch.components.controller_manager.controller import BY_CONTROLLER, Context, Controller, Trigger, dependent_keys, own_key
from k8sfromscratch.core.reconcile import job, objects, ttl_after_finished
from k8sfromscratch.core.reconcile.plan import Plan


def ttl_after_finished_controller(context: Context) -> Controller:
    jobs = context.informer(JOBS)

    async def plan(key: str, now: datetime) -> Plan:
        return ttl_after_finished.plan(jobs.store.get(key), now)

    return Controller("ttl-after-finished-controller", plan, (Trigger(jobs, own_key),))


def job_controller(context: Context) -> Controller:
    jobs, pods = context.informer(JOBS), context.informer(PODS)

    async def plan(key: str, now: datetime) -> Plan:
        found = jobs.store.get(key)
        return job.plan(found, pods.store.by_index(BY_CONTROLLER, objects.uid(found)) if found is not None else (), now)

    return Controller("job-controller", plan, (Trigger(jobs, own_key), Trigger(pods, dependent_keys(JOBS, jobs))))
