"""Job: pods until enough of them have succeeded, or too many have failed.

    running ──enough succeeded──> SuccessCriteriaMet ──no pod left uncounted──> Complete
       │────backoffLimit, deadline──> FailureTarget  ──no pod left uncounted──> Failed
       └────suspend──> pods deleted, Suspended=True; resumed: it starts anew, the deadline too

The first condition of each pair decides, the second says that it is over: between them the pods that still run are deleted and counted.
Pods deleted because the Job is suspended, or wants fewer at a time, are not counted: stopping them is no failure.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.api.registry import JOBS, PODS
from k8sfromscratch.core.reconcile import job_pods, objects, times
from k8sfromscratch.core.reconcile.job_pods import Tally
from k8sfromscratch.core.reconcile.objects import Condition
from k8sfromscratch.core.reconcile.plan import CREATED_NAME, ERROR_TEXT, NOTHING, Create, Delete, Emit, Object, Plan, Step, Together, Update, earliest

PARALLELISM_MAX = 500
BACKOFF_FIRST_S = 10.0
BACKOFF_MAX_S = 600.0
"""After n failures in a row the next pods wait 10 s, doubling up to 10 minutes."""


def plan(job: Object | None, pods: Sequence[Object], strays: Sequence[Object], now: datetime) -> Plan:
    """`pods`: all that the Job controls; `strays`: those of a Job of its name that is gone, which nobody will count any more."""
    if job is None:
        return Plan(_released(strays))
    if not _ours(job):
        return NOTHING
    if objects.deleting(job) or _finished(job):
        return Plan(_released([*pods, *strays]))
    tally = job_pods.tally(job, pods)
    spec = objects.spec(job)
    running = [pod for pod in pods if job_pods.finished_as(pod) is None]
    active = [pod for pod in running if not objects.deleting(pod)]
    conditions, event = _judged(job, tally, pods, len(running), now)
    verdict = objects.find_condition(conditions, "FailureTarget") or objects.find_condition(conditions, "SuccessCriteriaMet")
    suspended = bool(spec.get("suspend"))
    steps: list[Step] = [*_released(strays), *([event] if event is not None else [])]
    wait_s: float | None = None
    doomed: Sequence[Object] = ()
    if verdict is not None or suspended:
        doomed = active
    else:
        wanted = _wanted_active(job, tally, pods, len(active))
        doomed = objects.by_age(active)[wanted:] if len(active) > wanted else ()
        if len(active) < wanted:
            wait_s = _backoff_s(job, pods, now)
            creations = _creations(job, pods, active, min(wanted - len(active), PARALLELISM_MAX)) if wait_s is None else ()
            steps += [Together(creations, slow_start=True)] if creations else []
    if doomed:
        # Without a verdict nothing has failed: such pods are let go first, so that they count against nobody.
        steps += [] if verdict is not None else _released(doomed)
        steps.append(Together(tuple(_deletion(job, pod) for pod in doomed)))
    if tally.releases:
        steps.append(Together(tally.releases))
    status = _status(job, tally, pods, active, conditions, now)

    def conclude(failures: tuple[str, ...]) -> tuple[Step, ...]:
        return () if status == objects.status(job) else (_status_update(job, status),)

    return Plan(tuple(steps), conclude, requeue_after_s=earliest(wait_s, _deadline_in_s(job, now)))


def _released(pods: Sequence[Object]) -> tuple[Step, ...]:
    """No pod may be held back by the finalizer when nobody counts it."""
    held = tuple(job_pods.release(pod) for pod in pods if job_pods.FINALIZER in objects.finalizers(pod))
    return (Together(held),) if held else ()


def _ours(job: Object) -> bool:
    return objects.spec(job).get("managedBy", "kubernetes.io/job-controller") == "kubernetes.io/job-controller"


def _finished(job: Object) -> bool:
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in objects.status(job).get("conditions") or ())


def _indexed(job: Object) -> bool:
    return objects.spec(job).get("completionMode") == "Indexed"


def _succeeded(job: Object, tally: Tally, pods: Sequence[Object]) -> int:
    if _indexed(job):
        return len(job_pods.succeeded_indexes(job, pods, objects.spec(job)["completions"]))
    return tally.all_succeeded


def _wanted_active(job: Object, tally: Tally, pods: Sequence[Object], active: int) -> int:
    spec = objects.spec(job)
    parallelism, completions = spec.get("parallelism", 1), spec.get("completions")
    if completions is None:
        # A work queue: once one pod has succeeded, the others finish and no new one starts.
        return min(active, parallelism) if tally.all_succeeded else parallelism
    return max(min(completions - _succeeded(job, tally, pods), parallelism), 0)


def _judged(job: Object, tally: Tally, pods: Sequence[Object], running: int, now: datetime) -> tuple[list[Condition], Emit | None]:
    """The conditions with what follows from the counts, and the event that says it."""
    spec = objects.spec(job)
    conditions: list[Condition] = list(objects.status(job).get("conditions") or ())
    met, failing = (objects.find_condition(conditions, kind) for kind in ("SuccessCriteriaMet", "FailureTarget"))
    completions = spec.get("completions")
    succeeded = _succeeded(job, tally, pods)
    if met is None and failing is None:
        if tally.all_failed > spec.get("backoffLimit", 6):
            failing = _condition("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit", now)
        elif (left_s := _deadline_in_s(job, now)) is not None and left_s <= 0:
            failing = _condition("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline", now)
        elif (succeeded >= completions) if completions is not None else (succeeded > 0 and running == 0):
            met = _condition("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods", now)
        conditions += [one for one in (met, failing) if one is not None]
    verdict = failing or met
    if verdict is None:
        return _suspension(job, conditions, now)
    if running or tally.uncounted:
        return conditions, None
    final = "Failed" if failing is not None else "Complete"
    conditions.append(_condition(final, verdict["reason"], verdict["message"], now))
    if final == "Failed":
        return conditions, Emit(job, "Warning", verdict["reason"], verdict["message"])
    return conditions, Emit(job, "Normal", "Completed", "Job completed")


def _suspension(job: Object, conditions: list[Condition], now: datetime) -> tuple[list[Condition], Emit | None]:
    present = objects.find_condition(conditions, "Suspended")
    if objects.spec(job).get("suspend"):
        if present is None or present["status"] != "True":
            wanted = _condition("Suspended", "JobSuspended", "Job suspended", now)
            return objects.with_condition(conditions, wanted), Emit(job, "Normal", "Suspended", "Job suspended")
    elif present is not None and present["status"] == "True":
        wanted = {**_condition("Suspended", "JobResumed", "Job resumed", now), "status": "False"}
        return objects.with_condition(conditions, wanted), Emit(job, "Normal", "Resumed", "Job resumed")
    return conditions, None


def _condition(kind: str, reason: str, message: str, now: datetime) -> Condition:
    moment = times.text(now)
    return {"type": kind, "status": "True", "lastProbeTime": moment, "lastTransitionTime": moment, "reason": reason, "message": message}


def _deadline_in_s(job: Object, now: datetime) -> float | None:
    limit_s, started = objects.spec(job).get("activeDeadlineSeconds"), objects.status(job).get("startTime")
    if limit_s is None or objects.spec(job).get("suspend"):
        return None
    return times.seconds_until(times.parse_or(started, now) + timedelta(seconds=limit_s), now)


def _backoff_s(job: Object, pods: Sequence[Object], now: datetime) -> float | None:
    """How long the next pods must still wait because of the latest failures without a success after them."""
    ended = sorted((_ended_at(pod, now), job_pods.finished_as(pod) == "failed") for pod in pods if job_pods.finished_as(pod) is not None)
    failures = 0
    for _, failed in reversed(ended):
        if not failed:
            break
        failures += 1
    if not failures:
        return None
    delay_s = min(BACKOFF_FIRST_S * 2 ** (failures - 1), BACKOFF_MAX_S)
    left_s = times.seconds_until(ended[-1][0] + timedelta(seconds=delay_s), now)
    return left_s if left_s > 0 else None


def _ended_at(pod: Object, now: datetime) -> datetime:
    """When its last container ended; for one that never ran, when it was deleted or made."""
    statuses = objects.status(pod).get("containerStatuses") or ()
    ends = [s["state"]["terminated"].get("finishedAt") for s in statuses if (s.get("state") or {}).get("terminated")]
    known = [times.parse(end) for end in ends if end]
    return max(known) if known else times.parse_or(pod["metadata"].get("deletionTimestamp") or objects.created_at(pod), now)


def _creations(job: Object, pods: Sequence[Object], active: Sequence[Object], count: int) -> tuple[Create, ...]:
    done = Emit(job, "Normal", "SuccessfulCreate", f"Created pod: {CREATED_NAME}")
    failed = Emit(job, "Warning", "FailedCreate", f"Error creating: {ERROR_TEXT}")
    indexes: list[int | None] = [None] * count
    if _indexed(job):
        completions = objects.spec(job)["completions"]
        taken = job_pods.succeeded_indexes(job, pods, completions) | {job_pods.completion_index(pod) for pod in active}
        free = (index for index in range(completions) if index not in taken)
        indexes = [index for index, _ in zip(free, range(count), strict=False)]
    return tuple(Create(PODS, job_pods.pod_of(job, JOBS, index), done, failed) for index in indexes)


def _deletion(job: Object, pod: Object) -> Delete:
    done = Emit(job, "Normal", "SuccessfulDelete", f"Deleted pod: {CREATED_NAME}")
    failed = Emit(job, "Warning", "FailedDelete", f"Error deleting: {ERROR_TEXT}")
    return Delete(PODS, objects.namespace(pod), objects.name(pod), objects.uid(pod), done=done, failed=failed)


def _status(job: Object, tally: Tally, pods: Sequence[Object], active: Sequence[Object], conditions: list[Condition], now: datetime) -> dict[str, Any]:
    before = objects.status(job)
    suspended = bool(objects.spec(job).get("suspend"))
    terminating = sum(job_pods.finished_as(pod) is None and objects.deleting(pod) for pod in pods)
    status: dict[str, Any] = {
        "terminating": terminating,
        "ready": sum(objects.pod_ready(pod) for pod in active),
        "uncountedTerminatedPods": tally.uncounted,
    }
    if not suspended:
        status["startTime"] = before.get("startTime") or times.text(now)
    if _indexed(job):
        done = job_pods.succeeded_indexes(job, pods, objects.spec(job)["completions"])
        counts = {"succeeded": len(done), "failed": tally.failed}
        status |= {"completedIndexes": job_pods.format_indexes(done)} if done else {}
    else:
        counts = {"succeeded": tally.succeeded, "failed": tally.failed}
    status |= {field: count for field, count in {"active": len(active), **counts}.items() if count}
    if conditions:
        status["conditions"] = conditions
    if objects.find_condition(conditions, "Complete") is not None:
        status["completionTime"] = before.get("completionTime") or times.text(now)
    return status


def _status_update(job: Object, status: Mapping[str, Any]) -> Update:
    return Update(JOBS, objects.replaced(job, status=dict(status)), subresource="status")
