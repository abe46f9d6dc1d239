"""One pod a node: where, how it gets there, and how it is replaced."""

import pytest

from k8sfromscratch.core.reconcile import daemonset, history
from k8sfromscratch.core.reconcile.daemon_nodes import daemon_pod, node_of, should_run
from k8sfromscratch.core.reconcile.plan import Create, Delete, Patch, Together, Update


def daemon_set(make, *, image="i:1", update=None, template_spec=None, **spec):
    template = {"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": [{"name": "c", "image": image}], **(template_spec or {})}}
    strategy = update or {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    body = {"selector": {"matchLabels": {"app": "agent"}}, "template": template, "updateStrategy": strategy, **spec}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": make.meta("agent"), "spec": body, "status": {}}


def revision_of(make, ds, number=1):
    made = history.history(daemonset.DAEMON_SETS, ds, [], ()).update
    return {**made, "metadata": {**make.meta(made["metadata"]["name"]), **made["metadata"]}, "revision": number}


def pod_on(make, ds, node, revision, *, ready=True, phase="Running", bound=True, **meta):
    pod = make.pod(f"agent-{node}-{revision['revision']}", owner=ds, ready=ready, phase=phase, node=node if bound else "", **meta)
    pod["metadata"]["labels"] = {"app": "agent", history.REVISION_HASH: history.revision_hash(revision)}
    if not bound:
        pod["spec"]["affinity"] = daemon_pod(ds, node, "")["spec"]["affinity"]
    return pod


def run(make, ds, pods, revisions, nodes, after_s=0):
    plan = daemonset.plan(ds, pods, revisions, {r["metadata"]["name"] for r in revisions}, nodes, make.later(after_s))
    writes = [w for s in plan.steps for w in (s.steps if isinstance(s, Together) else (s,))]
    created = sorted(node_of(w.object) for w in writes if isinstance(w, Create) and w.resource.kind == "Pod")
    deleted = sorted(w.name for w in writes if isinstance(w, Delete) and w.resource.kind == "Pod")
    return created, deleted, plan


def status(plan):
    (update,) = plan.conclude(())
    assert isinstance(update, Update)
    return update.object["status"]


def nodes_of(make, *names):
    return [make.node(name) for name in names]


def test_every_node_gets_one_pod_and_the_template_a_revision(make):
    ds = daemon_set(make)
    created, deleted, plan = run(make, ds, [], [], nodes_of(make, "n1", "n2"))
    assert (created, deleted) == (["n1", "n2"], [])
    (revision,) = [s for s in plan.steps if isinstance(s, Create)]
    assert revision.object["revision"] == 1 and revision.object["data"]["spec"]["template"]["$patch"] == "replace"
    assert status(plan) == {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 2,
        "numberReady": 0,
        "observedGeneration": 1,
        "numberUnavailable": 2,
    }


def test_a_pod_goes_to_its_node_through_the_scheduler_and_tolerates_trouble(make):
    pod = daemon_pod(daemon_set(make), "n1", "abc")
    (term,) = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    assert {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"} in pod["spec"]["tolerations"]
    assert pod["metadata"]["labels"] == {"app": "agent", "controller-revision-hash": "abc"}


@pytest.mark.parametrize(
    ("template", "node", "expected"),
    [
        ({}, {}, (True, True)),
        ({"nodeSelector": {"disk": "ssd"}}, {}, (False, False)),
        ({"nodeSelector": {"disk": "ssd"}}, {"labels": {"disk": "ssd"}}, (True, True)),
        ({}, {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}, (False, True)),
        ({}, {"taints": [{"key": "gpu", "effect": "NoExecute"}]}, (False, False)),
        ({}, {"taints": [{"key": "gpu", "effect": "PreferNoSchedule"}]}, (True, True)),
        ({"tolerations": [{"key": "gpu", "operator": "Exists"}]}, {"taints": [{"key": "gpu", "effect": "NoExecute"}]}, (True, True)),
        ({}, {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]}, (True, True)),
        ({}, {"unschedulable": True, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}, (True, True)),
        ({"nodeName": "other"}, {}, (False, False)),
    ],
)
def test_where_it_runs(make, template, node, expected):
    assert should_run(daemon_set(make, template_spec=template), make.node("n1", **node)) == expected


@pytest.mark.parametrize(
    ("expressions", "expected"),
    [
        ([{"key": "cpu", "operator": "Gt", "values": ["4"]}], True),
        ([{"key": "cpu", "operator": "Lt", "values": ["4"]}], False),
        ([{"key": "zone", "operator": "NotIn", "values": ["a"]}], True),
        ([], False),
    ],
)
def test_node_affinity(make, expressions, expected):
    required = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    template = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}
    node = make.node("n1", labels={"cpu": "8", "zone": "b"})
    assert should_run(daemon_set(make, template_spec=template), node) == (expected, expected)


def test_a_settled_set_writes_nothing(make):
    ds = daemon_set(make)
    revision = revision_of(make, ds)
    nodes, pods = nodes_of(make, "n1", "n2"), [pod_on(make, ds, n, revision) for n in ("n1", "n2")]
    ds["status"] = status(run(make, ds, pods, [revision], nodes)[2])
    assert ds["status"]["numberAvailable"] == ds["status"]["updatedNumberScheduled"] == 2
    created, deleted, plan = run(make, ds, pods, [revision], nodes)
    assert (created, deleted, plan.conclude(())) == ([], [], ())


def test_a_pod_on_its_way_to_a_node_counts_as_there(make):
    ds = daemon_set(make)
    revision = revision_of(make, ds)
    pending = pod_on(make, ds, "n1", revision, ready=False, phase="Pending", bound=False)
    assert run(make, ds, [pending], [revision], nodes_of(make, "n1"))[:2] == ([], [])
    assert run(make, ds, [pending], [revision], nodes_of(make, "n2"))[:2] == (["n2"], [pending["metadata"]["name"]])


def test_waits_until_a_terminating_pod_is_gone(make):
    ds = daemon_set(make)
    revision = revision_of(make, ds)
    going = pod_on(make, ds, "n1", revision, deletionTimestamp=make.at(0))
    assert run(make, ds, [going], [revision], nodes_of(make, "n1"))[:2] == ([], [])


def test_leaves_a_node_that_it_must_not_run_on(make):
    ds = daemon_set(make)
    revision = revision_of(make, ds)
    tainted = make.node("n1", taints=[{"key": "gpu", "effect": "NoExecute"}])
    pod = pod_on(make, ds, "n1", revision)
    assert run(make, ds, [pod], [revision], [tainted])[:2] == ([], [pod["metadata"]["name"]])


def test_a_failed_pod_is_replaced_but_not_in_a_tight_loop(make):
    ds = daemon_set(make)
    revision = revision_of(make, ds)
    young = pod_on(make, ds, "n1", revision, phase="Failed", age_s=4)
    created, deleted, plan = run(make, ds, [young], [revision], nodes_of(make, "n1"))
    assert (created, deleted, plan.requeue_after_s) == ([], [], 6)
    assert run(make, ds, [young], [revision], nodes_of(make, "n1"), after_s=6)[1] == [young["metadata"]["name"]]


def test_rolls_one_node_at_a_time_and_broken_ones_first(make):
    old_set = daemon_set(make)
    old = revision_of(make, old_set)
    ds = {**daemon_set(make, image="i:2"), "metadata": old_set["metadata"]}
    nodes = nodes_of(make, "n1", "n2", "n3")
    pods = [pod_on(make, ds, n, old) for n in ("n1", "n2", "n3")]
    created, deleted, plan = run(make, ds, pods, [old], nodes)
    assert (created, deleted) == ([], ["agent-n1-1"])
    assert [s.object["revision"] for s in plan.steps if isinstance(s, Create)] == [2]
    pods[1] = pod_on(make, ds, "n2", old, ready=False)
    assert run(make, ds, pods, [old], nodes)[1] == ["agent-n2-1"], "n2 serves nobody: replacing it costs nothing, and uses up the budget"


def test_surge_starts_the_successor_before_the_old_pod_goes(make):
    surge = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    old_set = daemon_set(make)
    old = revision_of(make, old_set)
    ds = {**daemon_set(make, image="i:2", update=surge), "metadata": old_set["metadata"]}
    new = revision_of(make, ds, 2)
    nodes, pods = nodes_of(make, "n1", "n2"), [pod_on(make, ds, n, old) for n in ("n1", "n2")]
    assert run(make, ds, pods, [old, new], nodes)[:2] == (["n1"], [])
    starting = pod_on(make, ds, "n1", new, ready=False)
    assert run(make, ds, [*pods, starting], [old, new], nodes)[:2] == ([], [])
    started = pod_on(make, ds, "n1", new)
    assert run(make, ds, [*pods, started], [old, new], nodes)[:2] == ([], ["agent-n1-1"])


def test_on_delete_leaves_old_pods_alone(make):
    old_set = daemon_set(make)
    old = revision_of(make, old_set)
    ds = {**daemon_set(make, image="i:2", update={"type": "OnDelete"}), "metadata": old_set["metadata"]}
    assert run(make, ds, [pod_on(make, ds, "n1", old)], [old], nodes_of(make, "n1"))[:2] == ([], [])


def test_going_back_gives_the_old_revision_a_new_number(make):
    ds = daemon_set(make)
    first, second = revision_of(make, ds, 1), revision_of(make, {**daemon_set(make, image="i:2"), "metadata": ds["metadata"]}, 2)
    _, _, plan = run(make, ds, [], [first, second], [])
    (renumber,) = [s for s in plan.steps if isinstance(s, Patch)]
    assert (renumber.name, renumber.patch["revision"]) == (first["metadata"]["name"], 3)


def test_old_revisions_go_when_no_pod_has_them(make):
    ds = daemon_set(make, image="i:9", revisionHistoryLimit=1)
    present = revision_of(make, ds, 9)
    olds = [revision_of(make, {**daemon_set(make, image=f"i:{n}"), "metadata": ds["metadata"]}, n) for n in (1, 2, 3)]
    used = pod_on(make, ds, "n1", olds[0])
    _, _, plan = run(make, ds, [used], [*olds, present], [make.node("n1"), make.node("n2")])
    assert [s.name for s in plan.steps if isinstance(s, Delete)] == [olds[1]["metadata"]["name"]]
