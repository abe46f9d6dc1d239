"""Counting a Job's finished pods exactly once, though pods can be deleted at any time by anyone.

A pod of a Job carries the finalizer `batch.kubernetes.io/job-tracking`, so that it cannot vanish before it is counted.  Three plans
move it into the Job's counters, each safe to repeat:

    1  it has finished                     its uid goes into status.uncountedTerminatedPods
    2  its uid is recorded there           the finalizer comes off
    3  the finalizer is seen to be off     the uid leaves the list and the counter grows by one, in one write

Indexed Jobs count indexes instead (`status.completedIndexes`, "0-2,5"), which needs no such care: a set does not count twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.api.registry import PODS
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import Object, Patch, Write

FINALIZER = "batch.kubernetes.io/job-tracking"
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True, slots=True)
class Tally:
    succeeded: int
    failed: int
    uncounted: dict[str, list[str]]
    """`succeeded` and `failed`: uids of pods in the middle of being counted."""
    releases: tuple[Write, ...]
    """Takes the finalizer off pods that are recorded."""

    @property
    def all_succeeded(self) -> int:
        """Counted or about to be."""
        return self.succeeded + len(self.uncounted.get("succeeded", ()))

    @property
    def all_failed(self) -> int:
        return self.failed + len(self.uncounted.get("failed", ()))


def finished_as(pod: Object) -> str | None:
    """`succeeded` or `failed`.  A pod that is deleted before it has succeeded counts as failed once it has stopped."""
    phase = objects.status(pod).get("phase")
    if phase == "Succeeded":
        return "succeeded"
    if phase == "Failed" or (objects.deleting(pod) and phase == "Pending"):
        return "failed"
    return None


def tally(job: Object, pods: Sequence[Object]) -> Tally:
    status = objects.status(job)
    recorded: dict[str, list[str]] = status.get("uncountedTerminatedPods") or {}
    tracked = {objects.uid(pod): pod for pod in pods if FINALIZER in objects.finalizers(pod)}
    counts = {"succeeded": status.get("succeeded", 0), "failed": status.get("failed", 0)}
    uncounted: dict[str, list[str]] = {"succeeded": [], "failed": []}
    releases: list[Write] = []
    known: set[str] = set()
    for kind, uids in recorded.items():
        for uid in uids:
            known.add(uid)
            if uid in tracked:
                uncounted[kind].append(uid)
                releases.append(release(tracked[uid]))
            else:
                counts[kind] += 1
    for uid, pod in tracked.items():
        ended = finished_as(pod)
        if ended is not None and uid not in known:
            uncounted[ended].append(uid)
    return Tally(counts["succeeded"], counts["failed"], {kind: uids for kind, uids in uncounted.items() if uids}, tuple(releases))


def release(pod: Object) -> Patch:
    kept = [finalizer for finalizer in objects.finalizers(pod) if finalizer != FINALIZER]
    patch = {"metadata": {"uid": objects.uid(pod), "resourceVersion": pod["metadata"]["resourceVersion"], "finalizers": kept}}
    return Patch(PODS, objects.namespace(pod), objects.name(pod), patch, ignore=frozenset({"NotFound"}))


# Indexes.


def completion_index(pod: Object) -> int | None:
    text = objects.annotations(pod).get(COMPLETION_INDEX, "")
    return int(text) if text.isascii() and text.isdigit() else None


def parse_indexes(text: str) -> set[int]:
    """`0-2,5` -> {0, 1, 2, 5}."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], index]
        else:
            runs.append([index])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def succeeded_indexes(job: Object, pods: Sequence[Object], completions: int) -> set[int]:
    done = parse_indexes(objects.status(job).get("completedIndexes", ""))
    done |= {index for pod in pods if finished_as(pod) == "succeeded" and (index := completion_index(pod)) is not None}
    return {index for index in done if index < completions}


def job_name(pod: Object) -> str | None:
    """The Job whose controller must let the pod go: its owner, or for an orphan the one that made it.  None: the pod is not held."""
    if FINALIZER not in objects.finalizers(pod):
        return None
    owner = objects.controller_of(pod)
    if owner is None:
        return objects.labels(pod).get("batch.kubernetes.io/job-name")
    return str(owner["name"]) if owner["kind"] == "Job" else None


def job_labels(job: Object) -> dict[str, str]:
    """What finds a Job's pods: the prefixed names, and the older ones that people still type."""
    name, uid = objects.name(job), objects.uid(job)
    return {"batch.kubernetes.io/controller-uid": uid, "controller-uid": uid, "batch.kubernetes.io/job-name": name, "job-name": name}


def pod_of(job: Object, resource: Any, index: int | None) -> Object:
    pod = objects.pod_from_template(objects.spec(job)["template"], resource, job)
    metadata = pod["metadata"]
    metadata["labels"] = {**metadata.get("labels", {}), **job_labels(job)}
    metadata["finalizers"] = [*metadata.get("finalizers", ()), FINALIZER]
    if index is None:
        return pod
    metadata["generateName"] = f"{objects.name(job)}-{index}-"
    metadata["annotations"] = {**metadata.get("annotations", {}), COMPLETION_INDEX: str(index)}
    metadata["labels"][COMPLETION_INDEX] = str(index)
    pod["spec"].setdefault("hostname", f"{objects.name(job)}-{index}")
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{COMPLETION_INDEX}']"}}
    for container in [*pod["spec"].get("containers", ()), *pod["spec"].get("initContainers", ())]:
        environment = container.setdefault("env", [])
        if not any(variable["name"] == "JOB_COMPLETION_INDEX" for variable in environment):
            environment.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return pod
