"""`kfs up` as people run it: a process, kubectl, an interrupt."""

import json
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from k8sfromscratch.testing.kfs_process import kfs_up


@pytest.fixture
def tools(needs: Callable[..., None]) -> None:
    needs("kubectl")


def test_a_deployment_becomes_ready_and_the_end_is_clean(tools: None, tmp_path: Path) -> None:
    with kfs_up(tmp_path, "--nodes", "2") as up:
        up.run("kubectl", "create", "deployment", "web", "--image=nginx", "--replicas=3")
        up.run("kubectl", "rollout", "status", "deployment/web", "--timeout=30s")
        pods = json.loads(up.run("kubectl", "get", "pods", "-o", "json"))["items"]
        assert [p["status"]["phase"] for p in pods] == ["Running"] * 3
        assert len({p["status"]["podIP"] for p in pods}) == 3
        listed = up.run("kubectl", "get", "nodes")
        assert listed.split()[:5] == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
        assert listed.count("Ready") == 2 and "v1.35" in listed
    assert not up.kubeconfig.exists(), "an in-memory cluster leaves nothing behind"


def test_readiness_is_seen_from_outside_without_credentials(tmp_path: Path) -> None:
    with kfs_up(tmp_path) as up:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(f"{up.server}/readyz", context=context) as reply:
            assert reply.status == 200 and reply.read() == b"ok"


def test_data_survives_in_a_data_directory(tools: None, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with kfs_up(tmp_path, "--data-dir", str(data), "--token", "secret") as up:
        up.run("kubectl", "create", "configmap", "kept", "--from-literal=a=b")
        assert up.kubeconfig == data / "admin.kubeconfig"
    with kfs_up(tmp_path, "--data-dir", str(data), "--token", "secret") as up:
        assert up.run("kubectl", "get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["up", "--port", "99999"], "'99999' is not a port"),
        (["up", "--nodes", "many"], "'many' is not a number of nodes"),
        (["up", "--data-dir", "/proc/none"], "the cluster cannot start"),
        (["down"], "invalid choice"),
    ],
)
def test_wrong_use_is_one_line_and_no_traceback(argv: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, "-m", "k8sfromscratch.cli", *argv], capture_output=True, text=True)
    assert done.returncode != 0
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with kfs_up(tmp_path) as up:
        port = up.server.rsplit(":", 1)[1]
        done = subprocess.run([sys.executable, "-m", "k8sfromscratch.cli", "up", "--port", port], capture_output=True, text=True)
    assert done.returncode == 1 and "address already in use" in done.stderr and "Traceback" not in done.stderr
