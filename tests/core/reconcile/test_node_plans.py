"""Nodes that fall silent, their taints, the pods driven from them, and their pod ranges."""

from ipaddress import ip_network

import pytest

from k8sfromscratch.core.reconcile import node_ipam, node_lifecycle, pod_gc, taint_eviction, taints
from k8sfromscratch.core.reconcile.node_lifecycle import Monitoring, ZoneState
from k8sfromscratch.core.reconcile.plan import Delete, Emit, Patch, Together, Update

OPTIONS = Monitoring()


def lease(renewed):
    return {"metadata": {"name": "n1"}, "spec": {"renewTime": renewed}}


def plan(make, node, *, silent_s=0.0, pods=(), others=(), after_s=0.0):
    health = node_lifecycle.Health("", "", make.later(after_s - silent_s))
    return node_lifecycle.plan(node, health, pods, [node, *others], make.later(after_s), OPTIONS)


def test_health_moves_only_when_the_node_says_something_new(make):
    node = make.node()
    first = node_lifecycle.observe(None, node, lease("t1"), make.now)
    assert first.probed_at == make.now
    silent = node_lifecycle.observe(first, node, lease("t1"), make.later(30))
    assert silent.probed_at == make.now
    assert node_lifecycle.observe(silent, node, lease("t2"), make.later(40)).probed_at == make.later(40)
    assert node_lifecycle.observe(silent, make.changed(node, conditions=[]), lease("t1"), make.later(50)).probed_at == make.later(50)


def test_a_node_that_never_spoke_counts_from_its_creation(make):
    assert node_lifecycle.observe(None, make.node(ready=None), None, make.now).probed_at == make.later(-1000)


def test_a_healthy_node_is_left_alone(make):
    result = plan(make, make.node(), silent_s=10)
    assert result.steps == () and result.requeue_after_s == 5


def test_looks_again_exactly_when_the_grace_ends(make):
    assert plan(make, make.node(), silent_s=48).requeue_after_s == 2


def test_a_silent_node_turns_unknown(make):
    (update,) = plan(make, make.node(), silent_s=51).steps
    assert isinstance(update, Update) and update.subresource == "status"
    conditions = {c["type"]: c for c in update.object["status"]["conditions"]}
    assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert conditions["Ready"]["message"] == "Kubelet stopped posting node status."
    assert conditions["Ready"]["lastTransitionTime"] == make.at(0)
    assert conditions["DiskPressure"]["reason"] == "NodeStatusNeverUpdated"
    assert update.done.reason == "NodeNotReady"


def test_an_unknown_node_is_tainted_and_its_pods_marked(make):
    pods = [make.pod("a", ready=True), make.pod("b", ready=False)]
    taint, together = plan(make, make.node(ready="Unknown"), silent_s=10, pods=pods, others=[make.node("n2")]).steps
    assert isinstance(taint, Patch) and isinstance(together, Together)
    assert taint.patch["spec"]["taints"] == [
        {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule", "timeAdded": make.at(0)},
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": make.at(0)},
    ]
    (mark,) = together.steps
    assert mark.name == "a" and mark.subresource == "status" and mark.patch["status"]["conditions"][0]["status"] == "False"
    assert mark.done.reason == "NodeNotReady"


def test_a_node_that_returns_loses_its_taints_and_keeps_those_of_others(make):
    mine = [{"key": taints.UNREACHABLE, "effect": effect, "timeAdded": make.at(-90)} for effect in ("NoSchedule", "NoExecute")]
    theirs = {"key": "team", "value": "a", "effect": "NoSchedule"}
    (patch,) = plan(make, make.node(taints=[*mine, theirs])).steps
    assert patch.patch["spec"]["taints"] == [theirs]


def test_unreachable_replaces_not_ready_and_keeps_evicting(make):
    node = make.node(ready="Unknown", taints=[{"key": taints.NOT_READY, "effect": "NoExecute", "timeAdded": make.at(-5)}])
    node["status"]["conditions"] += [{"type": t, "status": "Unknown"} for t in ("MemoryPressure", "DiskPressure", "PIDPressure")]
    (patch,) = plan(make, node, others=[make.node("n2")]).steps
    assert [(t["key"], t["effect"]) for t in patch.patch["spec"]["taints"]] == [(taints.UNREACHABLE, "NoSchedule"), (taints.UNREACHABLE, "NoExecute")]


def test_conditions_and_cordon_become_no_schedule_taints(make):
    node = make.node(unschedulable=True)
    node["status"]["conditions"].append({"type": "DiskPressure", "status": "True"})
    (patch,) = plan(make, node).steps
    assert [t["key"] for t in patch.patch["spec"]["taints"]] == ["node.kubernetes.io/disk-pressure", "node.kubernetes.io/unschedulable"]
    assert {t["effect"] for t in patch.patch["spec"]["taints"]} == {"NoSchedule"}


def test_nothing_is_driven_out_when_every_node_is_lost(make):
    lost = [make.node(f"n{i}", ready="Unknown", taints=[{"key": taints.UNREACHABLE, "effect": "NoExecute", "timeAdded": make.at(-5)}]) for i in range(3)]
    (patch,) = plan(make, lost[0], others=lost[1:]).steps
    assert [t["effect"] for t in patch.patch["spec"]["taints"]] == ["NoSchedule"]


def test_nodes_of_a_zone_are_tainted_one_at_a_time(make):
    earlier = make.node("n2", ready="Unknown", taints=[{"key": taints.UNREACHABLE, "effect": "NoExecute", "timeAdded": make.at(-4)}])
    ready = [make.node(f"ok{i}") for i in range(5)]
    result = plan(make, make.node(ready="Unknown"), others=[earlier, *ready])
    (patch,) = result.steps
    assert [t["effect"] for t in patch.patch["spec"]["taints"]] == ["NoSchedule"]
    assert node_lifecycle.eviction_allowed_in_s(make.node(ready="Unknown"), [earlier, *ready], make.now, OPTIONS) == 6


@pytest.mark.parametrize(
    ("ready", "lost", "state"),
    [(3, 0, ZoneState.NORMAL), (1, 2, ZoneState.NORMAL), (2, 3, ZoneState.PARTIAL_DISRUPTION), (0, 1, ZoneState.FULL_DISRUPTION), (4, 3, ZoneState.NORMAL)],
)
def test_zone_states(make, ready, lost, state):
    nodes = [make.node(f"r{i}") for i in range(ready)] + [make.node(f"l{i}", ready="Unknown") for i in range(lost)]
    assert node_lifecycle.zone_state(nodes, OPTIONS) is state


UNREACHABLE = {"key": taints.UNREACHABLE, "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": taints.UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}, True),
        ({"key": taints.UNREACHABLE, "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": taints.UNREACHABLE}, True),
        ({"key": taints.UNREACHABLE, "value": "x"}, False),
        ({"key": taints.NOT_READY, "operator": "Exists"}, False),
        ({"key": taints.UNREACHABLE, "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"value": ""}, False),
    ],
)
def test_tolerations(toleration, tolerated):
    assert taints.tolerates(toleration, UNREACHABLE) is tolerated


@pytest.mark.parametrize(
    ("tolerations", "left_s"),
    [
        ([], 0),
        ([{"key": taints.UNREACHABLE, "operator": "Exists", "tolerationSeconds": 300}], 200),
        ([{"key": taints.UNREACHABLE, "operator": "Exists", "tolerationSeconds": 50}], 0),
        ([{"operator": "Exists"}], None),
        ([{"key": "other", "operator": "Exists"}], 0),
    ],
)
def test_eviction_by_taint(make, tolerations, left_s):
    pod = make.pod("a", age_s=5000)
    pod["spec"]["tolerations"] = tolerations
    node = make.node(taints=[{**UNREACHABLE, "timeAdded": make.at(-100)}])
    result = taint_eviction.plan(pod, node, make.now, make.now)
    if left_s == 0:
        note, reason, delete = result.steps
        assert isinstance(note, Emit) and note.reason == "TaintManagerEviction"
        assert reason.patch["status"]["conditions"][-1]["reason"] == "DeletionByTaintManager"
        assert isinstance(delete, Delete) and delete.uid == pod["metadata"]["uid"] and delete.grace_period_s is None
    else:
        assert result.steps == () and result.requeue_after_s == left_s


def test_a_taint_without_a_time_counts_from_when_it_was_noticed(make):
    pod = make.pod("a")
    pod["spec"]["tolerations"] = [{"operator": "Exists", "tolerationSeconds": 60}]
    node = make.node(taints=[dict(UNREACHABLE)])
    assert taint_eviction.plan(pod, node, make.later(-20), make.now).requeue_after_s == 40


def test_pod_garbage(make):
    live, gone = make.node("n1"), "lost"
    out = make.node("out", ready="Unknown", taints=[{"key": taints.OUT_OF_SERVICE, "effect": "NoExecute"}])
    pods = [
        make.pod("fine"),
        make.pod("orphan", node=gone),
        make.pod("unscheduled-going", node="", deletionTimestamp=make.at(0)),
        make.pod("unscheduled", node=""),
        make.pod("stuck", node="out", deletionTimestamp=make.at(0)),
        make.pod("on-out", node="out"),
        make.pod("old-done", phase="Succeeded", age_s=900),
        make.pod("new-done", phase="Failed", age_s=100),
    ]
    result = pod_gc.plan(pods, {"n1": live, "out": out}, {gone}, make.now, terminated_threshold=1)
    deleted = {s.name: s.grace_period_s for s in result.steps if isinstance(s, Delete)}
    assert deleted == {"orphan": 0, "unscheduled-going": 0, "stuck": 0, "old-done": None}
    patched = {s.name: s.patch["status"]["phase"] for s in result.steps if isinstance(s, Patch)}
    assert patched == {"orphan": "Failed", "unscheduled-going": "Failed", "stuck": "Failed"}


def cidrs(result):
    return {s.name: s.patch["spec"]["podCIDR"] for s in result.steps if isinstance(s, Patch)}


def test_every_node_gets_a_range_of_its_own(make):
    pool = node_ipam.Pool(ip_network("10.244.0.0/16"), 24)
    has = make.node("has", podCIDR="10.244.1.0/24", podCIDRs=["10.244.1.0/24"])
    result = node_ipam.plan([make.node("b", age_s=10) if i else make.node("a", age_s=20) for i in range(2)] + [has], [pool])
    assert result.steps[0].name == "a"
    result = node_ipam.plan([make.node("a"), make.node("b"), has], [pool])
    assert cidrs(result) == {"a": "10.244.0.0/24", "b": "10.244.2.0/24"}
    assert node_ipam.plan([has], [pool]).steps == ()


def test_the_services_range_is_kept_free_and_the_end_of_the_range_is_said(make):
    pool = node_ipam.Pool(ip_network("10.0.0.0/22"), 24)
    result = node_ipam.plan([make.node(f"n{i}") for i in range(4)], [pool], [ip_network("10.0.1.0/25")])
    assert cidrs(result) == {"n0": "10.0.0.0/24", "n1": "10.0.2.0/24", "n2": "10.0.3.0/24"}
    assert [s.reason for s in result.steps if isinstance(s, Emit)] == ["CIDRNotAvailable"]


def test_dual_stack_ranges(make):
    pools = [node_ipam.Pool(ip_network("10.244.0.0/16"), 24), node_ipam.Pool(ip_network("fd00::/48"), 64)]
    (patch,) = node_ipam.plan([make.node("a")], pools).steps
    assert patch.patch["spec"] == {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd00::/64"]}


def test_an_impossible_mask_is_refused():
    with pytest.raises(ValueError, match="node mask size 12 must be between 16"):
        node_ipam.Pool(ip_network("10.244.0.0/16"), 12)
