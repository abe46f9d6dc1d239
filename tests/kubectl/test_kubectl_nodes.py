"""`taint`, `cordon`, `uncordon` and `drain`, on simulated nodes.  Every test leaves the nodes as they were, for they are all tests'."""

import json
from collections.abc import Iterator

import pytest


@pytest.fixture
def node(live) -> Iterator[str]:
    yield "node-2"
    live("uncordon", "node-2")
    live.run("taint", "nodes", "node-2", "k-")


def pods_on(live, node: str) -> list[str]:
    return live("get", "pods", f"--field-selector=spec.nodeName={node}", "-o", "name").split()


def pin(live, node: str, replicas: int) -> None:
    """A deployment `web` whose pods prefer this node, and can go elsewhere.  Their label is the namespace: drain selects in all of them."""
    terms = [{"weight": 100, "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}}]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}
    template = {"metadata": {"labels": {"app": live.namespace}}, "spec": {"affinity": affinity, "containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": live.namespace}}, "template": template}
    live.ask(f"/apis/apps/v1/namespaces/{live.namespace}/deployments", {"metadata": {"name": "web"}, "spec": spec})
    live("rollout", "status", "deployment/web", "--timeout=30s")
    assert len(pods_on(live, node)) >= replicas - 1


def test_taints(live, node):
    assert live("taint", "nodes", node, "k=v:NoSchedule", "k=v:NoExecute") == f"node/{node} tainted\n"
    assert live("get", "node", node, "-o", "jsonpath={.spec.taints[*].effect}").split() == ["NoSchedule", "NoExecute"]
    assert "already has k taint(s) with same effect(s)" in live.fails("taint", "nodes", node, "k=w:NoSchedule")
    live("taint", "nodes", node, "k=w:NoSchedule", "--overwrite")
    live("taint", "nodes", node, "k:NoExecute-")
    assert json.loads(live("get", "node", node, "-o", "jsonpath={.spec.taints}")) == [{"effect": "NoSchedule", "key": "k", "value": "w"}]
    live("run", "p", "--image=nginx", "--overrides", json.dumps({"spec": {"nodeSelector": {"kubernetes.io/hostname": node}}}))
    live("wait", "pod/p", "--for=condition=PodScheduled=False", "--timeout=30s")
    assert "had untolerated taint" in live("get", "pod", "p", "-o", "jsonpath={.status.conditions[*].message}")
    assert live("taint", "nodes", node, "k-") == f"node/{node} untainted\n"
    live("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")


def test_cordon_and_uncordon(live, node):
    assert live("cordon", node) == f"node/{node} cordoned\n"
    assert live("cordon", node) == f"node/{node} already cordoned\n"
    assert live.table("get", "node", node)[1][1] == "Ready,SchedulingDisabled"
    live("run", "p", "--image=nginx", "--overrides", json.dumps({"spec": {"nodeSelector": {"kubernetes.io/hostname": node}}}))
    live("wait", "pod/p", "--for=condition=PodScheduled=False", "--timeout=30s")
    assert live("uncordon", "-l", f"kubernetes.io/hostname={node}") == f"node/{node} uncordoned\n"
    live("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")


def test_drain(live, node):
    pin(live, node, 2)
    live("run", "bare", "--image=nginx", f"--labels=bare={live.namespace}", "--overrides", json.dumps({"spec": {"nodeName": node}}))
    said = live("drain", node, f"--pod-selector=app={live.namespace}", "--timeout=30s")
    assert f"node/{node} cordoned" in said and "evicted" in said and f"node/{node} drained" in said
    assert pods_on(live, node) == ["pod/bare"]
    live("rollout", "status", "deployment/web", "--timeout=30s")
    selector = f"--pod-selector=bare={live.namespace}"
    assert "declare no controller" in live.fails("drain", node, selector, "--timeout=30s")
    live("drain", node, selector, "--force", "--timeout=30s")
    assert pods_on(live, node) == []


def test_a_drain_keeps_to_the_disruption_budget(live, node):
    pin(live, node, 2)
    live("create", "pdb", "web", f"--selector=app={live.namespace}", "--min-available=2")
    live("wait", "pdb/web", "--for=jsonpath={.status.currentHealthy}=2", "--timeout=30s")
    with live.start("drain", node, f"--pod-selector=app={live.namespace}") as draining:
        draining.until("Cannot evict pod as it would violate the pod's disruption budget", of="err")
    assert pods_on(live, node)
    assert live.table("get", "pdb", "web")[1][:4] == ["web", "2", "N/A", "0"]
    live("patch", "pdb", "web", "-p", '{"spec":{"minAvailable":1}}')
    live("drain", node, f"--pod-selector=app={live.namespace}", "--timeout=60s")
    assert pods_on(live, node) == []


def test_a_drain_leaves_daemons(live, node):
    template = {"metadata": {"labels": {"app": live.namespace}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"selector": {"matchLabels": {"app": live.namespace}}, "template": template}
    live.ask(f"/apis/apps/v1/namespaces/{live.namespace}/daemonsets", {"metadata": {"name": "agent"}, "spec": spec})
    live("rollout", "status", "daemonset/agent", "--timeout=30s")
    assert "cannot delete DaemonSet-managed Pods" in live.fails("drain", node, f"--pod-selector=app={live.namespace}", "--timeout=10s")
    assert "ignoring DaemonSet-managed Pods" in live.run("drain", node, "--ignore-daemonsets", f"--pod-selector=app={live.namespace}", "--timeout=10s").stderr
    assert len(pods_on(live, node)) == 1
