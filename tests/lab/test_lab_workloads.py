"""A Deployment's life, driven by kubectl as a person would."""

import json
import os
from collections import Counter

import pytest

from tests.lab.conftest import Lab, Namespace
from tests.lab.workloads import idle, web


@pytest.fixture(scope="module")
def deployed(namespace: Namespace) -> Namespace:
    """A Deployment `web` of six replicas, ready."""
    namespace.apply(web("web", replicas=6))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s", timeout_s=100)
    return namespace


def test_replicas_spread_over_both_workers(lab: Lab, deployed: Namespace) -> None:
    status = deployed.get("deployment", "web")["status"]
    assert status["readyReplicas"] == 6
    per_node = Counter(pod["spec"]["nodeName"] for pod in deployed.pods("app=web"))
    assert set(per_node) == set(lab.workers)
    assert min(per_node.values()) >= 2


def test_columns_of_get_are_the_usual_ones(deployed: Namespace) -> None:
    assert deployed.kubectl("get", "deployment", "web").split()[:5] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert deployed.kubectl("get", "deployment", "web").splitlines()[1].split()[:4] == ["web", "6/6", "6", "6"]
    assert deployed.kubectl("get", "pods").split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]


def test_logs(deployed: Namespace) -> None:
    pod = deployed.pods("app=web")[0]["metadata"]["name"]
    assert f"serving {pod}" in deployed.kubectl("logs", pod)


def test_exec_runs_a_command_and_passes_its_exit_code(deployed: Namespace) -> None:
    pod = deployed.pods("app=web")[0]["metadata"]["name"]
    assert deployed.kubectl("exec", pod, "--", "hostname").strip() == pod
    failed = deployed.lab.kubectl_result("--namespace", deployed.name, "exec", pod, "--", "sh", "-c", "echo to stderr >&2; exit 7")
    assert failed.returncode == 7
    assert b"to stderr" in failed.stderr


def test_a_file_goes_into_a_pod_by_exec_stdin(lab: Lab, namespace: Namespace) -> None:
    """`cat file | kubectl exec -i`: the end of the file must reach the program, or it never ends.

    The shell keeps its standard output open behind `cat`: containerd 1.6 closes the stdin of a program that closes its stdout.
    """
    namespace.apply(idle("shell", node=lab.workers[0]))
    namespace.kubectl("wait", "pod/shell", "--for=condition=Ready", "--timeout=60s", timeout_s=70)
    content = os.urandom(300_000)
    namespace.kubectl("exec", "-i", "shell", "--", "sh", "-c", "cat > /tmp/file; sync", stdin=content)
    done = lab.kubectl_result("--namespace", namespace.name, "exec", "shell", "--", "cat", "/tmp/file")
    assert done.stdout == content


def test_a_deleted_pod_is_replaced(deployed: Namespace) -> None:
    victim = deployed.pods("app=web")[0]["metadata"]["name"]
    deployed.kubectl("delete", "pod", victim)
    deployed.kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=6", "--timeout=60s", timeout_s=70)
    assert victim not in {pod["metadata"]["name"] for pod in deployed.pods("app=web")}


def test_scale_down_and_up(deployed: Namespace) -> None:
    for replicas in (2, 6):
        deployed.kubectl("scale", "deployment/web", f"--replicas={replicas}")
        deployed.kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout_s=70)
        # Enough are there, says `rollout status`; of those too many it says nothing.
        deployed.kubectl("wait", "deployment/web", f"--for=jsonpath={{.status.replicas}}={replicas}", "--timeout=60s", timeout_s=70)
        assert len(deployed.pods("app=web")) == replicas


def test_a_new_template_rolls_out_and_can_be_undone(deployed: Namespace) -> None:
    deployed.kubectl("set", "env", "deployment/web", "COLOR=blue")
    deployed.kubectl("rollout", "status", "deployment/web", "--timeout=90s", timeout_s=100)
    pod = deployed.pods("app=web")[0]["metadata"]["name"]
    assert deployed.kubectl("exec", pod, "--", "sh", "-c", "echo $COLOR").strip() == "blue"
    deployed.kubectl("rollout", "undo", "deployment/web")
    deployed.kubectl("rollout", "status", "deployment/web", "--timeout=90s", timeout_s=100)
    assert "env" not in deployed.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]


def test_a_wrong_manifest_gets_the_field_and_the_reason(namespace: Namespace) -> None:
    manifest = web("wrong")
    manifest["spec"]["replicas"] = "many"
    done = namespace.lab.kubectl_result("--namespace", namespace.name, "create", "--validate=false", "-f", "-", stdin=json.dumps(manifest))
    assert done.returncode != 0
    assert b"spec.replicas" in done.stderr


def test_deleting_the_deployment_deletes_its_pods(deployed: Namespace) -> None:
    deployed.kubectl("delete", "deployment", "web")
    deployed.kubectl("wait", "pods", "-l", "app=web", "--for=delete", "--timeout=60s", timeout_s=70)
    assert deployed.get("pods", "-l", "app=web")["items"] == []
