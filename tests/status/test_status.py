"""`kfs status`: what it shows of a real cluster, and what it makes of one that is not well."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from k8sfromscratch.status.gather import ClusterStatus, Component, Leader, Node
from k8sfromscratch.status.store import Certificate, Member
from k8sfromscratch.status.view import draw
from k8sfromscratch.testing.kfs_process import kfs_up

KFS = (sys.executable, "-m", "k8sfromscratch.cli")


def drawn(status: ClusterStatus) -> str:
    console = Console(file=io.StringIO(), width=160)
    draw(status, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_cluster_that_runs(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("kubectl")
    with kfs_up(tmp_path, "--nodes", "2") as up:
        for command in (["create", "deployment", "web", "--image=nginx", "--replicas=3"], ["rollout", "status", "deployment/web", "--timeout=30s"]):
            up.run("kubectl", *command)
        shown = up.run(*KFS, "status")
    first = shown.splitlines()[0]
    assert up.server in first and "v1.35" in first and first.endswith("healthy")
    assert shown.count("True") == 2 and "3 Running" in shown
    assert "apiserver" in shown.partition("Certificates")[2]
    rows = {line.split()[0]: line.split()[-1] for line in shown.partition("Components")[2].partition("\n\n")[0].splitlines() if line.strip()}
    assert rows["kube-apiserver"] == "1/1" and rows["kubelet"] == rows["kube-proxy"] == "2/2"


def test_a_cluster_that_does_not_answer_is_told_in_words(tmp_path: Path) -> None:
    with kfs_up(tmp_path, "--data-dir", str(tmp_path / "data")) as up:
        pass
    done = up.result(*KFS, "status")
    assert done.returncode == 1
    assert "does not answer" in done.stdout and "nodes: " in done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize(("text", "said"), [("{", "is not YAML"), ("{}", "has no current-context")])
def test_a_wrong_kubeconfig_is_named(tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    from k8sfromscratch.cli import main

    file = tmp_path / "config"
    file.write_text(text)
    assert main(["status", "--kubeconfig", str(file)]) == 2
    assert str(file) in capsys.readouterr().err


def test_what_is_wrong_is_shown() -> None:
    status = ClusterStatus(
        "https://192.0.2.1:6443",
        "v1.35.0",
        {"ping": True, "etcd": False},
        [Node("worker-1", (), "Unknown", "Kubelet stopped posting node status.", False, "v1.35.0", "containerd://1.6", "192.0.2.9", 4)],
        [Component("coredns", "abc123", 1, 2)],
        [
            Member("master-1", "https://192.0.2.11:2379", "3.5.0", leader=True, size_bytes=2_500_000),
            Member("master-2", "https://192.0.2.12:2379", why="it did not answer within 5 s"),
        ],
        [Leader("kube-scheduler", "master-1", 40.0, 15.0), Leader("kube-controller-manager", "", float("inf"), 15.0)],
        [Certificate("apiserver", -1.0), Certificate("yours", 12.0)],
        {"default": {"Running": 1, "CrashLoopBackOff": 2}},
        ["pods: forbidden"],
    )
    assert not status.healthy
    shown = drawn(status)
    for said in (
        "needs a look",
        "not ready: etcd",
        "Unknown, cordoned",
        "Kubelet stopped posting",
        "40 s ago",
        "nobody",
        "expired",
        "2 CrashLoopBackOff",
        "pods: forbidden",
        "1/2",
        "it did not answer within 5 s",
    ):
        assert said in shown, (said, shown)
    assert next(line.split()[:2] for line in shown.splitlines() if "2.5 MB" in line) == ["master-1", "leader"]


def test_only_a_whole_cluster_is_healthy() -> None:
    node = Node("n", (), "True", "", True, "", "", "", 0)
    leader = Leader("kube-scheduler", "m", 1.0, 15.0)
    component, member = Component("coredns", "", 2, 2), Member("master-1", "u", leader=True)
    well = ClusterStatus("s", "v", {"ping": True}, [node], [component], [member], [leader])
    assert well.healthy
    assert not ClusterStatus("s", "v", {}, [node]).healthy
    assert not ClusterStatus("s", "v", {"ping": False}, [node]).healthy
    assert not ClusterStatus("s", "v", {"ping": True}, [node], leaders=[Leader("kube-scheduler", "m", 16.0, 15.0)]).healthy
    assert not ClusterStatus("s", "v", {"ping": True}, [node], [Component("coredns", "", 1, 2)]).healthy
    assert not ClusterStatus("s", "v", {"ping": True}, [node], members=[Member("master-2", "u", why="down")]).healthy
