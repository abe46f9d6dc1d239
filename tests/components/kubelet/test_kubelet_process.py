"""The kubelet as the process that a unit starts: flags, kubeconfig, TLS to a real apiserver, health, pods, signals."""

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from k8sfromscratch.api.registry import NODES, PODS, SERVICE_ACCOUNTS
from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.core.authz.types import LOOPBACK, UserInfo
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.tls import TlsFiles
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.ports import free_port

TOKENS = {"node-token": UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))}


def certificate(directory: Path) -> TlsFiles:
    """One that is its own CA, for the apiserver and the kubelet alike."""
    key = pki.make_key()
    made = pki.issue(pki.Spec("127.0.0.1", ip_addresses=("127.0.0.1",), usages=("server",)), key, None, datetime.now(UTC))
    files = TlsFiles(str(directory / "tls.crt"), str(directory / "tls.key"))
    Path(files.cert_file).write_bytes(pki.certificate_pem(made))
    Path(files.key_file).write_bytes(pki.key_pem(key))
    return files


def kubeconfig(directory: Path, tls: TlsFiles, port: int) -> Path:
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": tls.cert_file}
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "node-token"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(body))
    return path


@asynccontextmanager
async def kubelet(*flags: str):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "k8sfromscratch.components.kubelet", *flags, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def until(look):
    while not (found := await look()):
        await asyncio.sleep(0.05)
    return found


def test_it_registers_runs_a_pod_answers_health_and_stops_when_told(containerd, tmp_path):
    async def main() -> None:
        env = Env()
        api = embedded(LocalStorage.memory(env), env, signing_key=pki.make_key("rsa"), tokens=TOKENS)
        await api.start()
        client = Client(DirectTransport(api.handle, LOOPBACK))
        await client.create(SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}})
        tls = certificate(tmp_path)
        server = await serve(api.handle, host="127.0.0.1", port=0, tls=tls)
        health = free_port()
        flags = [
            f"--kubeconfig={kubeconfig(tmp_path, tls, server.port)}",
            "--hostname-override=n1",
            "--node-ip=127.0.0.1",
            f"--container-runtime-endpoint={containerd.endpoint}",
            f"--root-dir={tmp_path / 'root'}",
            f"--tls-cert-file={tls.cert_file}",
            f"--tls-private-key-file={tls.key_file}",
            f"--client-ca-file={tls.cert_file}",
            "--address=127.0.0.1",
            "--port=0",
            f"--healthz-port={health}",
        ]

        async def ready() -> bool:
            nodes = (await client.list(NODES))["items"]
            return any(c["type"] == "Ready" and c["status"] == "True" for n in nodes for c in n["status"]["conditions"])

        async def phase() -> str:
            found = (await client.list(PODS, "default"))["items"]
            return found[0]["status"]["phase"] if found else "Gone"

        async def in_phase(wanted: str) -> bool:
            return await phase() == wanted

        async with asyncio.timeout(60), kubelet(*flags) as process:
            await until(ready)
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{health}/healthz") as answer:
                assert (answer.status, await answer.text()) == (200, "ok")
            container = {"name": "app", "image": "busybox", "imagePullPolicy": "Never", "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]}
            spec = {"nodeName": "n1", "automountServiceAccountToken": False, "containers": [container]}
            await client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"}, "spec": spec})
            await until(lambda: in_phase("Running"))
            await client.delete(PODS, "web", "default")
            await until(lambda: in_phase("Gone"))

            async def removed() -> bool:
                return not list((tmp_path / "root" / "pods").iterdir())

            await until(removed)
            process.send_signal(signal.SIGTERM)
            output, _ = await process.communicate()
            assert process.returncode == 0, output.decode()
        await server.close(grace_s=0)
        await api.stop()

    asyncio.run(main())


def test_what_is_wrong_with_its_configuration_is_said_in_a_line(tmp_path):
    async def main() -> None:
        needed = ["--tls-cert-file=c", "--tls-private-key-file=k", "--client-ca-file=ca", f"--root-dir={tmp_path}"]
        for flags, code, words in (
            ([], 2, b"--kubeconfig is required"),
            ([*needed, f"--kubeconfig={tmp_path}/none"], 1, b"none"),
            ([*needed, "--kubeconfig=k", "--cgroup-driver=systemd"], 2, b"--cgroup-driver"),
        ):
            async with asyncio.timeout(30), kubelet(*flags) as process:
                output, _ = await process.communicate()
                assert process.returncode == code, output.decode()
                assert words in output
                assert b"Traceback" not in output

    asyncio.run(main())
