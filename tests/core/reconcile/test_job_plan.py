"""Jobs: pods until enough have succeeded or too many have failed, each counted once."""

import copy
import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from k8sfromscratch.core.reconcile import job, job_pods, objects
from k8sfromscratch.core.reconcile.plan import Create, Delete, Emit, Patch, Together, Update


def a_job(make, *, parallelism=1, completions=1, status=None, **spec):
    template = {"metadata": {"labels": {"app": "batch"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    body = {"parallelism": parallelism, "template": template, "backoffLimit": 6, "completionMode": "NonIndexed", **spec}
    if completions is not None:
        body["completions"] = completions
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": make.meta("work"), "spec": body, "status": status or {}}


class World:
    def __init__(self, make, the_job):
        self.make, self.job, self.pods = make, the_job, {}
        self.numbers, self.seconds, self.events = itertools.count(), 0, []

    def step(self):
        plan = job.plan(self.job, list(self.pods.values()), (), self.make.later(self.seconds))
        for step in (*plan.steps, *(plan.conclude(()) if plan.conclude else ())):
            for write in step.steps if isinstance(step, Together) else (step,):
                self.write(write)
        return plan

    def write(self, write):
        match write:
            case Emit():
                self.events.append(write.reason)
            case Create():
                name = f"p{next(self.numbers)}"
                self.pods[name] = {
                    **write.object,
                    "metadata": {**self.make.meta(name, age_s=-self.seconds), **write.object["metadata"]},
                    "status": {"phase": "Running"},
                }
            case Delete():
                self.pods[write.name]["metadata"]["deletionTimestamp"] = self.make.at(self.seconds)
                self.end(write.name, "Failed")  # its kubelet stops it
                if not objects.finalizers(self.pods[write.name]):
                    del self.pods[write.name]
            case Patch():
                pod = self.pods[write.name] = copy.deepcopy(self.pods[write.name])
                pod["metadata"]["finalizers"] = write.patch["metadata"]["finalizers"]
                if objects.deleting(pod):
                    del self.pods[write.name]
            case Update():
                self.job = write.object

    def end(self, name, phase):
        terminated = {"terminated": {"finishedAt": self.make.at(self.seconds)}}
        self.pods[name] = {**self.pods[name], "status": {"phase": phase, "containerStatuses": [{"state": terminated}]}}

    def delete(self, name):
        """As a user would."""
        pod = copy.deepcopy(self.pods[name])
        pod["metadata"]["deletionTimestamp"] = self.make.at(self.seconds)
        self.pods[name] = pod
        if objects.finalizers(pod):
            self.end(name, "Failed") if pod["status"]["phase"] == "Running" else None
        else:
            del self.pods[name]

    @property
    def running(self):
        return [name for name, pod in self.pods.items() if pod["status"]["phase"] == "Running" and not objects.deleting(pod)]

    def settle(self):
        for _ in range(8):
            self.step()

    def conditions(self):
        return [c["type"] for c in self.job["status"].get("conditions", ()) if c["status"] == "True"]


def test_runs_its_pod_counts_it_and_completes(make):
    world = World(make, a_job(make))
    world.step()
    (name,) = world.running
    pod = world.pods[name]
    uid = world.job["metadata"]["uid"]
    assert pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] == uid and pod["metadata"]["labels"]["job-name"] == "work"
    assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
    assert world.job["status"]["startTime"] == make.at(0)
    world.step()
    assert world.job["status"]["active"] == 1
    world.end(name, "Succeeded")
    world.seconds = 5
    world.step()
    assert world.job["status"]["uncountedTerminatedPods"] == {"succeeded": [pod["metadata"]["uid"]]}
    world.settle()
    status = world.job["status"]
    assert status["succeeded"] == 1 and "active" not in status and status["uncountedTerminatedPods"] == {}
    assert world.conditions() == ["SuccessCriteriaMet", "Complete"]
    assert status["completionTime"] == make.at(5)
    assert world.events == ["Completed"]
    assert objects.finalizers(world.pods[name]) == [], "the finished pod stays for its logs, but nothing holds it"


def test_never_more_than_parallelism_nor_than_is_still_needed(make):
    world = World(make, a_job(make, parallelism=3, completions=4))
    world.step()
    assert len(world.running) == 3
    for name in world.running:
        world.end(name, "Succeeded")
    world.settle()
    assert len(world.running) == 1


def test_a_work_queue_ends_when_one_has_succeeded_and_the_rest_have_ended(make):
    world = World(make, a_job(make, parallelism=2, completions=None))
    world.step()
    first, second = world.running
    world.end(first, "Succeeded")
    world.settle()
    assert world.running == [second] and world.conditions() == []
    world.end(second, "Succeeded")
    world.settle()
    assert world.conditions()[-1] == "Complete" and world.job["status"]["succeeded"] == 2


def test_failures_are_retried_with_growing_pauses_until_the_limit(make):
    world = World(make, a_job(make, backoffLimit=2))
    for pause in (10, 20, None):
        world.settle()
        (name,) = world.running
        world.end(name, "Failed")
        world.settle()
        plan = world.step()
        assert world.running == [] and plan.requeue_after_s == pause
        world.seconds += pause or 0
    assert world.conditions() == ["FailureTarget", "Failed"]
    assert world.job["status"]["failed"] == 3 and world.events == ["BackoffLimitExceeded"]


def test_a_deadline_ends_what_still_runs(make):
    world = World(make, a_job(make, activeDeadlineSeconds=30))
    world.step()
    assert world.step().requeue_after_s == 30
    world.seconds = 30
    world.settle()
    assert world.running == [] and world.conditions() == ["FailureTarget", "Failed"]
    assert world.job["status"]["conditions"][-1]["reason"] == "DeadlineExceeded"


def test_suspend_and_resume(make):
    world = World(make, a_job(make, parallelism=2, completions=2))
    world.step()
    world.job["spec"]["suspend"] = True
    world.settle()
    assert world.running == [] and world.conditions() == ["Suspended"] and "startTime" not in world.job["status"]
    assert "failed" not in world.job["status"], "to be stopped is not to fail"
    world.job["spec"]["suspend"] = False
    world.seconds = 60
    world.settle()
    assert len(world.running) == 2 and world.conditions() == [] and world.job["status"]["startTime"] == make.at(60)
    assert world.events == ["Suspended", "Resumed"]


def test_fewer_at_a_time_is_no_failure(make):
    world = World(make, a_job(make, parallelism=3, completions=3, backoffLimit=0))
    world.step()
    world.job["spec"]["parallelism"] = 1
    world.settle()
    assert len(world.running) == 1 and world.conditions() == [] and "failed" not in world.job["status"]


def test_each_index_runs_once_and_knows_its_number(make):
    world = World(make, a_job(make, parallelism=2, completions=3, completionMode="Indexed"))
    world.step()
    indexes = {job_pods.completion_index(world.pods[name]): name for name in world.running}
    assert set(indexes) == {0, 1}
    pod = world.pods[indexes[1]]
    assert pod["spec"]["hostname"] == "work-1" and pod["metadata"]["generateName"] == "work-1-"
    assert pod["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
    world.end(indexes[1], "Succeeded")
    world.settle()
    assert world.job["status"]["completedIndexes"] == "1" and world.job["status"]["succeeded"] == 1
    assert {job_pods.completion_index(world.pods[name]) for name in world.running} == {0, 2}


@pytest.mark.parametrize("text", ["", "0", "0-2", "0-1,3,5-9"])
def test_index_lists_are_read_and_written_alike(text):
    assert job_pods.format_indexes(job_pods.parse_indexes(text)) == text


def test_a_finished_or_foreign_job_is_left_alone(make):
    done = a_job(make, status={"conditions": [{"type": "Complete", "status": "True"}]})
    assert job.plan(done, [], [], make.now).steps == ()
    assert job.plan(a_job(make, managedBy="example.com/x"), [], [], make.now).steps == ()


def test_a_deleted_job_lets_its_pods_go(make):
    world = World(make, a_job(make))
    world.step()
    world.job["metadata"]["deletionTimestamp"] = make.at(0)
    world.step()
    assert [objects.finalizers(pod) for pod in world.pods.values()] == [[]]


def test_pods_of_a_job_that_is_gone_are_let_go(make):
    world = World(make, a_job(make))
    world.step()
    (pod,) = world.pods.values()
    assert job_pods.job_name(pod) == "work"
    (together,) = job.plan(None, [], [pod], make.now).steps
    assert [patch.patch["metadata"]["finalizers"] for patch in together.steps] == [[]]
    orphan = {**pod, "metadata": {**pod["metadata"], "ownerReferences": []}}
    assert job_pods.job_name(orphan) == "work" and job_pods.job_name(make.pod("other")) is None


@settings(max_examples=120, deadline=None)
@given(
    parallelism=st.integers(1, 4),
    completions=st.integers(0, 6),
    script=st.lists(st.tuples(st.sampled_from(["step", "succeed", "fail", "delete", "delete-done"]), st.integers(0, 5)), max_size=40),
)
def test_every_success_is_counted_exactly_once_whoever_deletes_pods(make, parallelism, completions, script):
    world = World(make, a_job(make, parallelism=parallelism, completions=completions, backoffLimit=1000))
    succeeded = 0
    world.step()
    for action, index in script:
        world.seconds += 700  # no pause for failures lasts longer
        names = (
            world.running if action != "delete-done" else [n for n, p in world.pods.items() if p["status"]["phase"] == "Succeeded" and not objects.deleting(p)]
        )
        if action == "step" or not names:
            world.step()
            assert len(world.running) <= parallelism
            continue
        name = names[index % len(names)]
        if action in ("succeed", "fail"):
            world.end(name, "Succeeded" if action == "succeed" else "Failed")
            succeeded += action == "succeed"
        else:
            world.delete(name)
    world.settle()
    counted = world.job["status"].get("succeeded", 0)
    assert counted == succeeded or world.conditions()[-1:] == ["Complete"]
    for _ in range(30):
        if "Complete" in world.conditions():
            break
        world.seconds += 700
        for name in world.running:
            world.end(name, "Succeeded")
        world.settle()
    assert world.job["status"].get("succeeded", 0) >= completions and "Complete" in world.conditions()
