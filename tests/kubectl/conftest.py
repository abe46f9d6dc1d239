"""Real kubectl against our own etcd and apiserver, each a process of its own, over TLS.

There is no controller and no node here: what is tested is the API and what kubectl makes of it.
"""

import base64
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from k8sfromscratch.process import pki

START_TIMEOUT_S = 60
_TOKEN = "the-administrator"


@dataclass
class Kubectl:
    """One kubectl, in one namespace."""

    kubeconfig: Path
    home: Path
    namespace: str = "default"
    program: str = "kubectl"
    timeout_s: float = 60

    def run(self, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [self.program, "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *words]
        env = {**os.environ, "HOME": str(self.home), "KUBECTL_COMMAND_HEADERS": "false"}
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=self.timeout_s, env=env, check=False)

    def __call__(self, *words: str, text: str | None = None) -> str:
        """Its output; it must succeed."""
        done = self.run(*words, text=text)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    def fails(self, *words: str, text: str | None = None) -> str:
        """What it says on standard error; it must fail."""
        done = self.run(*words, text=text)
        assert done.returncode != 0, f"kubectl {' '.join(words)} succeeded: {done.stdout}"
        return done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))


@dataclass
class Cluster:
    """`processes` by name; both are restarted on the same ports and data."""

    folder: Path
    etcd_port: int
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", f"k8sfromscratch.components.{name}", *words]
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def start_etcd(self) -> None:
        url = f"http://127.0.0.1:{self.etcd_port}"
        self.start("etcd", f"--data-dir={self.folder}/etcd", f"--listen-client-urls={url}", f"--advertise-client-urls={url}")

    def start_apiserver(self) -> None:
        self.start(
            "apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.folder}/server.crt",
            f"--tls-private-key-file={self.folder}/server.key",
            f"--client-ca-file={self.folder}/ca.crt",
            f"--token-auth-file={self.folder}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={self.folder}/sa.key",
        )

    def wait_ready(self) -> None:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise AssertionError(f"{name} ended: {(self.folder / f'{name}.log').read_text()}")
            try:
                with urllib.request.urlopen(f"https://127.0.0.1:{self.port}/readyz", context=context, timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)  # the last one started: that it ends is what else can happen
        raise AssertionError(f"not ready: {(self.folder / 'apiserver.log').read_text()}")

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_pki(folder: Path) -> None:
    now = datetime.now(UTC)
    ca_key, key = pki.make_key(), pki.make_key()
    ca = pki.issue(pki.Spec("kubernetes-ca", usages=(), ca=True), ca_key, None, now)
    authority = pki.Authority(ca, ca_key)
    server = pki.issue(pki.Spec("kube-apiserver", ip_addresses=("127.0.0.1",), usages=("server",)), key, authority, now)
    user_key = pki.make_key()
    user = pki.issue(pki.Spec("ann", organizations=("developers",), usages=("client",)), user_key, authority, now)
    for name, data in {
        "ca.crt": pki.certificate_pem(ca),
        "server.crt": pki.certificate_pem(server),
        "server.key": pki.key_pem(key),
        "ann.crt": pki.certificate_pem(user),
        "ann.key": pki.key_pem(user_key),
        "sa.key": pki.key_pem(pki.make_key()),
        "tokens.csv": f'{_TOKEN},admin,1,"system:masters"\n'.encode(),
    }.items():
        (folder / name).write_bytes(data)


def _write_kubeconfig(path: Path, cluster: Cluster, user: dict[str, str]) -> Path:
    authority = base64.b64encode((cluster.folder / "ca.crt").read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{cluster.port}", "certificate-authority-data": authority}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(scope="session")
def cluster(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    needs("kubectl")
    made = Cluster(tmp_path_factory.mktemp("cluster"), _free_port(), _free_port())
    _write_pki(made.folder)
    made.start_etcd()
    made.start_apiserver()
    try:
        made.wait_ready()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def admin(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    config = _write_kubeconfig(cluster.folder / "admin.kubeconfig", cluster, {"token": _TOKEN})
    return Kubectl(config, tmp_path_factory.mktemp("home"))


_NUMBERS = count()


@pytest.fixture
def kubectl(admin: Kubectl) -> Kubectl:
    """The administrator, in a namespace of the test's own, which has its default service account."""
    name = f"test-{next(_NUMBERS)}"
    admin("create", "namespace", name)
    admin("--namespace", name, "create", "serviceaccount", "default")
    return Kubectl(admin.kubeconfig, admin.home, name)


@pytest.fixture
def as_ann(cluster: Cluster, kubectl: Kubectl) -> Kubectl:
    """A user with a client certificate, who has no rights yet; in the same namespace."""
    user = {"client-certificate": str(cluster.folder / "ann.crt"), "client-key": str(cluster.folder / "ann.key")}
    return Kubectl(_write_kubeconfig(cluster.folder / "ann.kubeconfig", cluster, user), kubectl.home, kubectl.namespace)


@pytest.fixture(params=["1.27", "1.28", "1.29", "1.30", "1.31", "1.32", "1.33"])
def release(request: pytest.FixtureRequest, kubectl: Kubectl) -> Kubectl:
    """One kubectl release after the other, as far as they are beside the one on PATH."""
    found = shutil.which("kubectl")
    assert found is not None
    program = Path(found).resolve().parent / f"kubectl.{request.param}"
    if not program.exists():
        pytest.skip(f"kubectl {request.param} is not on this machine; the one on PATH is tested")
    return Kubectl(kubectl.kubeconfig, kubectl.home, kubectl.namespace, str(program))
