"""What a Deployment does with its ReplicaSets, step by step."""

import copy

import pytest

from k8sfromscratch.core.reconcile import deployment, deployment_revisions, deployment_sizes
from k8sfromscratch.core.reconcile.plan import Create, Delete, Patch, Plan, Together, Update

SURGE_1 = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def no_pods(replica_set):
    return []


def run(make, d, sets, *, namesake=None, pods_of=no_pods, after_s=0.0) -> Plan:
    before = copy.deepcopy((d, sets))
    plan = deployment.plan(d, sets, namesake, pods_of, make.later(after_s))
    assert (d, sets) == before, "observed objects are never changed"
    return plan


def conclusion(plan: Plan, *failures: str) -> tuple[dict | None, str | None]:
    """The status that ends the plan, and the revision that the Deployment is given."""
    status = revision = None
    for step in plan.conclude(failures) if plan.conclude else ():
        if isinstance(step, Update):
            status = step.object["status"]
        elif isinstance(step, Patch):
            revision = step.patch["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
    return status, revision


def condition(status, kind):
    return next((c for c in status["conditions"] if c["type"] == kind), None)


def sizes(plan: Plan) -> dict[str, int]:
    return {s.object["metadata"]["name"]: s.object["spec"]["replicas"] for s in plan.steps if isinstance(s, Update)}


def owned(make, d, name, replicas, *, image="i:1", revision="1", available=None, annotations=None, **meta):
    ready = replicas if available is None else available
    status = {"replicas": replicas, "readyReplicas": ready, "availableReplicas": ready, "observedGeneration": 1}
    wanted = str(d["spec"]["replicas"])
    notes = {
        "deployment.kubernetes.io/revision": revision,
        "deployment.kubernetes.io/desired-replicas": wanted,
        "deployment.kubernetes.io/max-replicas": str(deployment_sizes.bounds(d).max_total),
        **(annotations or {}),
    }
    return make.replica_set(name, replicas, image=image, owner=d, status=status, annotations=notes, **meta)


def test_creates_the_first_set_at_full_size(make):
    d = make.deployment(3)
    plan = run(make, d, [])
    (create,) = plan.steps
    assert isinstance(create, Create)
    rs = create.object
    name = rs["metadata"]["name"]
    label = name.removeprefix("web-")
    assert rs["spec"]["replicas"] == 3
    assert rs["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": label}
    assert rs["spec"]["template"]["metadata"]["labels"] == rs["metadata"]["labels"] == {"app": "web", "pod-template-hash": label}
    assert rs["metadata"]["annotations"] == {
        "deployment.kubernetes.io/revision": "1",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert create.done.message == f"Scaled up replica set {name} from 0 to 3"
    status, revision = conclusion(plan)
    assert revision == "1"
    assert condition(status, "Progressing")["reason"] == "NewReplicaSetCreated"
    assert condition(status, "Available") | {"message": ""} == condition(status, "Available") | {"status": "False", "message": ""}


def test_says_why_the_set_could_not_be_created(make):
    status, revision = conclusion(run(make, make.deployment(3), []), "quota")
    progressing = condition(status, "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("False", "ReplicaSetCreateError")
    assert progressing["message"].endswith('": quota') and revision is None


def test_a_foreign_set_of_the_same_name_is_a_collision_that_changes_the_hash(make):
    d = make.deployment(3)
    name = deployment_revisions.new_set_name(d)
    stranger = make.replica_set(name, app="other")
    (update,) = run(make, d, [], namesake=stranger).steps
    assert update.object["status"]["collisionCount"] == 1
    d["status"]["collisionCount"] = 1
    assert deployment_revisions.new_set_name(d) != name


def test_equal_templates_share_a_hash_and_different_ones_do_not(make):
    assert deployment_revisions.new_set_name(make.deployment(3)) == deployment_revisions.new_set_name(make.deployment(5))
    assert deployment_revisions.new_set_name(make.deployment(3)) != deployment_revisions.new_set_name(make.deployment(3, image="i:2"))


def test_a_new_template_creates_a_set_within_the_surge(make):
    d = make.deployment(4, image="i:2", strategy=SURGE_1)
    old = owned(make, d, "web-old", 4)
    (create,) = run(make, d, [old]).steps
    assert create.object["spec"]["replicas"] == 1
    assert create.object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


def test_shrinks_the_old_set_only_when_the_new_pods_are_available(make):
    d = make.deployment(4, image="i:2", strategy=SURGE_1)
    old = owned(make, d, "web-old", 4)
    assert sizes(run(make, d, [old, owned(make, d, "web-new", 1, image="i:2", revision="2", available=0)])) == {}
    assert sizes(run(make, d, [old, owned(make, d, "web-new", 1, image="i:2", revision="2")])) == {"web-old": 3}


def test_unhealthy_old_pods_go_first(make):
    d = make.deployment(4, image="i:2", strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}})
    broken = owned(make, d, "web-broken", 2, image="i:0", revision="1", available=0)
    good = owned(make, d, "web-good", 3, image="i:1", revision="2")
    new = owned(make, d, "web-new", 0, image="i:2", revision="3")
    assert sizes(run(make, d, [good, broken, new])) == {"web-broken": 0}


def test_a_complete_rollout_reports_and_cleans_up(make):
    d = make.deployment(3, image="i:2", revisionHistoryLimit=1)
    d["status"] = {"conditions": []}
    olds = [owned(make, d, f"web-{i}", 0, image=f"i:old{i}", revision=str(i), age_s=5000 - i) for i in (1, 2, 3)]
    new = owned(make, d, "web-new", 3, image="i:2", revision="4")
    plan = run(make, d, [*olds, new])
    (together,) = plan.steps
    assert isinstance(together, Together) and [s.name for s in together.steps if isinstance(s, Delete)] == ["web-1", "web-2"]
    status, revision = conclusion(plan)
    assert {k: v for k, v in status.items() if k != "conditions"} == {
        "observedGeneration": 1,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
    }
    assert condition(status, "Progressing")["reason"] == "NewReplicaSetAvailable"
    assert condition(status, "Progressing")["message"] == 'ReplicaSet "web-new" has successfully progressed.'
    assert condition(status, "Available")["reason"] == "MinimumReplicasAvailable"
    assert revision == "4" and plan.requeue_after_s is None


def test_a_settled_deployment_writes_nothing(make):
    d = make.deployment(3)
    new = owned(make, d, "web-new", 3)
    d["status"], revision = conclusion(run(make, d, [new]))
    d["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": revision}
    plan = run(make, d, [new], after_s=5000)
    assert plan.steps == () and plan.conclude(()) == () and plan.requeue_after_s is None


def test_rolling_back_makes_an_old_set_the_newest_revision(make):
    d = make.deployment(3, image="i:1")
    first = owned(make, d, "web-first", 0, image="i:1", revision="1", age_s=900)
    second = owned(make, d, "web-second", 3, image="i:2", revision="2", age_s=800)
    plan = run(make, d, [first, second])
    (update,) = plan.steps
    notes = update.object["metadata"]["annotations"]
    assert update.object["metadata"]["name"] == "web-first" and update.object["spec"]["replicas"] == 1
    assert notes["deployment.kubernetes.io/revision"] == "3" and notes["deployment.kubernetes.io/revision-history"] == "1"
    assert conclusion(plan)[1] == "3"


def test_annotations_are_copied_to_the_set_but_for_those_of_tools(make):
    d = make.deployment(3)
    d["metadata"]["annotations"] = {"kubernetes.io/change-cause": "because", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    (create,) = run(make, d, []).steps
    notes = create.object["metadata"]["annotations"]
    assert notes["kubernetes.io/change-cause"] == "because" and "kubectl.kubernetes.io/last-applied-configuration" not in notes


def test_paused_creates_nothing_says_so_and_resumes(make):
    d = make.deployment(3, image="i:2", paused=True)
    old = owned(make, d, "web-old", 3)
    plan = run(make, d, [old])
    assert plan.steps == ()
    status, _ = conclusion(plan)
    assert condition(status, "Progressing")["reason"] == "DeploymentPaused"
    resumed = make.deployment(3, image="i:1", status=status)
    old["metadata"]["ownerReferences"] = [make.owner(resumed)]
    after, _ = conclusion(run(make, resumed, [old]))
    assert condition(after, "Progressing")["reason"] in ("DeploymentResumed", "NewReplicaSetAvailable")


def test_a_resize_in_mid_rollout_is_shared_in_proportion(make):
    d = make.deployment(10, image="i:2", strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}})
    old, new = owned(make, d, "web-old", 8), owned(make, d, "web-new", 5, image="i:2", revision="2", available=0)
    d["spec"]["replicas"] = 15
    plan = run(make, d, [old, new])
    assert sizes(plan) == {"web-old": 11, "web-new": 7}, "the example of upstream's documentation: 15 + 3 shared 8 : 5"
    assert {u.object["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"] for u in plan.steps} == {"15"}


@pytest.mark.parametrize("replicas", [0, 1, 7])
def test_scaling_a_settled_deployment_touches_its_one_set(make, replicas):
    d = make.deployment(3)
    new = owned(make, d, "web-new", 3)
    d["spec"]["replicas"] = replicas
    assert sizes(run(make, d, [new])) == {"web-new": replicas}


def test_recreate_waits_for_the_last_old_pod(make):
    d = make.deployment(3, image="i:2", strategy={"type": "Recreate"})
    old = owned(make, d, "web-old", 3)
    assert sizes(run(make, d, [old])) == {"web-old": 0}
    drained = owned(make, d, "web-old", 0)
    last = make.pod("last", owner=drained, deletionTimestamp=make.at(0))
    assert run(make, d, [drained], pods_of=lambda rs: [last]).steps == ()
    (create,) = run(make, d, [drained], pods_of=no_pods).steps
    assert create.object["spec"]["replicas"] == 3


def test_no_progress_until_the_deadline_is_reported_and_more_progress_moves_it(make):
    d = make.deployment(3, progressDeadlineSeconds=60)
    new = owned(make, d, "web-new", 3, available=0)
    d["status"], _ = conclusion(run(make, d, [new]))
    plan = run(make, d, [new], after_s=30)
    assert plan.requeue_after_s == 31
    status, _ = conclusion(run(make, d, [new], after_s=61))
    assert (condition(status, "Progressing")["status"], condition(status, "Progressing")["reason"]) == ("False", "ProgressDeadlineExceeded")
    one = make.changed(new, readyReplicas=1, availableReplicas=1)
    status, _ = conclusion(run(make, d, [one], after_s=59))
    assert condition(status, "Progressing")["reason"] == "ReplicaSetUpdated"
    assert condition(status, "Progressing")["lastUpdateTime"] == make.at(59)
    assert condition(status, "Progressing")["lastTransitionTime"] == condition(d["status"], "Progressing")["lastTransitionTime"]


def test_a_set_that_cannot_make_pods_is_reported(make):
    d = make.deployment(3)
    new = owned(make, d, "web-new", 3, available=0)
    new["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]
    status, _ = conclusion(run(make, d, [new]))
    assert condition(status, "ReplicaFailure")["message"] == "quota"


def test_a_selector_of_everything_is_refused_with_an_event(make):
    d = make.deployment(3)
    d["spec"]["selector"] = {}
    warning, update = run(make, d, []).steps
    assert warning.reason == "SelectingAll" and update.object["status"]["observedGeneration"] == 1


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [(10, "25%", "25%", (13, 8)), (1, "25%", "25%", (2, 1)), (3, 0, 0, (3, 2)), (0, "25%", "25%", (0, 0)), (2, 1, 5, (3, 0))],
)
def test_bounds(make, replicas, surge, unavailable, expected):
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    bounds = deployment_sizes.bounds(make.deployment(replicas, strategy=rolling))
    assert (bounds.max_total, bounds.min_available) == expected


def test_pods_that_an_old_set_is_still_deleting_are_not_counted_on(make):
    d = make.deployment(8, image="i:2", strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2}})
    old = owned(make, d, "web-old", 6, available=8)  # told to shrink to 6, has not deleted yet
    new = owned(make, d, "web-new", 2, image="i:2", revision="2")
    assert sizes(run(make, d, [old, new])) == {"web-old": 4}
