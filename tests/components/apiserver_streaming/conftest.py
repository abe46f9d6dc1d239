"""Everything between kubectl and a container: the apiserver on TLS, a kubelet on TLS, a containerd of this folder's own."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from k8sfromscratch.api.registry import NODES, PODS, SERVICE_ACCOUNTS
from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.components.apiserver.streaming_kubelet import Kubelets
from k8sfromscratch.components.kubelet.app import KubeletOptions, run_kubelet
from k8sfromscratch.components.kubelet.node_object import NodeSettings
from k8sfromscratch.components.pki.app import ensure
from k8sfromscratch.components.pki.config import PkiSpec
from k8sfromscratch.core.authz.types import LOOPBACK, UserInfo
from k8sfromscratch.core.pods.names import ClusterDns
from k8sfromscratch.core.pods.runtime_config import Dns
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.tls import TlsFiles, client_context
from k8sfromscratch.runtime.cri import CriRuntime
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.private_containerd import PROGRAMS, PrivateContainerd

NODE = "n1"
TIMEOUT_S = 120
LOOK_S = 0.05
MASTER = UserInfo("admin", ("system:masters", "system:authenticated"))
FOREVER = "trap 'exit 0' TERM; sleep 1000 & wait"

_CERTIFICATES = [
    {"name": "apiserver", "authority": "ca", "common_name": "kube-apiserver", "usages": ["server"], "ip_addresses": ["127.0.0.1"]},
    {"name": "kubelet", "authority": "ca", "common_name": "system:node:n1", "usages": ["server"], "ip_addresses": ["127.0.0.1"]},
    {"name": "kubelet-client", "authority": "ca", "common_name": "kube-apiserver-kubelet-client", "organizations": ["system:masters"]},
]


@pytest.fixture(scope="session")
def containerd(needs: Callable[..., None]) -> Iterator[PrivateContainerd]:
    needs(*PROGRAMS, "kubectl", root=True)
    daemon = PrivateContainerd(subnet="10.213.79.0/24")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


def kubectls() -> dict[str, str]:
    """The newest, and the oldest beside it: that one speaks SPDY only."""
    found = shutil.which("kubectl")
    if found is None:
        return {}
    beside = sorted(Path(found).resolve().parent.glob("kubectl.1.*"))
    return {"newest": str(beside[-1] if beside else found), "oldest": str(beside[0] if beside else found)}


@dataclass
class Way:
    """A kubectl, and whether it uses WebSockets where it can."""

    program: str
    websockets: bool

    @property
    def environment(self) -> dict[str, str]:
        chosen = str(self.websockets).lower()
        return {**os.environ, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": chosen, "KUBECTL_PORT_FORWARD_WEBSOCKETS": chosen}


@dataclass
class Lab:
    client: Client
    kubeconfig: Path
    directory: Path

    def command(self, way: Way, *words: str) -> list[str]:
        return [way.program, "--kubeconfig", str(self.kubeconfig), *words]

    async def kubectl(self, way: Way, *words: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
        """Exit code, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            *self.command(way, *words),
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=way.environment,
        )
        try:
            out, err = await process.communicate(stdin)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return process.returncode, out, err

    @asynccontextmanager
    async def started(self, way: Way, *words: str, **streams: Any) -> AsyncIterator[asyncio.subprocess.Process]:
        """A kubectl that goes on; ended at the end."""
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE, **streams}
        process = await asyncio.create_subprocess_exec(*self.command(way, *words), env=way.environment, **pipes)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def run_pod(self, name: str, *commands: str, **spec: Any) -> None:
        """One container a shell command (`app`, `app1`, …), all of them running."""
        names = ["app", *(f"app{i}" for i in range(1, len(commands)))]
        containers = [
            {"name": c, "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", text]}
            for c, text in zip(names, commands or (FOREVER,), strict=bool(commands))
        ]
        body = {"nodeName": NODE, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, "containers": containers, **spec}
        await self.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": body})

        async def running() -> bool:
            status = (await self.client.get(PODS, name, "default")).get("status") or {}
            return status.get("phase") == "Running" and all(c["ready"] for c in status["containerStatuses"])

        await until(running)


async def until(found: Callable[[], Awaitable[Any]]) -> Any:
    while not (result := await found()):
        await asyncio.sleep(LOOK_S)
    return result


@asynccontextmanager
async def lab(containerd: PrivateContainerd, root: Path) -> AsyncIterator[Lab]:
    env = Env()
    spec = PkiSpec.model_validate({"authorities": [{"name": "ca", "common_name": "ca"}], "certificates": _CERTIFICATES})
    ensure(root / "pki", spec, datetime.now(UTC))
    ca, certificate = str(root / "pki" / "ca.crt"), lambda name: TlsFiles(str(root / "pki" / f"{name}.crt"), str(root / "pki" / f"{name}.key"))
    kubelets = Kubelets(client_context(ca_file=ca, files=certificate("kubelet-client")))
    server = embedded(LocalStorage.memory(env), env, signing_key=pki.make_key(), tokens={"admin": MASTER}, kubelets=kubelets)
    listener = await serve(server.handle, host="127.0.0.1", port=0, tls=certificate("apiserver"))
    await server.start()
    kubeconfig = root / "kubeconfig"
    kubeconfig.write_text(_KUBECONFIG.format(port=listener.port, ca=ca))
    client = Client(DirectTransport(server.handle, LOOPBACK))
    await client.create(SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}})
    node_user = UserInfo(f"system:node:{NODE}", ("system:nodes", "system:authenticated"))
    runtime = CriRuntime(containerd.endpoint)
    dns = ClusterDns(("10.96.0.10",), "cluster.local", Dns(("192.0.2.53",), (), ()))
    options = KubeletOptions(
        NodeSettings(NODE, ("127.0.0.1",), NODE, port=0), root / "kubelet", dns, log_root=root / "logs", tls=certificate("kubelet"), client_ca_file=ca
    )
    options.root.mkdir()
    kubelet = asyncio.create_task(run_kubelet(Client(DirectTransport(server.handle, node_user)), env, runtime, options))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await until(lambda: _kubelet_serves(client))
            yield Lab(client, kubeconfig, root)
            await _clean(client)
    finally:
        kubelet.cancel()
        await asyncio.gather(kubelet, return_exceptions=True)
        await server.stop()
        await listener.close(grace_s=0)
        await runtime.close()


async def _kubelet_serves(client: Client) -> bool:
    nodes = (await client.list(NODES))["items"]
    return bool(nodes and nodes[0]["status"].get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port"))


async def _clean(client: Client) -> None:
    for pod in (await client.list(PODS))["items"]:
        await client.delete(PODS, pod["metadata"]["name"], "default")

    async def empty() -> bool:
        return not (await client.list(PODS))["items"]

    await until(empty)


_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: {ca}}}}}]
users: [{{name: admin, user: {{token: admin}}}}]
contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]
"""


@pytest.fixture
def story(containerd: PrivateContainerd, tmp_path: Path) -> Callable[[Callable[[Lab], Awaitable[None]]], None]:
    """Runs `async def tell(lab)`."""

    def run(tell: Callable[[Lab], Awaitable[None]]) -> None:
        async def main() -> None:
            async with lab(containerd, tmp_path) as made:
                await tell(made)

        asyncio.run(main())

    return run


def ways() -> Sequence[Any]:
    programs = kubectls()
    if not programs:
        return [pytest.param(Way("kubectl", True), id="no kubectl")]
    return [
        pytest.param(Way(programs["newest"], True), id="websocket"),
        pytest.param(Way(programs["newest"], False), id="spdy"),
        pytest.param(Way(programs["oldest"], False), id="oldest"),
    ]


@pytest.fixture(params=ways())
def way(request: pytest.FixtureRequest) -> Way:
    return request.param
