"""Real kubectl against our real servers, over TLS.

    kubectl, release            our etcd and apiserver, each a process of its own; no controller, no node: what is tested is the API
                                and what kubectl makes of it
    live, live_release          `kfs up`: with controllers, scheduler and simulated nodes, for what is about their work
    containers/conftest.py      with a kubelet and a containerd too, for logs, exec and their like

`kubectl` and `live` are the newest release on the machine, for most commands are only a client of the API.  `release` and `live_release`
run a test once for each release there is: for what a release does in its own way (which patch it sends, which discovery, OpenAPI or
streaming protocol it asks for, which version of a kind it creates, what it prints itself); each such test says why.
"""

import base64
import contextlib
import json
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

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from k8sfromscratch.api.registry import NAMESPACES, SERVICE_ACCOUNTS
from k8sfromscratch.process import pki
from k8sfromscratch.testing.kubectl import RELEASES, Kubectl
from k8sfromscratch.testing.ports import free_port

START_TIMEOUT_S = 60
LIVE_NODES = 3
NODE = "machine"
"""The real kubelet's."""
_TOKEN = "the-administrator"


@dataclass
class Cluster:
    """`processes` by name; both are restarted on the same ports and data."""

    folder: Path
    etcd_port: int
    peer_port: int
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", f"k8sfromscratch.components.{name}", *words]
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def start_etcd(self) -> None:
        url, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self.peer_port}"
        peers = (f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}")
        self.start("etcd", f"--data-dir={self.folder}/etcd", f"--listen-client-urls={url}", f"--advertise-client-urls={url}", *peers)

    def start_kubelet(self, runtime: str) -> None:
        """A real one, on the runtime at that endpoint; its port is the system's choice."""
        self.start(
            "kubelet",
            f"--kubeconfig={write_kubeconfig(self.folder / 'kubelet.kubeconfig', self, {'token': NODE})}",
            f"--hostname-override={NODE}",
            "--node-ip=127.0.0.1",
            "--address=127.0.0.1",
            "--port=0",
            "--healthz-port=0",
            f"--container-runtime-endpoint={runtime}",
            f"--root-dir={self.folder}/kubelet",
            f"--tls-cert-file={self.folder}/kubelet.crt",
            f"--tls-private-key-file={self.folder}/kubelet.key",
            f"--client-ca-file={self.folder}/ca.crt",
        )

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
            f"--kubelet-client-certificate={self.folder}/kubelet-client.crt",
            f"--kubelet-client-key={self.folder}/kubelet-client.key",
            f"--kubelet-certificate-authority={self.folder}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
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


def _write_pki(folder: Path) -> None:
    now = datetime.now(UTC)
    ca_key = pki.make_key()
    ca = pki.issue(pki.Spec("kubernetes-ca", usages=(), ca=True), ca_key, None, now)
    (folder / "ca.crt").write_bytes(pki.certificate_pem(ca))
    for name, spec in {
        "server": pki.Spec("kube-apiserver", ip_addresses=("127.0.0.1",), usages=("server",)),
        "kubelet": pki.Spec(f"system:node:{NODE}", ip_addresses=("127.0.0.1",), usages=("server",)),
        "kubelet-client": pki.Spec("kube-apiserver-kubelet-client", organizations=("system:masters",), usages=("client",)),
        "ann": pki.Spec("ann", organizations=("developers",), usages=("client",)),
    }.items():
        key = pki.make_key()
        (folder / f"{name}.crt").write_bytes(pki.certificate_pem(pki.issue(spec, key, pki.Authority(ca, ca_key), now)))
        (folder / f"{name}.key").write_bytes(pki.key_pem(key))
    (folder / "sa.key").write_bytes(pki.key_pem(pki.make_key()))
    (folder / "tokens.csv").write_text(f'{_TOKEN},admin,1,"system:masters"\n{NODE},system:node:{NODE},2,"system:nodes"\n')


def write_kubeconfig(path: Path, cluster: Cluster, user: dict[str, str]) -> Path:
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
    made = Cluster(tmp_path_factory.mktemp("cluster"), free_port(), free_port(), free_port())
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
    config = write_kubeconfig(cluster.folder / "admin.kubeconfig", cluster, {"token": _TOKEN})
    return Kubectl(config, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def live_admin(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """The administrator of `kfs up`: controllers, scheduler and three simulated nodes."""
    needs("kubectl")
    command = [sys.executable, "-m", "k8sfromscratch.cli", "up", f"--nodes={LIVE_NODES}", f"--token={_TOKEN}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("ready in ")
            admin = Kubectl(Path(process.stdout.readline().strip().partition("KUBECONFIG=")[2]), tmp_path_factory.mktemp("home"))
            with admin.start("get", "nodes", "--watch", "--no-headers") as nodes:
                ready: set[str] = set()
                while len(ready) < LIVE_NODES:
                    name, status = nodes.line().split()[:2]
                    ready |= {name} if status == "Ready" else set()
            yield admin
        finally:
            process.terminate()


_NUMBERS = count()


def _in_new_namespace(admin: Kubectl, *, account: bool) -> Kubectl:
    """Through the API: two kubectls a test would be a third of the suite's time."""
    name = f"test-{next(_NUMBERS)}"
    made = admin.but(namespace=name)
    made.ask(NAMESPACES.path(), {"metadata": {"name": name}})
    if account:
        made.ask(SERVICE_ACCOUNTS.path(name), {"metadata": {"name": "default"}})
    return made


@pytest.fixture
def kubectl(admin: Kubectl) -> Kubectl:
    """The newest kubectl there is: the administrator, in a namespace of the test's own, which has its default service account."""
    return _in_new_namespace(admin, account=True)


@pytest.fixture
def live(live_admin: Kubectl) -> Iterator[Kubectl]:
    """The same where controllers and simulated nodes run; the namespace goes after the test, and its pods with it."""
    made = _in_new_namespace(live_admin, account=False)
    yield made
    made.ask(NAMESPACES.path(name=made.namespace), method="DELETE")


@pytest.fixture(params=list(RELEASES))
def release(request: pytest.FixtureRequest, kubectl: Kubectl) -> Kubectl:
    """One kubectl release after the other, as far as they are on this machine."""
    return kubectl.but(program=RELEASES[request.param], release=request.param)


@pytest.fixture(params=list(RELEASES))
def live_release(request: pytest.FixtureRequest, live: Kubectl) -> Kubectl:
    return live.but(program=RELEASES[request.param], release=request.param)


@pytest.fixture
def as_ann(cluster: Cluster, kubectl: Kubectl) -> Kubectl:
    """A user with a client certificate, who has no rights yet; in the same namespace."""
    user = {"client-certificate": str(cluster.folder / "ann.crt"), "client-key": str(cluster.folder / "ann.key")}
    return kubectl.but(kubeconfig=write_kubeconfig(cluster.folder / "ann.kubeconfig", cluster, user))


@pytest.fixture(scope="session")
def signing_request() -> str:
    """A certificate signing request of eve of the developers, as the API takes it."""
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "developers"), x509.NameAttribute(NameOID.COMMON_NAME, "eve")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(pki.make_key(), hashes.SHA256())
    return base64.b64encode(request.public_bytes(Encoding.PEM)).decode()
