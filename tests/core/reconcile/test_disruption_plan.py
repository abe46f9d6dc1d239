"""PodDisruptionBudgets: how many pods may go now."""

import pytest

from k8sfromscratch.core.reconcile import disruption
from k8sfromscratch.core.reconcile.disruption import Scales
from k8sfromscratch.core.reconcile.plan import Emit, Update


def budget(make, status=None, **spec):
    spec["selector"] = {"matchLabels": {"app": "web"}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": make.meta("b"), "spec": spec, "status": status or {}}


def pods(make, ready, unready=0):
    owner = make.replica_set()
    return [make.pod(f"p{i}", ready=i < ready, owner=owner, labels={"app": "web"}) for i in range(ready + unready)]


def status_of(plan):
    (write,) = [step for step in plan.steps if isinstance(step, Update)]
    assert write.subresource == "status"
    return write.object["status"]


@pytest.mark.parametrize(
    ("spec", "ready", "unready", "scale", "expected", "desired", "allowed"),
    [
        ({"minAvailable": 2}, 3, 0, 0, 3, 2, 1),
        ({"minAvailable": 2}, 2, 1, 0, 3, 2, 0),
        ({"minAvailable": 5}, 3, 0, 0, 3, 5, 0),
        ({"minAvailable": "50%"}, 5, 0, 5, 5, 3, 2),
        ({"maxUnavailable": 1}, 3, 0, 3, 3, 2, 1),
        ({"maxUnavailable": 1}, 2, 1, 3, 3, 2, 0),
        ({"maxUnavailable": "30%"}, 4, 0, 4, 4, 2, 2),
        ({"maxUnavailable": 5}, 2, 0, 2, 2, 0, 2),
        # The pods of a workload that is scaled to nothing are none that anyone expects.
        ({"maxUnavailable": 1}, 1, 0, 0, 0, 0, 0),
    ],
)
def test_what_may_go(make, spec, ready, unready, scale, expected, desired, allowed):
    plan = disruption.plan(budget(make, **spec), pods(make, ready, unready), Scales({"uid": scale}), make.now)
    status = status_of(plan)
    found = {name: status[name] for name in ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")}
    assert found == {"expectedPods": expected, "currentHealthy": ready, "desiredHealthy": desired, "disruptionsAllowed": allowed}
    (condition,) = status["conditions"]
    assert (condition["status"], condition["reason"]) == (("True", "SufficientPods") if allowed else ("False", "InsufficientPods"))
    assert status["observedGeneration"] == 1
    again = disruption.plan(budget(make, status, **spec), pods(make, ready, unready), Scales({"uid": scale}), make.later(30))
    assert not again.steps


def test_a_granted_eviction_counts_until_the_pod_is_gone_or_two_minutes_are_over(make):
    mine = pods(make, 3)
    granted = budget(make, {"disruptedPods": {"p0": make.at(-10), "long-gone": make.at(-10)}}, minAvailable=2)
    plan = disruption.plan(granted, mine, Scales({}), make.now)
    assert (status_of(plan)["currentHealthy"], status_of(plan)["disruptionsAllowed"]) == (2, 0)
    assert status_of(plan)["disruptedPods"] == {"p0": make.at(-10)}
    assert plan.requeue_after_s == 110
    stayed = disruption.plan(granted, mine, Scales({}), make.later(111))
    assert "disruptedPods" not in status_of(stayed)
    assert status_of(stayed)["disruptionsAllowed"] == 1
    assert [step.reason for step in stayed.steps if isinstance(step, Emit)] == ["NotDeleted"]
    mine[0]["metadata"]["deletionTimestamp"] = make.at(0)
    going = status_of(disruption.plan(granted, mine, Scales({}), make.now))
    assert "disruptedPods" not in going
    assert going["currentHealthy"] == 2


def test_a_budget_whose_pods_cannot_be_counted_allows_none(make):
    present = {"currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3, "disruptionsAllowed": 1}
    plan = disruption.plan(budget(make, present, maxUnavailable=1), pods(make, 3), Scales({}, "jobs.batch does not implement the scale subresource"), make.now)
    assert status_of(plan)["disruptionsAllowed"] == 0
    assert status_of(plan)["conditions"][0]["reason"] == "SyncFailed"
    assert [step.reason for step in plan.steps if isinstance(step, Emit)] == ["CalculateExpectedPodCountFailed"]


def test_whoever_selects_nothing_is_told_so(make):
    plan = disruption.plan(budget(make, minAvailable=1), [], Scales({}), make.now)
    assert [step.reason for step in plan.steps if isinstance(step, Emit)] == ["NoPods"]
    assert status_of(plan)["disruptionsAllowed"] == 0
