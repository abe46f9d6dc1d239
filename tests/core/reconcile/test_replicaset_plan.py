"""How many pods a ReplicaSet makes or drops, which, and what it reports."""

import copy

import pytest

from k8sfromscratch.api.registry import PODS
from k8sfromscratch.core.reconcile import replicaset
from k8sfromscratch.core.reconcile.plan import Confirm, Create, Delete, Patch, Plan, Together, Update
from k8sfromscratch.core.reconcile.pod_ranking import pods_to_delete


def writes(plan: Plan) -> list:
    return [write for step in plan.steps for write in (step.steps if isinstance(step, Together) else (step,))]


def final_status(plan: Plan, *failures: str) -> dict | None:
    assert plan.conclude is not None
    steps = plan.conclude(failures)
    if not steps:
        return None
    (update,) = steps
    assert isinstance(update, Update) and update.subresource == "status"
    return update.object["status"]


@pytest.mark.parametrize(
    ("wanted", "active", "created", "deleted"),
    [(3, 0, 3, 0), (3, 3, 0, 0), (3, 5, 0, 2), (0, 2, 0, 2), (1000, 0, 500, 0), (0, 600, 0, 500)],
)
def test_brings_the_number_of_active_pods_to_replicas(make, wanted, active, created, deleted):
    rs = make.replica_set(replicas=wanted)
    pods = [make.pod(f"p{i}", owner=rs, labels={"app": "web"}) for i in range(active)]
    plan = replicaset.plan(rs, pods, pods, make.now)
    assert [sum(isinstance(w, kind) for w in writes(plan)) for kind in (Create, Delete)] == [created, deleted]


def test_a_created_pod_is_the_template_with_an_owner(make):
    rs = make.replica_set(replicas=1)
    rs["spec"]["template"]["metadata"]["annotations"] = {"a": "b"}
    before = copy.deepcopy(rs)
    (create,) = writes(replicaset.plan(rs, [], [], make.now))
    assert create.resource is PODS
    assert create.object == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "web-1-",
            "namespace": "default",
            "labels": {"app": "web"},
            "annotations": {"a": "b"},
            "ownerReferences": [make.owner(rs)],
        },
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    }
    create.object["metadata"]["labels"]["app"] = create.object["spec"]["containers"][0]["image"] = "changed"
    assert rs == before, "the cached object is not shared with what is written"
    assert (create.done.reason, create.done.filled(name="web-1-x").message) == ("SuccessfulCreate", "Created pod: web-1-x")
    assert (create.failed.type, create.failed.reason) == ("Warning", "FailedCreate")


def test_creations_start_slowly_and_deletions_do_not(make):
    rs = make.replica_set(replicas=3)
    (step,) = replicaset.plan(rs, [], [], make.now).steps
    assert isinstance(step, Together) and step.slow_start
    pods = [make.pod(f"p{i}", owner=rs, labels={"app": "web"}) for i in range(5)]
    (step,) = replicaset.plan(rs, pods, pods, make.now).steps
    assert isinstance(step, Together) and not step.slow_start


def test_finished_and_terminating_pods_do_not_count(make):
    rs = make.replica_set(replicas=2)
    pods = [
        make.pod("done", owner=rs, labels={"app": "web"}, phase="Succeeded"),
        make.pod("failed", owner=rs, labels={"app": "web"}, phase="Failed"),
        make.pod("going", owner=rs, labels={"app": "web"}, deletionTimestamp=make.at(0)),
    ]
    assert sum(isinstance(w, Create) for w in writes(replicaset.plan(rs, pods, [], make.now))) == 2


def test_a_set_being_deleted_only_reports(make):
    rs = make.replica_set(replicas=3, deletionTimestamp=make.at(0))
    plan = replicaset.plan(rs, [], [], make.now)
    assert plan.steps == ()


def test_adopts_a_matching_orphan_after_confirming_itself_and_counts_it(make):
    rs = make.replica_set(replicas=1)
    orphan = make.pod("orphan", labels={"app": "web"})
    plan = replicaset.plan(rs, [orphan, make.pod("other", labels={"app": "db"})], [], make.now)
    confirm, adopt = plan.steps
    assert confirm == Confirm(confirm.resource, "default", "web-1", rs["metadata"]["uid"])
    assert isinstance(adopt, Patch) and adopt.name == "orphan"
    assert adopt.patch["metadata"] == {
        "uid": orphan["metadata"]["uid"],
        "resourceVersion": orphan["metadata"]["resourceVersion"],
        "ownerReferences": [make.owner(rs)],
    }
    assert final_status(plan)["replicas"] == 1


def test_releases_an_owned_pod_that_no_longer_matches(make):
    rs = make.replica_set(replicas=1)
    pod = make.pod("stray", owner=rs, labels={"app": "debug"})
    release, create = writes(replicaset.plan(rs, [pod], [], make.now))
    assert release.patch["metadata"]["ownerReferences"] == []
    assert isinstance(create, Create)


def test_leaves_pods_of_others_alone(make):
    rs, other = make.replica_set(replicas=0), make.replica_set("other")
    assert replicaset.plan(rs, [make.pod("p", owner=other, labels={"app": "web"})], [], make.now).steps == ()


def test_status_counts_and_is_written_only_when_it_changed(make):
    rs = make.replica_set(replicas=3)
    rs["spec"]["minReadySeconds"] = 60
    pods = [
        make.pod("a", owner=rs, labels={"app": "web"}, ready=True, ready_s=500),
        make.pod("b", owner=rs, labels={"app": "web"}, ready=True, ready_s=20),
        make.pod("c", owner=rs, labels={"app": "web"}),
    ]
    plan = replicaset.plan(rs, pods, pods, make.now)
    status = final_status(plan)
    assert status == {"replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 2, "availableReplicas": 1, "observedGeneration": 1}
    assert plan.requeue_after_s == 40, "when b becomes available"
    rs["status"] = status
    assert final_status(replicaset.plan(rs, pods, pods, make.now)) is None


def test_a_failed_creation_shows_in_the_status_and_goes_when_it_is_over(make):
    rs = make.replica_set(replicas=1)
    status = final_status(replicaset.plan(rs, [], [], make.now), "exceeded quota")
    (condition,) = status["conditions"]
    assert (condition["type"], condition["reason"], condition["message"]) == ("ReplicaFailure", "FailedCreate", "exceeded quota")
    rs["status"] = status
    assert final_status(replicaset.plan(rs, [], [], make.now), "other words") is None, "each write would wake it again: it would spin"
    assert "conditions" not in final_status(replicaset.plan(rs, [], [], make.now))


RANKED = [
    ("no node before one", {"node": ""}, {"ready": True}),
    ("pending before running", {"phase": "Pending"}, {}),
    ("not ready before ready", {}, {"ready": True}),
    ("cheap before dear", {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}, {}),
    ("crowded node before lonely one", {"node": "crowded"}, {"node": "lonely"}),
    ("ready for seconds before ready for days", {"ready": True, "ready_s": 10}, {"ready": True, "ready_s": 90000}),
    ("young before old", {"age_s": 10}, {"age_s": 90000}),
]


@pytest.mark.parametrize(("first", "second"), [case[1:] for case in RANKED], ids=[case[0] for case in RANKED])
def test_ranking(make, first, second):
    loser, keeper = make.pod("loser", **first), make.pod("keeper", **second)
    siblings = [make.pod(f"s{i}", node="crowded") for i in range(3)] + [loser, keeper]
    assert [p["metadata"]["name"] for p in pods_to_delete([keeper, loser], siblings, 1, make.now)] == ["loser"]


def test_ranking_ignores_a_deletion_cost_that_is_no_number(make):
    odd = make.pod("odd", annotations={"controller.kubernetes.io/pod-deletion-cost": "low"})
    cheap = make.pod("cheap", annotations={"controller.kubernetes.io/pod-deletion-cost": "-1"})
    assert pods_to_delete([odd, cheap], [], 1, make.now) == [cheap]
