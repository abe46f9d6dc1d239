"""Jobs that have finished."""

from datetime import datetime

from k8sfromscratch.api.registry import JOBS
from k8sfromscratch.components.controller_manager.controller import Context, Controller, Trigger, own_key
from k8sfromscratch.core.reconcile import ttl_after_finished
from k8sfromscratch.core.reconcile.plan import Plan


def ttl_after_finished_controller(context: Context) -> Controller:
    jobs = context.informer(JOBS)

    async def plan(key: str, now: datetime) -> Plan:
        return ttl_after_finished.plan(jobs.store.get(key), now)

    return Controller("ttl-after-finished-controller", plan, (Trigger(jobs, own_key),))
