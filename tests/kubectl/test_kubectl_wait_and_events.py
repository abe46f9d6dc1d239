"""`wait` and `events`: what is waited for is watched, by all releases (each lists and watches in its own way)."""

import json

from k8sfromscratch.components.kubelet.simulated import RUN_ANNOTATION


def test_for_a_condition_that_comes_true(release):
    release("run", "p", "--image=busybox")
    assert "timed out waiting for the condition on pods/p" in release.fails("wait", "pod/p", "--for=condition=Ready", "--timeout=1s")
    with release.start("wait", "pod/p", "--for=condition=Ready", "--timeout=30s") as waiting:
        status = {"status": {"phase": "Running", "podIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": "True"}]}}
        release("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", json.dumps(status))
        assert (waiting.line(), waiting.ends()) == ("pod/p condition met\n", 0)
    assert release("wait", "pod/p", "--for=condition=PodScheduled=false", "--timeout=0s", "--for=condition=Ready=True") == "pod/p condition met\n"


def test_for_a_value(release):
    release("run", "p", "--image=busybox")
    with release.start("wait", "pod/p", "--for=jsonpath={.status.phase}=Running", "--timeout=30s") as waiting:
        release("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Running"}}')
        assert (waiting.line(), waiting.ends()) == ("pod/p condition met\n", 0)
    if release.minor() >= 31:  # the form without a value: that there is one
        assert release("wait", "pod/p", "--for=jsonpath={.spec.containers[0].image}", "--timeout=5s") == "pod/p condition met\n"


def test_for_the_end(release):
    release("create", "configmap", "c")
    with release.start("wait", "configmap/c", "--for=delete", "--timeout=30s", "-v=6") as waiting:
        waiting.until("watch=true", of="err")
        release("delete", "configmap", "c")
        assert (waiting.line(), waiting.ends()) == ("configmap/c condition met\n", 0)
    assert "not found" in release.fails("wait", "configmap/c", "--for=condition=Ready", "--timeout=1s")


def test_for_the_creation(release):
    """From 1.31."""
    if release.minor() < 31:
        assert "unrecognized condition" in release.fails("wait", "configmap/c", "--for=create", "--timeout=1s")
        return
    with release.start("wait", "configmap/c", "--for=create", "--timeout=30s") as waiting:
        release("create", "configmap", "c")
        assert (waiting.line(), waiting.ends()) == ("configmap/c condition met\n", 0)


def test_for_several_at_once(live):
    live("create", "deployment", "one", "--image=nginx")
    live("create", "deployment", "two", "--image=nginx")
    said = live("wait", "deployment", "--all", "--for=condition=Available", "--timeout=30s")
    assert sorted(said.splitlines()) == ["deployment.apps/one condition met", "deployment.apps/two condition met"]
    assert len(live("wait", "pods", "-l", "app in (one,two)", "--for=condition=Ready", "--timeout=30s").splitlines()) == 2


def test_events(live_release):
    with live_release.start("events", "--watch") as watching:
        live_release("create", "deployment", "web", "--image=nginx")
        watching.until("from 0 to 1")
        heading, *rows = live_release.table("events", "--for=deployment/web")
        assert heading == ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
        assert [row[1:4] for row in rows] == [["Normal", "ScalingReplicaSet", "Deployment/web"]]
        listed = live_release.table("get", "events", "--field-selector=involvedObject.kind=Deployment,reason=ScalingReplicaSet")
        assert listed[0] == heading and listed[1][3] == "deployment/web"
        assert live_release("events", "--types=Warning").strip() == ""
        newer = live_release("get", "events.events.k8s.io", "--no-headers", "--field-selector=regarding.name=web")
        assert "ScalingReplicaSet" in newer
        live_release("scale", "deployment", "web", "--replicas=2")
        watching.until("from 1 to 2")


def test_events_of_pods_that_end(live):
    pod = {"metadata": {"name": "p", "annotations": {RUN_ANNOTATION: "0.1"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    with live.start("events", "--watch") as watching:
        live.ask(f"/api/v1/namespaces/{live.namespace}/pods", pod)
        watching.until("Successfully assigned")
    live("wait", "pod/p", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
    assert live.table("get", "pod", "p")[1][:3] == ["p", "0/1", "Completed"]
    assert "Successfully assigned" in live("events", "--for=pod/p")
