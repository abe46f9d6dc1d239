"""What a request costs the apiserver.

    python benchmarks/bench_apiserver.py                     CPU time a request, in one process on the memory store: true on a busy machine too
    python benchmarks/bench_apiserver.py --load SCRIPT       real processes (etcd, TLS), loaded by SCRIPT, which is given --kubeconfig, --token and
                                                             --rss-pids; with upstream's kube-apiserver on PATH, the same against it

Upstream's figures for the second, on two cores: create 1.0 to 1.4 thousand pods a second, GET 6.8 to 8.8 thousand, LIST of 5,000 pods
200 to 270 ms, watch fan-out 62 to 66 thousand events a second.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.storage.local import LocalStorage

PODS = "/api/v1/namespaces/default/pods"
COUNT = 2000
TOKEN = "bench"
START_TIMEOUT_S = 60


def pod(index: int) -> dict[str, Any]:
    container = {
        "name": "c",
        "image": "registry.example/app:v1",
        "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 80}},
    }
    spec = {"schedulerName": "nobody", "automountServiceAccountToken": False, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{index:06}", "labels": {"app": f"a{index % 50}"}}, "spec": spec}


async def cpu_per_request() -> None:
    env = Env()
    server = embedded(LocalStorage.memory(env), env, signing_key=pki.make_key())
    await server.start()

    async def call(method: str, path: str, body: Any = None, content_type: str = "application/json", accept: str = "") -> None:
        headers = {"content-type": content_type, "accept": accept, "user-agent": "bench"}
        response = await server.handle(Request(method, path, {}, headers, b"" if body is None else orjson.dumps(body), direct_user=LOOPBACK))
        assert isinstance(response, Response) and response.status < 300, response

    async def measure(name: str, count: int, one: Callable[[int], Awaitable[None]]) -> None:
        start = time.process_time()
        for index in range(count):
            await one(index)
        print(f"{name:34} {(time.process_time() - start) / count * 1e6:9.0f} µs")

    merge, table = "application/merge-patch+json", "application/json;as=Table;v=v1;g=meta.k8s.io"
    await call("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await measure("create a pod", COUNT, lambda i: call("POST", PODS, pod(i)))
    await measure("get a pod", COUNT, lambda i: call("GET", f"{PODS}/pod-{i:06}"))
    await measure("patch a pod", COUNT, lambda i: call("PATCH", f"{PODS}/pod-{i:06}", {"metadata": {"annotations": {"x": str(i)}}}, merge))
    await measure(f"list {COUNT} pods", 20, lambda i: call("GET", PODS))
    await measure(f"list {COUNT} pods as a table", 5, lambda i: call("GET", PODS, accept=table))
    await server.stop()


@contextlib.contextmanager
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield started
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(30)


def load(script: Path, apiserver: list[str], name: str) -> None:
    """Starts etcd and one apiserver, and runs the script against them."""
    with tempfile.TemporaryDirectory() as folder, processes() as started:
        at = Path(folder)
        etcd_port, port = free_port(), free_port()
        write_files(at, port)
        etcd = f"http://127.0.0.1:{etcd_port}"
        member = ["etcd"] if shutil.which("etcd") else [sys.executable, "-m", "k8sfromscratch.components.etcd"]
        with (at / "log").open("wb") as log:
            started.append(
                subprocess.Popen([*member, f"--data-dir={at}/etcd", f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}"], stdout=log, stderr=log)
            )
            flags = [
                f"--etcd-servers={etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--tls-cert-file={at}/server.crt",
                f"--tls-private-key-file={at}/server.key",
                f"--token-auth-file={at}/tokens.csv",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={at}/sa.key",
                f"--service-account-key-file={at}/sa.key",
            ]
            started.append(subprocess.Popen([*apiserver, *flags], stdout=log, stderr=log))
        wait_ready(at, port, started)
        request(at, port, "/api/v1/namespaces", {"metadata": {"name": "bench"}})
        request(at, port, "/api/v1/namespaces/bench/serviceaccounts", {"metadata": {"name": "default"}})
        command = [sys.executable, str(script), f"--kubeconfig={at}/kubeconfig", f"--token={TOKEN}", f"--rss-pids={started[-1].pid}"]
        print(f"== {name}", flush=True)
        subprocess.run(command, check=True)


def write_files(at: Path, port: int) -> None:
    key, sa_key = pki.make_key(), pki.make_key("rsa")
    ca_key = pki.make_key()
    now = datetime.now(UTC)
    ca = pki.issue(pki.Spec("bench-ca", usages=(), ca=True), ca_key, None, now)
    certificate = pki.issue(pki.Spec("kube-apiserver", ip_addresses=("127.0.0.1",), usages=("server",)), key, pki.Authority(ca, ca_key), now)
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": f"{at}/ca.crt"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    for name, data in {
        "ca.crt": pki.certificate_pem(ca),
        "server.crt": pki.certificate_pem(certificate),
        "server.key": pki.key_pem(key),
        "sa.key": pki.key_pem(sa_key),
        "tokens.csv": f'{TOKEN},bench,1,"system:masters"\n'.encode(),
        "kubeconfig": json.dumps(config).encode(),
    }.items():
        (at / name).write_bytes(data)


def request(at: Path, port: int, path: str, body: Any = None) -> None:
    context = ssl.create_default_context(cafile=str(at / "ca.crt"))
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"https://127.0.0.1:{port}{path}", data, headers), context=context, timeout=10):
        return


def wait_ready(at: Path, port: int, started: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if any(process.poll() is not None for process in started):
            break
        with contextlib.suppress(urllib.error.URLError, OSError):
            return request(at, port, "/readyz")
        time.sleep(0.1)
    raise SystemExit(f"the servers did not start:\n{(at / 'log').read_text()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--load", type=Path, metavar="SCRIPT", help="a load generator that takes --kubeconfig, --token and --rss-pids")
    arguments = parser.parse_args()
    if arguments.load is None:
        asyncio.run(cpu_per_request())
        return
    load(arguments.load, [sys.executable, "-m", "k8sfromscratch.components.apiserver"], "ours")
    upstream = shutil.which("kube-apiserver")
    if upstream is not None:
        load(arguments.load, [upstream, "--disable-admission-plugins=ServiceAccount"], "upstream")


if __name__ == "__main__":
    main()
