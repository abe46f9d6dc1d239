"""What people bring along: client libraries, an operator, helm.  Each is pointed at a cluster of `kfs up`, as they would do it."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Cluster:
    kubeconfig: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.home)}

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Its output; it must succeed."""
        done = subprocess.run(command, env=self.environment, input=stdin, text=True, capture_output=True, timeout=90, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *command: str) -> str:
        """What it says on standard error; it must fail."""
        done = subprocess.run(command, env=self.environment, text=True, capture_output=True, timeout=90, check=False)
        assert done.returncode != 0, f"{' '.join(command)} succeeded: {done.stdout}"
        return done.stderr


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests here: each works in a namespace of its own."""
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "k8sfromscratch.cli", "up", "--nodes", "2", "--data-dir", str(home / "data")]
    with (home / "kfs.log").open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        ready = re.match(r"ready in [\d.]+ s: \S+", process.stdout.readline())
        assert ready, (home / "kfs.log").read_text()
        yield Cluster(home / "data" / "admin.kubeconfig", home)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert "Traceback" not in (home / "kfs.log").read_text()


@pytest.fixture
def namespace(cluster: Cluster, needs: Callable[..., None]) -> Iterator[str]:
    needs("kubectl")
    name = f"clients-{uuid.uuid4().hex[:8]}"
    cluster.run("kubectl", "create", "namespace", name)
    yield name
    cluster.run("kubectl", "delete", "namespace", name, "--wait=false")
