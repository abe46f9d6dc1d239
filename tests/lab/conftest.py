"""The running lab as tests see it: real kubectl from this host, SSH to the machines, a namespace of its own for every test module.

All times that tests give are those of machines that share this host's kernel; on virtual machines, which may have to do without KVM, they are
multiplied by `Lab.patience`.
"""

import copy
import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8sfromscratch.lab import kubectl
from k8sfromscratch.lab.providers import Provider, provider_for
from k8sfromscratch.lab.spec import load_spec
from tests.conftest import skip_or_fail

collect_ignore = [] if load_spec().masters > 1 else ["test_lab_masters.py"]


class Lab:
    """Commands against the lab.  All fail the test with what the program wrote, and none waits longer than its time limit."""

    def __init__(self, provider: Provider, program: Path) -> None:
        self.provider = provider
        self.spec = provider.spec
        self.patience = 1 if self.spec.provider == "nspawn" else 6
        self.masters = [machine.name for machine in self.spec.machines if machine.role == "master"]
        self.workers = [machine.name for machine in self.spec.machines if machine.role == "worker"]
        self._kubectl = [str(program), f"--kubeconfig={provider.kubeconfig}"]

    def through(self, master: str) -> "Lab":
        """The same lab by that master's apiserver, with the context that the administrator's kubeconfig has for it."""
        other = copy.copy(self)
        other._kubectl = [*self._kubectl, f"--context=kubernetes-admin@{self.spec.name}-{master}"]
        return other

    def kubectl(self, *words: str, stdin: str | bytes | None = None, timeout_s: float = 60, check: bool = True) -> str:
        done = self.kubectl_result(*words, stdin=stdin, timeout_s=timeout_s)
        if check and done.returncode != 0:
            pytest.fail(f"kubectl {' '.join(words)} ended with {done.returncode}:\n{done.stderr.decode()}{done.stdout.decode()}", pytrace=False)
        return done.stdout.decode()

    def kubectl_result(self, *words: str, stdin: str | bytes | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess[bytes]:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        return subprocess.run(
            [*self._kubectl, *(re.sub(r"^--timeout=(\d+)s$", self._longer, word) for word in words)],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            timeout=timeout_s * self.patience,
            check=False,
        )

    def _longer(self, option: re.Match[str]) -> str:
        return f"--timeout={int(option[1]) * self.patience}s"

    def kubectl_process(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._kubectl, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def ssh_argv(self, machine: str, command: str) -> list[str]:
        """Runs as root there."""
        return self.provider.access(self.spec.machine(machine)).argv(command)

    def ssh(self, machine: str, command: str, *, timeout_s: float = 60) -> str:
        argv = self.ssh_argv(machine, command)
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s * self.patience, check=False)
        if done.returncode != 0:
            pytest.fail(f"on {machine}: {command} ended with {done.returncode}:\n{done.stderr}{done.stdout}", pytrace=False)
        return done.stdout

    def invocations(self) -> dict[tuple[str, str], str]:
        """(machine, unit) → InvocationID, of every unit the roles made: it changes when a unit is started anew, and only then."""
        found = {}
        for machine in self.spec.machines:
            for line in self.ssh(machine.name, "cd /etc/systemd/system && grep -l KFS_INPUTS *.service | xargs systemctl show -p Id,InvocationID").split(
                "\n\n"
            ):
                values = dict(pair.split("=", 1) for pair in line.split())
                found[machine.name, values["Id"]] = values["InvocationID"]
        return found


class Namespace:
    """kubectl within one namespace."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name

    def kubectl(self, *words: str, **more: Any) -> str:
        return self.lab.kubectl("--namespace", self.name, *words, **more)

    def get(self, *words: str) -> Any:
        return self.lab.get("--namespace", self.name, *words)

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def pods(self, label: str) -> list[dict[str, Any]]:
        """Pods with that label that are not being deleted."""
        return [pod for pod in self.get("pods", "-l", label)["items"] if "deletionTimestamp" not in pod["metadata"]]


@pytest.fixture(scope="session")
def lab() -> Lab:
    if os.geteuid() != 0:
        skip_or_fail("root, for the lab's machines")
    provider = provider_for(load_spec())
    if not provider.kubeconfig.exists() or not provider.names():
        skip_or_fail("a running lab: `make lab` first")
    return Lab(provider, kubectl.ensure())


@pytest.fixture(scope="module")
def namespace(lab: Lab) -> Iterator[Namespace]:
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    lab.kubectl("create", "namespace", name)
    # A controller does it too, but for a pod that comes at once a busy machine's may do it too late.
    lab.kubectl("--namespace", name, "create", "serviceaccount", "default", check=False)
    yield Namespace(lab, name)
    lab.kubectl("delete", "namespace", name, "--timeout=90s", timeout_s=120)
