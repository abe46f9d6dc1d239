"""`kubectl delete`, and what goes with what is deleted: where controllers and simulated nodes run.

The ways to cascade and to wait are tried with all releases: how a propagation policy is written and how a deletion is waited for changed.
"""

import pytest

from k8sfromscratch.components.kubelet.simulated import RUN_ANNOTATION

HELD = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"held","finalizers":["example.com/hold"]}}'


def deployment_with_pods(live) -> str:
    """A Deployment `web` with two running pods; the name of its ReplicaSet."""
    live("create", "deployment", "web", "--image=nginx", "--replicas=2")
    live("rollout", "status", "deployment/web", "--timeout=30s")
    return live("get", "replicasets", "-o", "name").strip()


def test_in_the_background_dependents_go_after_their_owner(live_release):
    owned = deployment_with_pods(live_release)
    pods = live_release("get", "pods", "-o", "name").split()
    assert live_release("delete", "deployment", "web", "--cascade=background").startswith('deployment.apps "web" deleted')
    live_release("wait", "--for=delete", owned, *pods, "--timeout=30s")
    assert live_release("get", "all", "-o", "name") == ""


def test_in_the_foreground_the_owner_goes_last(live_release):
    deployment_with_pods(live_release)
    live_release("delete", "deployment", "web", "--cascade=foreground", "--timeout=30s")
    assert live_release("get", "deployments,replicasets,pods", "-o", "name") == ""


def test_orphans_stay(live_release):
    owned = deployment_with_pods(live_release)
    live_release("delete", "deployment", "web", "--cascade=orphan")
    left = live_release.object("replicaset", owned.partition("/")[2])
    assert "ownerReferences" not in left["metadata"]
    assert len(live_release("get", "pods", "-o", "name").split()) == 2


def test_waiting_for_what_is_held(live_release):
    """--wait, the default, waits for finalizers; --wait=false does not; and a time that is up is an error."""
    live_release("create", "-f", "-", text=HELD)
    assert "timed out waiting for the condition" in live_release.fails("delete", "configmap", "held", "--timeout=1s")
    assert "deletionTimestamp" in live_release.object("configmap", "held")["metadata"]
    live_release("delete", "configmap", "held", "--wait=false")
    with live_release.start("wait", "configmap/held", "--for=delete", "--timeout=30s", "-v=6") as waiting:
        waiting.until("watch=true", of="err")
        live_release("patch", "configmap", "held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        assert waiting.line() == "configmap/held condition met\n" and waiting.ends() == 0


def test_what_is_selected(live):
    for name, label in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")):
        live.ask(f"/api/v1/namespaces/{live.namespace}/configmaps", {"metadata": {"name": name, "labels": {"l": label, "of": "test"}}})

    def left() -> str:
        return " ".join(name.partition("/")[2] for name in live("get", "configmaps", "-l", "of=test", "-o", "name").split())

    assert live("delete", "configmap", "-l", "l=x,of=test", "-o", "name").split() == ["configmap/a", "configmap/b"]
    assert left() == "c d"
    live("delete", "configmaps", "--field-selector=metadata.name=c")
    assert left() == "d"
    assert 'configmaps "c" not found' in live.fails("delete", "configmap", "c", "d")
    assert left() == ""
    live("delete", "configmap", "c", "--ignore-not-found")
    live("create", "secret", "generic", "s")
    live("delete", "configmaps,secrets", "--all")
    assert live("get", "secrets", "-o", "name") == ""
    live("create", "configmap", "e")
    assert "(server dry run)" in live("delete", "configmap/e", "--dry-run=server")
    assert live("delete", "--raw", f"/api/v1/namespaces/{live.namespace}/configmaps/e").startswith("{")
    assert "NotFound" in live.fails("get", "configmap", "e")


@pytest.mark.parametrize("words", [("--now",), ("--grace-period=0", "--force"), ("--grace-period=1",)])
def test_pods_go_with_their_grace(live, words):
    live("run", "p", "--image=busybox")
    live("wait", "pod/p", "--for=condition=Ready", "--timeout=30s")
    done = live.run("delete", "pod", "p", *words, "--timeout=30s")
    assert done.returncode == 0 and ("Immediate deletion does not wait" in done.stderr) == ("--force" in words)
    assert live("get", "pods", "-o", "name") == ""


def test_a_namespace_takes_everything_with_it(live):
    name = f"{live.namespace}-gone"
    live("create", "namespace", name)
    inside = live.but(namespace=name)
    inside("create", "deployment", "web", "--image=nginx")
    inside("create", "-f", "-", text=HELD)
    live("delete", "namespace", name, "--wait=false")
    live("wait", f"namespace/{name}", "--for=condition=NamespaceFinalizersRemaining", "--timeout=30s")
    refused = inside.fails("create", "configmap", "late")
    assert "because it is being terminated" in refused
    inside("patch", "configmap", "held", "--type=merge", "-p", '{"metadata":{"finalizers":[]}}')
    live("wait", f"namespace/{name}", "--for=delete", "--timeout=30s")
    assert "NotFound" in live.fails("get", "namespace", name)


def test_a_finished_job_takes_its_pods_with_it(live):
    template = {"metadata": {"annotations": {RUN_ANNOTATION: "0.1"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}
    live.ask(f"/apis/batch/v1/namespaces/{live.namespace}/jobs", {"metadata": {"name": "once"}, "spec": {"template": template}})
    live("wait", "job/once", "--for=condition=Complete", "--timeout=30s")
    assert live.table("get", "job", "once")[1][:3] == ["once", "Complete", "1/1"]
    (pod,) = live("get", "pods", "-l", "job-name=once", "-o", "name").split()
    live("delete", "job", "once")
    live("wait", "--for=delete", pod, "--timeout=30s")
