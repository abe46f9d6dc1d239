"""docs/machines.md, done: hosts of Debian 13 with SSH and a user with sudo, and nothing of ours, become a cluster by the commands written there.

Their kernel is this host's (nspawn machines): the releases' own programs are what this is about (systemd, Python 3.13, containerd).
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8sfromscratch.lab import kubectl
from k8sfromscratch.lab.spec import ROOT

pytestmark = [pytest.mark.vm, pytest.mark.timeout(2400)]

DEPLOY = (sys.executable, "-m", "pyinfra", "inventories/example_ssh.py", "deploy.py", "-y")


@dataclass(frozen=True)
class Own:
    directory: Path
    environment: dict[str, str]
    said: str
    """By the commands of the documentation."""

    @property
    def machines(self) -> Any:
        return yaml.safe_load((self.directory / "machines.yaml").read_text())

    def run(self, *words: str | Path, timeout_s: float = 1200, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in words],
            cwd=ROOT,
            env={**self.environment, "COLUMNS": "200", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def deploy(self, machines: Any = None, *words: str) -> subprocess.CompletedProcess[str]:
        file = self.directory / "changed.yaml"
        file.write_text(yaml.safe_dump(machines or self.machines))
        return self.run(*DEPLOY, *words, KFS_MACHINES=str(file))

    def ssh(self, name: str, command: str, user: str = "admin") -> subprocess.CompletedProcess[str]:
        listed = self.machines
        address = next(each["address"] for each in (*listed["masters"], *listed["workers"]) if each["name"] == name)
        options = [f"-oUserKnownHostsFile={listed['ssh']['known_hosts']}", "-oBatchMode=yes", "-oLogLevel=ERROR", f"-i{listed['ssh']['key']}"]
        return self.run("ssh", *options, f"{user}@{address}", command, timeout_s=120)

    def kubectl(self, *words: str) -> str:
        done = self.run(kubectl.ensure(), f"--kubeconfig={self.directory}/cluster/admin.kubeconfig", *words, timeout_s=120)
        assert done.returncode == 0, done.stderr
        return done.stdout


def documented(directory: Path) -> str:
    """All commands of the document as one script: about these machines."""
    text = (ROOT / "docs" / "machines.md").read_text()
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert len(commands) >= 6
    script = "\n".join(commands).replace(".clusters/example.yaml", f"{directory}/documented.yaml").replace(".clusters/example", f"{directory}/cluster")
    # Between the copying and the deploy: "and change it".
    return script.replace("export KFS_MACHINES", f"cp {directory}/machines.yaml {directory}/documented.yaml\nexport KFS_MACHINES")


@pytest.fixture(scope="module")
def own(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    needs("systemd-nspawn", "mmdebstrap", "ssh", root=True)
    directory = tmp_path_factory.mktemp("own")
    environment = {
        **os.environ,
        "KFS_LAB_DIR": str(directory / "lab"),
        "LAB_NAME": "own",
        "LAB_PROVIDER": "nspawn",
        "LAB_MACHINE_CIDR": "10.81.0.0/24",
        "LAB_WORKERS": "1",
        "LAB_MASTERS": "1",
        "PATH": f"{os.environ['PATH']}:{kubectl.ensure().parent}",
        "PYINFRA_PROGRESS": "off",
    }
    made = Own(directory, environment, "")
    try:
        up = made.run(sys.executable, "-m", "k8sfromscratch.testing.own_machines", "up", "trixie", directory)
        assert up.returncode == 0, up.stderr
        script = f"set -e\n{documented(directory)}"
        deployed = made.run("bash", "-c", script)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        yield Own(directory, environment, deployed.stdout + deployed.stderr)
    finally:
        assert made.run(sys.executable, "-m", "k8sfromscratch.testing.own_machines", "down").returncode == 0


def changed(said: str) -> tuple[str, str, str, str]:
    """Operations (run, changed, failed, unchanged) of a deploy, as its last table tells them."""
    total = re.findall(r"Grand total +(\d+) +(-|\d+) +(-|\d+) +(-|\d+)", said)
    assert total, said
    return total[-1]


def test_the_cluster_is_of_debian_13(own: Own) -> None:
    nodes = {node["metadata"]["name"]: node for node in json.loads(own.kubectl("get", "nodes", "-o", "json"))["items"]}
    assert nodes.keys() == {"master-1", "worker-1"}
    for node in nodes.values():
        assert "trixie" in node["status"]["nodeInfo"]["osImage"]
        assert next(each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready") == "True"
    assert "healthy" in own.said, "kfs status is the last command of the document"
    assert own.ssh("worker-1", "/opt/k8sfromscratch/bin/python --version").stdout.startswith("Python 3.13")


def test_a_pod_runs_and_finds_the_cluster(own: Own) -> None:
    image = ("--image=docker.io/library/busybox:latest", "--image-pull-policy=Never", "--restart=Never")
    own.kubectl("run", "asks", *image, "--", "nslookup", "kubernetes.default.svc.cluster.local")
    own.kubectl("wait", "pod/asks", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
    assert "10.96.0.1" in own.kubectl("logs", "asks")
    own.kubectl("delete", "pod", "asks", "--wait=true", "--timeout=60s")


def test_a_second_run_changes_nothing(own: Own) -> None:
    done = own.deploy()
    ran, changed_, failed, unchanged = changed(done.stdout + done.stderr)
    assert (changed_, failed, unchanged) == ("-", "-", ran)


def test_nothing_was_left_where_others_may_read(own: Own) -> None:
    assert own.ssh("master-1", "true", user="root").returncode != 0, "root has no way in"
    seen = own.ssh("master-1", "stat -c %a .k8sfromscratch-uploads; ls -A .k8sfromscratch-uploads; ls /tmp | grep pyinfra; true").stdout.split()
    assert seen == ["700"]


def test_who_cannot_be_reached_is_told_with_why_and_the_others_finish(own: Own) -> None:
    machines = own.machines
    wrong = own.directory / "wrong_key"
    own.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", wrong)
    address = machines["workers"][0]["address"]
    machines["workers"] = [
        {"name": "wrong-key", "address": "10.81.0.150", "ssh": {"host": address, "key": str(wrong)}},
        {"name": "not-there", "address": "10.81.0.151", "ssh": {"host": "127.0.0.1", "port": 1}},
        {"name": "no-sudo", "address": "10.81.0.152", "ssh": {"host": address, "sudo": False}},
        {"name": "not-it", "address": "10.81.0.153", "ssh": {"host": address}},
    ]
    done = own.deploy(machines)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    for part in (
        "is the user right, and this key among its authorized_keys?",
        "is it on, and does its SSH server listen at this address and port?",
        "commands run there as user 1000 and not as root: set `sudo: true`",
        "node_address 10.81.0.153 is none of its addresses",
    ):
        assert part in said, part
    assert changed(done.stdout + done.stderr)[1] == "-"
    assert "Checks | The cluster's DNS answers by its Service address 1 - - 1" in said, "the master finished"


def test_a_range_that_a_machine_uses_is_refused_before_anything_is_changed(own: Own) -> None:
    own.ssh("worker-1", "sudo ip address add 10.96.5.5/32 dev lo")
    try:
        done = own.deploy(None, "--fail-percent=0")
    finally:
        own.ssh("worker-1", "sudo ip address del 10.96.5.5/32 dev lo")
    assert done.returncode != 0
    assert "service_cidr 10.96.0.0/16 holds 10.96.5.5, its address on lo: choose another" in " ".join((done.stdout + done.stderr).split())
    assert "Starting operation: Base" not in done.stdout + done.stderr
