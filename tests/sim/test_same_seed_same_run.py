"""A cluster from a seed: apiserver, scheduler and controllers on virtual time with an in-process transport.

The same seed gives the identical log of everything that was stored, byte for byte; another seed another one.
"""

import asyncio
import hashlib

from k8sfromscratch.api.registry import DEPLOYMENTS, PODS
from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.components.controller_manager.app import run_controllers
from k8sfromscratch.components.controller_manager.options import Options
from k8sfromscratch.components.kubelet.simulated import run_simulated_nodes
from k8sfromscratch.components.scheduler.app import run_scheduler
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.virtual import run_virtual

SIGNING_KEY = pki.make_key()
"""Tokens are not part of the log; their key is the one thing here that no seed makes."""


def deployment(replicas: int, image: str) -> dict:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}, "spec": spec}


async def story(env: Env) -> list[str]:
    """Deploys, updates, loses a pod, scales; the log is every event of the store, in order."""
    storage = LocalStorage.memory(env)
    log: list[str] = []

    async def record() -> None:
        async for batch in storage.watch(b"/", b"0", start_revision=1):
            for event in batch.events:
                digest = hashlib.sha256(event.kv.value).hexdigest()[:16]
                log.append(f"{env.clock.monotonic():.6f} {batch.revision} {event.type} {event.kv.key.decode()} {digest}")

    server = embedded(storage, env, signing_key=SIGNING_KEY)
    await server.start()
    client = Client(DirectTransport(server.handle, LOOPBACK))

    async def ready(count: int, image: str) -> None:
        async with asyncio.timeout(300):
            while True:
                pods = (await client.list(PODS, "default"))["items"]
                good = [p for p in pods if p["spec"]["containers"][0]["image"] == image and p.get("status", {}).get("phase") == "Running"]
                if len(good) == len(pods) == count:
                    return
                await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        parts = [
            tasks.create_task(record()),
            tasks.create_task(run_simulated_nodes(client, env, count=3)),
            tasks.create_task(run_controllers(client, env, Options())),
            tasks.create_task(run_scheduler(client, env)),
        ]
        await client.create(DEPLOYMENTS, deployment(4, "app:1"))
        await ready(4, "app:1")
        await client.patch(DEPLOYMENTS, "web", deployment(4, "app:2"), "default")
        await ready(4, "app:2")
        victim = (await client.list(PODS, "default"))["items"][0]["metadata"]["name"]
        await client.delete(PODS, victim, "default")
        await asyncio.sleep(1)
        await ready(4, "app:2")
        await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 1}}, "default")
        await ready(1, "app:2")
        await asyncio.sleep(60)
        for part in parts:
            part.cancel()
    await server.stop()
    return log


def test_the_same_seed_gives_the_identical_log() -> None:
    first, second = run_virtual(story, 11), run_virtual(story, 11)
    assert len(first) > 100
    assert first == second


def test_another_seed_gives_another_log() -> None:
    assert run_virtual(story, 11) != run_virtual(story, 12)
