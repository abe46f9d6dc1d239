"""A whole control plane in one process on virtual time: our apiserver in memory, the scheduler, simulated nodes, and the controllers under test."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from k8sfromscratch.api.errors import NotFound
from k8sfromscratch.api.registry import EVENTS, PODS, SERVICE_ACCOUNTS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.client import Client, DirectTransport, Transport
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.components.controller_manager.app import run_controllers
from k8sfromscratch.components.controller_manager.options import Options
from k8sfromscratch.components.kubelet.simulated import run_simulated_nodes
from k8sfromscratch.components.scheduler.app import run_scheduler
from k8sfromscratch.core.authz.types import LOOPBACK, UserInfo
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Handler
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.virtual import run_virtual

POLL_S = 0.05
CONTROLLER_MANAGER = UserInfo("system:kube-controller-manager", groups=("system:authenticated",))
"""The controllers may do what the bootstrap roles let them do, and no more."""


class Cluster:
    """What a story acts on.  All waiting is virtual."""

    def __init__(self, handler: Handler, env: Env, tasks: asyncio.TaskGroup) -> None:
        self.client, self.env, self._handler, self._tasks = Client(DirectTransport(handler, LOOPBACK)), env, handler, tasks
        self._nodes: dict[str, asyncio.Task[None]] = {}

    def acting_as(self, user: UserInfo) -> Client:
        return Client(DirectTransport(self._handler, user))

    def power_on(self, name: str) -> None:
        """The node's own name is `<name>-1`."""
        number = len(self._nodes) + 1
        work = run_simulated_nodes(self.client, self.env, count=1, name_prefix=name, pod_cidr=f"10.244.{number}.0/24")
        self._nodes[name] = self._tasks.create_task(work)

    def power_off(self, name: str) -> None:
        self._nodes[name].cancel()

    async def until(self, check: Callable[[], Awaitable[Any]], timeout_s: float = 60.0) -> Any:
        """The first true value of `check`, asked again and again."""
        deadline = self.env.clock.monotonic() + timeout_s
        while self.env.clock.monotonic() < deadline:
            value = await check()
            if value:
                return value
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"still not so after {timeout_s} s: {await check()!r}")

    async def apply(self, resource: Resource, name: str, spec: dict | None = None, namespace: str | None = "default", **top: Any) -> dict:
        metadata = {"name": name, **top.pop("metadata", {})}
        if resource.namespaced:
            metadata["namespace"] = namespace
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **({"spec": spec} if spec is not None else {}), **top}
        return await self.client.create(resource, body)

    async def get(self, resource: Resource, name: str, namespace: str | None = "default") -> dict | None:
        try:
            return await self.client.get(resource, name, namespace if resource.namespaced else None)
        except NotFound:
            return None

    async def every(self, resource: Resource, namespace: str | None = "default", labels: str = "") -> list[dict]:
        return (await self.client.list(resource, namespace, label_selector=labels))["items"]

    async def ready_pods(self, labels: str = "app=web") -> list[dict]:
        pods = await self.every(PODS, labels=labels)
        return [p for p in pods if not p["metadata"].get("deletionTimestamp") and ready(p)]

    async def reasons(self, name: str, namespace: str = "default") -> list[str]:
        """The reasons of the events about objects whose name starts so."""
        return [e["reason"] for e in await self.every(EVENTS, namespace) if e["involvedObject"]["name"].startswith(name)]


def ready(obj: dict) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in obj.get("status", {}).get("conditions", ()))


def workload(replicas: int | None = None, *, image: str = "i:1", app: str = "web", pod_spec: dict | None = None, **spec: Any) -> dict:
    template = {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": image}], **(pod_spec or {})}}
    return {**({"replicas": replicas} if replicas is not None else {}), "selector": {"matchLabels": {"app": app}}, "template": template, **spec}


Story = Callable[[Cluster], Awaitable[None]]


@pytest.fixture
def play() -> Callable[..., None]:
    """`play(story, nodes=2, options=…, seed=0)` runs the cluster for as long as the story takes; `wrap` changes the controllers' way to the server."""

    def run(
        story: Story, *, nodes: int = 2, options: Options | None = None, seed: int = 0, wrap: Callable[[Transport, Env], Transport] = lambda inner, env: inner
    ) -> None:
        async def main(env: Env) -> None:
            server = embedded(LocalStorage.memory(env), env, signing_key=pki.make_key())
            await server.start()
            client = Client(DirectTransport(server.handle, LOOPBACK))
            ours = DirectTransport(server.handle, CONTROLLER_MANAGER)
            try:
                async with asyncio.TaskGroup() as tasks:
                    cluster = Cluster(server.handle, env, tasks)
                    controllers = run_controllers(Client(wrap(ours, env)), env, options or Options())
                    parts = [tasks.create_task(controllers), tasks.create_task(run_scheduler(client, env))]
                    for number in range(1, nodes + 1):
                        cluster.power_on(f"n{number}")
                    await cluster.until(lambda: cluster.get(SERVICE_ACCOUNTS, "default"))
                    await story(cluster)
                    for part in [*parts, *cluster._nodes.values()]:
                        part.cancel()
            finally:
                await server.stop()

        run_virtual(main, seed)

    return run


@pytest.fixture
def make_workload() -> Callable[..., dict]:
    return workload
