"""CronJob: a Job at every scheduled minute, with rules for what to do when the last one still runs or a minute was missed.

Only the latest missed minute counts, and only within `startingDeadlineSeconds`.  The Job's name is made from the scheduled minute, so that
however often a minute is tried, it gives one Job.
"""

import copy
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

from k8sfromscratch.api.registry import CRON_JOBS, JOBS
from k8sfromscratch.core.reconcile import cron, objects, times
from k8sfromscratch.core.reconcile.plan import ERROR_TEXT, NOTHING, Create, Delete, Emit, Object, Plan, Step, Update

SCHEDULED_TIMESTAMP = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MISSED_MAX = 100
"""With more missed minutes than this the clock or the controller was off for long: worth a warning."""


def plan(cron_job: Object | None, jobs: Sequence[Object], zone: tzinfo | None, now: datetime) -> Plan:
    """`jobs`: those it controls; `zone`: what `spec.timeZone` names, None where there is no such zone."""
    if cron_job is None or objects.deleting(cron_job):
        return NOTHING
    spec = objects.spec(cron_job)
    ended = [job for job in jobs if _ended_as(job)]
    running = [job for job in jobs if not _ended_as(job)]
    steps: list[Step] = [*_seen(cron_job, ended), *_outlived(cron_job, ended)]
    due: datetime | None = None
    next_in_s: float | None = None
    trouble = "" if zone is not None else f"unknown time zone {spec.get('timeZone')!r}"
    if zone is not None and not spec.get("suspend"):
        try:
            schedule = cron.parse(spec["schedule"])
        except cron.InvalidSchedule as error:
            trouble = f"unparseable schedule: {error}"
        else:
            due, warning = _due(cron_job, schedule, zone, now)
            steps += warning
            upcoming = schedule.next_after(now, zone)
            next_in_s = times.seconds_until(upcoming, now) if upcoming is not None else None
    if trouble:
        steps.append(Emit(cron_job, "Warning", "UnknownTimeZone" if zone is None else "UnparseableSchedule", trouble))
    started: datetime | None = None
    if due is not None:
        name = job_name(cron_job, due)
        if any(objects.name(job) == name for job in jobs):
            started = due
        elif running and spec.get("concurrencyPolicy") == "Forbid":
            steps.append(Emit(cron_job, "Normal", "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid"))
        else:
            if spec.get("concurrencyPolicy") == "Replace":
                steps += [_deletion(cron_job, job) for job in running]
            steps.append(_creation(cron_job, due))
            started = due
    status = _status(cron_job, running, ended, started)

    def conclude(failures: tuple[str, ...]) -> tuple[Step, ...]:
        final = status if not failures else _status(cron_job, running, ended, None)
        if final == objects.status(cron_job):
            return ()
        return (Update(CRON_JOBS, objects.replaced(cron_job, status=final), subresource="status"),)

    return Plan(tuple(steps), conclude, requeue_after_s=next_in_s)


def job_name(cron_job: Object, scheduled: datetime) -> str:
    return f"{objects.name(cron_job)}-{int(scheduled.timestamp()) // 60}"


def _due(cron_job: Object, schedule: cron.Schedule, zone: tzinfo, now: datetime) -> tuple[datetime | None, list[Step]]:
    """The latest minute that should have been started and was not."""
    spec = objects.spec(cron_job)
    since = times.parse(objects.status(cron_job).get("lastScheduleTime") or objects.created_at(cron_job))
    deadline_s = spec.get("startingDeadlineSeconds")
    if deadline_s is not None:
        since = max(since, now - timedelta(seconds=deadline_s))
    due = schedule.latest(since, now, zone)
    if due is not None and schedule.count(since, now, zone, limit=MISSED_MAX + 1) > MISSED_MAX:
        text = f"too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew; starting the one of {times.text(due)}"
        return due, [Emit(cron_job, "Warning", "TooManyMissedTimes", text)]
    return due, []


def _ended_as(job: Object) -> str | None:
    for kind in ("Complete", "Failed"):
        condition = objects.condition(job, kind)
        if condition is not None and condition["status"] == "True":
            return kind
    return None


def _seen(cron_job: Object, ended: Sequence[Object]) -> list[Step]:
    """Says once that a Job which was listed as active has ended."""
    listed = {reference.get("uid") for reference in objects.status(cron_job).get("active") or ()}
    return [
        Emit(cron_job, "Normal", "SawCompletedJob", f"Saw completed job: {objects.name(job)}, condition: {_ended_as(job)}")
        for job in objects.by_age(ended)
        if objects.uid(job) in listed
    ]


def _outlived(cron_job: Object, ended: Sequence[Object]) -> list[Step]:
    """Deletes the oldest of the ended Jobs beyond the history limits."""
    doomed: list[Object] = []
    for kind, field, default in (("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1)):
        limit = objects.spec(cron_job).get(field, default)
        kept = [job for job in objects.by_age(ended) if _ended_as(job) == kind and not objects.deleting(job)]
        doomed += kept[: max(len(kept) - limit, 0)]
    return [_deletion(cron_job, job) for job in doomed]


def _deletion(cron_job: Object, job: Object) -> Delete:
    done = Emit(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {objects.name(job)}")
    failed = Emit(cron_job, "Warning", "FailedDelete", f"Deleted job: {ERROR_TEXT}")
    return Delete(JOBS, objects.namespace(job), objects.name(job), objects.uid(job), propagation_policy="Background", done=done, failed=failed)


def _creation(cron_job: Object, scheduled: datetime) -> Create:
    template = objects.spec(cron_job)["jobTemplate"]
    wanted = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "name": job_name(cron_job, scheduled),
        "namespace": objects.namespace(cron_job),
        "labels": dict(wanted.get("labels") or {}),
        "annotations": {**(wanted.get("annotations") or {}), SCHEDULED_TIMESTAMP: times.text(scheduled)},
        "ownerReferences": [objects.controller_reference(CRON_JOBS, cron_job)],
    }
    job = {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata, "spec": copy.deepcopy(template.get("spec") or {})}
    done = Emit(cron_job, "Normal", "SuccessfulCreate", f"Created job {metadata['name']}")
    failed = Emit(cron_job, "Warning", "FailedCreate", f"Error creating job: {ERROR_TEXT}")
    return Create(JOBS, job, done, failed, ignore=frozenset({"AlreadyExists"}))


def _status(cron_job: Object, running: Sequence[Object], ended: Sequence[Object], started: datetime | None) -> dict[str, Any]:
    before = objects.status(cron_job)
    status: dict[str, Any] = {}
    references = [
        {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "namespace": objects.namespace(job), "name": objects.name(job), "uid": objects.uid(job)}
        for job in objects.by_age(running)
    ]
    if references:
        status["active"] = references
    last = times.text(started) if started is not None else before.get("lastScheduleTime")
    if last:
        status["lastScheduleTime"] = last
    successes = [job["status"]["completionTime"] for job in ended if objects.status(job).get("completionTime")]
    if latest := max([*successes, before.get("lastSuccessfulTime") or ""]):
        status["lastSuccessfulTime"] = latest
    return status
