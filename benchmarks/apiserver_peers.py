"""Starts an apiserver and its store, ours or upstream's, as a user would: processes, TLS, token authentication, RBAC.

    with running(Peer.UPSTREAM, folder) as cluster:      etcd + kube-apiserver; cluster.request(...), cluster.cpu_s(), cluster.rss_mb()

The client who makes the load is no administrator: he has his rights by a ClusterRoleBinding, so that every request is judged.
"""

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from measuring import cpu_s, free_port, process, rss_mb, server_python

from k8sfromscratch.process import pki

ADMIN_TOKEN, CLIENT_TOKEN, CLIENT = "admin-token", "client-token", "load"
NAMESPACE = "bench"
START_S = 60.0


class Peer(Enum):
    """Who serves, and what it stores in."""

    OURS = "ours"
    OURS_ALL = "ours, our etcd"
    UPSTREAM = "upstream"


@dataclass(slots=True)
class Cluster:
    folder: Path
    port: int
    etcd: subprocess.Popen[bytes]
    apiserver: subprocess.Popen[bytes]

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    def request(self, path: str, body: Any = None, *, token: str = ADMIN_TOKEN) -> Any:
        """GET, or POST of a body.  Raises OSError (urllib's HTTPError for a refusal)."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data, headers)
        with urllib.request.urlopen(asked, context=context, timeout=10) as answer:
            return answer.read()

    def cpu_s(self) -> tuple[float, float]:
        """Processor time used so far by the apiserver and by its etcd."""
        return cpu_s(self.apiserver.pid), cpu_s(self.etcd.pid)

    def rss_mb(self) -> float:
        """The apiserver's memory; the store is the same process on both sides of the ratio."""
        return rss_mb(self.apiserver.pid)


def upstream_apiserver() -> str | None:
    """Upstream's kube-apiserver: $KFS_UPSTREAM_APISERVER, or on PATH."""
    return os.environ.get("KFS_UPSTREAM_APISERVER") or shutil.which("kube-apiserver")


@contextlib.contextmanager
def running(peer: Peer, folder: Path) -> Iterator[Cluster]:
    """A cluster that is ready and has the namespace; everything is stopped behind it."""
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    _write_files(folder)
    client_url, peer_url = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
    member = ["etcd"] if peer is not Peer.OURS_ALL else [*server_python(), "-m", "k8sfromscratch.components.etcd"]
    listen = [f"--listen-client-urls={client_url}", f"--advertise-client-urls={client_url}", f"--listen-peer-urls={peer_url}"]
    etcd = [
        *member,
        "--name=default",
        f"--data-dir={folder}/etcd",
        *listen,
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
    ]
    program = [upstream_apiserver() or "kube-apiserver"] if peer is Peer.UPSTREAM else [*server_python(), "-m", "k8sfromscratch.components.apiserver"]
    apiserver = [
        *program,
        f"--etcd-servers={client_url}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={folder}/server.crt",
        f"--tls-private-key-file={folder}/server.key",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={folder}/sa.key",
        f"--service-account-key-file={folder}/sa.key",
        "--service-cluster-ip-range=10.96.0.0/12",
    ]
    with (folder / "log").open("wb") as log, contextlib.ExitStack() as stack:
        processes = [stack.enter_context(process(argv, log)) for argv in (etcd, apiserver)]
        cluster = Cluster(folder, port, *processes)
        _wait_ready(cluster)
        _prepare(cluster)
        yield cluster


def _wait_ready(cluster: Cluster) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        if cluster.etcd.poll() is not None or cluster.apiserver.poll() is not None:
            break
        with contextlib.suppress(OSError):
            cluster.request("/readyz")
            return
        time.sleep(0.1)
    raise SystemExit(f"the servers did not start:\n{(cluster.folder / 'log').read_text()[-4000:]}")


def _prepare(cluster: Cluster) -> None:
    """What controllers would make, since none runs: the namespace's account; and the client's rights."""
    cluster.request("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    cluster.request(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": CLIENT}
    cluster.request("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {"metadata": {"name": CLIENT}, "roleRef": role, "subjects": [subject]})
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        with contextlib.suppress(urllib.error.HTTPError):
            cluster.request(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default", token=CLIENT_TOKEN)
            return
        time.sleep(0.1)
    raise SystemExit("the client did not get its rights")


def _write_files(folder: Path) -> None:
    key, ca_key, now = pki.make_key(), pki.make_key(), datetime.now(UTC)
    ca = pki.issue(pki.Spec("bench-ca", usages=(), ca=True), ca_key, None, now)
    certificate = pki.issue(pki.Spec("kube-apiserver", ip_addresses=("127.0.0.1",), usages=("server",)), key, pki.Authority(ca, ca_key), now)
    for name, data in {
        "ca.crt": pki.certificate_pem(ca),
        "server.crt": pki.certificate_pem(certificate),
        "server.key": pki.key_pem(key),
        "sa.key": pki.key_pem(pki.make_key("rsa")),
        "tokens.csv": f'{ADMIN_TOKEN},admin,1,"system:masters"\n{CLIENT_TOKEN},{CLIENT},2\n'.encode(),
    }.items():
        (folder / name).write_bytes(data)
