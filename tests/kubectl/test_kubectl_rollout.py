"""`kubectl rollout` on deployments, daemon sets and stateful sets, where controllers and simulated nodes run."""

import json

import pytest

KINDS = ("deployment", "daemonset", "statefulset")


def make(live, kind: str) -> None:
    """`web`, at revision 2: first with nginx:1, then with nginx:2."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx:1"}]}}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    if kind != "daemonset":
        spec["replicas"] = 2
    body = {"apiVersion": "apps/v1", "kind": {"deployment": "Deployment", "daemonset": "DaemonSet", "statefulset": "StatefulSet"}[kind]}
    live("create", "-f", "-", text=json.dumps({**body, "metadata": {"name": "web"}, "spec": spec}))
    live("rollout", "status", f"{kind}/web", "--timeout=30s")
    live("set", "image", f"{kind}/web", "web=nginx:2")
    live("annotate", f"{kind}/web", "kubernetes.io/change-cause=to the second")


def pods(live) -> list[dict]:
    """Without those that are on their way out, which a rollout does not wait for."""
    return [pod for pod in live.json("get", "pods", "-l", "app=web")["items"] if "deletionTimestamp" not in pod["metadata"]]


def images(live) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in pods(live)}


@pytest.mark.parametrize("kind", KINDS)
def test_status_waits_for_the_rollout(live, kind):
    make(live, kind)
    said = live("rollout", "status", f"{kind}/web", "--timeout=30s")
    assert (
        said.splitlines()[-1]
        in (
            'deployment "web" successfully rolled out',
            'daemon set "web" successfully rolled out',
            "partitioned roll out complete: 2 new pods have been updated...",
        )
        or "statefulset rolling update complete 2 pods at revision web-" in said
    )
    assert images(live) == {"nginx:2"}
    revisions = live("rollout", "history", f"{kind}/web").splitlines()
    assert [line.split()[0] for line in revisions[2:] if line] == ["1", "2"]
    assert "nginx:1" in live("rollout", "history", f"{kind}/web", "--revision=1")
    assert "unable to find" in live.fails("rollout", "history", f"{kind}/web", "--revision=9")


@pytest.mark.parametrize("kind", KINDS)
def test_undo_goes_back(live, kind):
    make(live, kind)
    live("rollout", "status", f"{kind}/web", "--timeout=30s")
    assert "rolled back" in live("rollout", "undo", f"{kind}/web")
    live("rollout", "status", f"{kind}/web", "--timeout=30s")
    assert images(live) == {"nginx:1"}
    live("rollout", "undo", f"{kind}/web", "--to-revision=2")
    live("rollout", "status", f"{kind}/web", "--timeout=30s")
    assert images(live) == {"nginx:2"}
    history = [line.split()[0] for line in live("rollout", "history", f"{kind}/web").splitlines()[2:] if line]
    assert history == ["3", "4"]
    assert "unable to find specified revision" in live.fails("rollout", "undo", f"{kind}/web", "--to-revision=9")


@pytest.mark.parametrize("kind", KINDS)
def test_restart_makes_new_pods(live, kind):
    make(live, kind)
    live("rollout", "status", f"{kind}/web", "--timeout=30s")
    before = {pod["metadata"]["uid"] for pod in pods(live)}
    assert live("rollout", "restart", f"{kind}/web").endswith("restarted\n")
    live("rollout", "status", f"{kind}/web", "--timeout=30s")
    after = {pod["metadata"]["uid"] for pod in pods(live) if pod["status"]["phase"] == "Running"}
    assert after and not (after & before)


def test_a_paused_deployment_rolls_on_when_resumed(live):
    make(live, "deployment")
    live("rollout", "status", "deployment/web", "--timeout=30s")
    assert live("rollout", "pause", "deployment/web") == "deployment.apps/web paused\n"
    live("set", "image", "deployment/web", "web=nginx:3")
    live("set", "env", "deployment/web", "A=B")
    assert "already paused" in live.fails("rollout", "pause", "deployment/web")
    assert "cannot restart paused deployment" in live.run("rollout", "restart", "deployment/web").stderr.replace("can't", "cannot")
    assert "cannot rollback a paused deployment" in live.fails("rollout", "undo", "deployment/web")
    live("wait", "deployment/web", "--for=jsonpath={.status.observedGeneration}=5", "--timeout=30s")
    assert images(live) == {"nginx:2"}
    live("rollout", "resume", "deployment/web")
    live("rollout", "status", "deployment/web", "--timeout=30s")
    assert images(live) == {"nginx:3"}
    assert [line.split()[0] for line in live("rollout", "history", "deployment/web").splitlines()[2:] if line] == ["1", "2", "3"]


def test_a_rollout_that_makes_no_progress_fails(live):
    live("create", "deployment", "web", "--image=nginx", "--replicas=1")
    stuck = {"spec": {"progressDeadlineSeconds": 1, "template": {"spec": {"nodeSelector": {"no": "where"}}}}}
    live("rollout", "status", "deployment/web", "--timeout=30s")
    live("patch", "deployment", "web", "-p", json.dumps(stuck))
    assert 'deployment "web" exceeded its progress deadline' in live.fails("rollout", "status", "deployment/web", "--timeout=30s")
