"""A whole node in one process: the real apiserver on a store in memory, the real kubelet, and a containerd of this folder's own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from k8sfromscratch.api.errors import NotFound
from k8sfromscratch.api.registry import EVENTS, NODES, PODS, SERVICE_ACCOUNTS
from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.components.kubelet.app import KubeletOptions, run_kubelet
from k8sfromscratch.components.kubelet.node_object import NodeSettings
from k8sfromscratch.core.authz.types import LOOPBACK, UserInfo
from k8sfromscratch.core.pods.names import ClusterDns
from k8sfromscratch.core.pods.runtime_config import Dns
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.runtime.cri import CriRuntime
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.private_containerd import PROGRAMS, PrivateContainerd

Object = dict[str, Any]

NODE = "n1"
TIMEOUT_S = 120
LOOK_S = 0.05
FOREVER = "trap 'exit 0' TERM; sleep 1000 & wait"


@pytest.fixture(scope="session")
def containerd(needs) -> Iterator[PrivateContainerd]:
    needs(*PROGRAMS, root=True)
    daemon = PrivateContainerd(subnet="10.213.78.0/24")
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.stop()


@dataclass
class Cluster:
    client: Client
    """As an administrator."""
    node_client: Client
    """As the kubelet: what it may not do, the Node authorizer and NodeRestriction refuse."""
    runtime: CriRuntime
    options: KubeletOptions
    _env: Env
    _kubelet: asyncio.Task[None] | None = None

    async def start_kubelet(self) -> None:
        self._kubelet = asyncio.create_task(run_kubelet(self.node_client, self._env, self.runtime, self.options))

    async def stop_kubelet(self) -> None:
        """Containers keep running."""
        assert self._kubelet is not None
        self._kubelet.cancel()
        (ended,) = await asyncio.gather(self._kubelet, return_exceptions=True)
        if not isinstance(ended, asyncio.CancelledError):
            raise ended

    async def until(self, found: Callable[[], Awaitable[Any]]) -> Any:
        """What `found` gives when it first gives something; ends too if the kubelet does."""
        while not (result := await found()):
            if self._kubelet is not None and self._kubelet.done():
                self._kubelet.result()
            await asyncio.sleep(LOOK_S)
        return result

    async def create(self, name: str, *containers: Object, **spec: Any) -> Object:
        bodies = [{"image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", FOREVER], **c} for c in containers or ({"name": "app"},)]
        meta = {"name": name, "namespace": "default", **spec.pop("metadata", {})}
        body = {"nodeName": NODE, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, **spec, "containers": bodies}
        return await self.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body})

    async def pod(self, name: str) -> Object:
        return await self.client.get(PODS, name, "default")

    async def pod_where(self, name: str, test: Callable[[Object], Any]) -> Object:
        """The pod, as soon as its status passes the test."""

        async def look() -> Object | None:
            found = await self.pod(name)
            return found if test(found.get("status") or {}) else None

        return await self.until(look)

    async def running(self, name: str) -> Object:
        return await self.pod_where(name, lambda s: s.get("phase") == "Running" and all(c["ready"] for c in s["containerStatuses"]))

    async def ended(self, name: str, phase: str) -> Object:
        return await self.pod_where(name, lambda s: s.get("phase") == phase)

    async def gone(self, name: str) -> None:
        async def look() -> bool:
            try:
                await self.pod(name)
            except NotFound:
                return True
            return False

        await self.until(look)

    async def events(self, name: str) -> list[tuple[str, str]]:
        found = (await self.client.list(EVENTS, "default"))["items"]
        return [(e["reason"], e["message"]) for e in found if e["involvedObject"]["name"] == name]

    async def event_with(self, name: str, reason: str, words: str) -> None:
        """Until there is one: events are written behind the status that tells of the same."""

        async def look() -> bool:
            return any(why == reason and words in message for why, message in await self.events(name))

        await self.until(look)

    async def event(self, name: str, reason: str) -> str:
        async def look() -> str | None:
            return next((message for why, message in await self.events(name) if why == reason), None)

        return await self.until(look)

    async def log(self, name: str, container: str = "app") -> str:
        """What the container has written so far."""
        pod = await self.pod(name)
        files = sorted((self.options.log_root / f"default_{name}_{pod['metadata']['uid']}" / container).glob("*.log"))
        return "".join(line.split(" ", 3)[3] for file in files for line in file.read_text().splitlines(keepends=True))

    async def logged(self, name: str, text: str) -> None:
        """Until that is its log: a container that runs need not have said anything yet."""

        async def look() -> bool:
            return await self.log(name) == text

        await self.until(look)

    async def everything(self) -> str:
        """For the reader of a failure."""
        pods = [(p["metadata"]["name"], p["metadata"].get("deletionTimestamp"), p.get("status")) for p in (await self.client.list(PODS))["items"]]
        events = [(e["involvedObject"]["name"], e["reason"], e["message"]) for e in (await self.client.list(EVENTS))["items"]]
        listed = [(owner.name, c.name, c.attempt, c.state) for owner, c in await self.runtime.list_containers()]
        return f"pods {pods}\nevents {events}\nand the runtime {listed}"

    async def exec(self, name: str, *command: str, container: str = "app") -> str:
        pod = await self.pod(name)
        ids = [c.id for _, c in await self.runtime.list_containers(pod["metadata"]["uid"]) if c.name == container]
        result = await self.runtime.exec_sync(ids[-1], command, TIMEOUT_S)
        return (result.stdout + result.stderr).decode()


@asynccontextmanager
async def cluster(containerd: PrivateContainerd, root: Path, **options: Any) -> AsyncIterator[Cluster]:
    env = Env()
    server = embedded(LocalStorage.memory(env), env, signing_key=pki.make_key("rsa"))
    await server.start()
    client = Client(DirectTransport(server.handle, LOOPBACK))
    await client.create(SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}})
    node_user = UserInfo(f"system:node:{NODE}", ("system:nodes", "system:authenticated"))
    runtime = CriRuntime(containerd.endpoint)
    settings = NodeSettings(NODE, ("127.0.0.1",), NODE, port=0, **options.pop("node", {}))
    dns = ClusterDns(("10.96.0.10",), "cluster.local", Dns(("192.0.2.53",), (), ()))
    made = Cluster(
        client,
        Client(DirectTransport(server.handle, node_user)),
        runtime,
        KubeletOptions(settings, root / "kubelet", dns, log_root=root / "logs", **options),
        env,
    )
    made.options.root.mkdir(exist_ok=True)
    await made.start_kubelet()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await made.until(lambda: _registered(client))
            yield made
            await _clean(made)
    except TimeoutError:
        pytest.fail(f"after {TIMEOUT_S} s, the API has {await made.everything()}", pytrace=False)
    finally:
        await made.stop_kubelet()
        await server.stop()
        await runtime.close()


async def _registered(client: Client) -> bool:
    return bool((await client.list(NODES))["items"])


async def _clean(made: Cluster) -> None:
    """Every pod goes the regular way, so that each story also tells how its pod ends."""
    for pod in (await made.client.list(PODS))["items"]:
        await made.client.delete(PODS, pod["metadata"]["name"], "default")

    async def empty() -> bool:
        left = (await made.client.list(PODS))["items"], await made.runtime.list_sandboxes(), _files(made)
        return not any(left)

    await made.until(empty)


def _files(made: Cluster) -> list[Path]:
    pods = made.options.root / "pods"
    return list(pods.iterdir()) if pods.exists() else []


@pytest.fixture
def story(containerd, tmp_path):
    """Runs `async def tell(cluster)` against a node; options are `KubeletOptions`'."""

    def run(tell: Callable[[Cluster], Awaitable[None]], **options: Any) -> None:
        async def main() -> None:
            async with cluster(containerd, tmp_path, **options) as made:
                await tell(made)

        asyncio.run(main())

    return run
