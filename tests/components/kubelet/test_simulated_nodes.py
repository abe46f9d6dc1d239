"""Simulated nodes under the real apiserver, on time that jumps."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from k8sfromscratch.api.registry import LEASES, NODES, PODS
from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.server import ApiServer
from k8sfromscratch.components.kubelet.simulated import EXIT_CODE_ANNOTATION, RUN_ANNOTATION, run_simulated_nodes
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.process.clock import Env, parse_rfc3339
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.virtual import run_virtual

Story = Callable[[Client, Env], Awaitable[object]]


def simulate(story: Story, *, count: int = 2, ready_delay_s: float = 0.0) -> object:
    async def main(env: Env) -> object:
        server = ApiServer(LocalStorage.memory(env), env)
        await server.start()
        client = Client(DirectTransport(server.handle, LOOPBACK))
        nodes = asyncio.create_task(run_simulated_nodes(client, env, count=count, ready_delay_s=ready_delay_s))
        await asyncio.sleep(1)
        told = await story(client, env)
        nodes.cancel()
        await asyncio.gather(nodes, return_exceptions=True)
        await server.stop()
        return told

    return run_virtual(main)


def pod(name: str, node: str = "node-1", *, annotations: dict | None = None, **spec) -> dict:
    meta = {"name": name, "namespace": "default", "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"nodeName": node, "containers": [{"name": "a", "image": "x:1"}], **spec}}


async def phases(client: Client) -> dict[str, str]:
    return {p["metadata"]["name"]: p["status"]["phase"] for p in (await client.list(PODS))["items"]}


def ready(obj: dict) -> str:
    return next(c["status"] for c in obj["status"]["conditions"] if c["type"] == "Ready")


def test_nodes_register_with_a_range_and_keep_their_leases():
    async def story(client, env):
        await asyncio.sleep(100)
        nodes = (await client.list(NODES))["items"]
        assert [(n["metadata"]["name"], n["spec"]["podCIDR"], ready(n)) for n in nodes] == [
            ("node-1", "10.244.0.0/24", "True"),
            ("node-2", "10.244.1.0/24", "True"),
        ]
        for lease in (await client.list(LEASES, "kube-node-lease"))["items"]:
            assert (env.clock.now() - parse_rfc3339(lease["spec"]["renewTime"])).total_seconds() <= 10

    simulate(story)


def test_a_bound_pod_runs_with_an_address_of_its_node():
    async def story(client, env):
        await client.create(PODS, pod("a", initContainers=[{"name": "i", "image": "x:1"}]))
        await client.create(PODS, pod("b", "node-2"))
        await client.create(PODS, pod("host", "node-2", hostNetwork=True))
        await client.create(PODS, pod("elsewhere", "a-real-node"))
        await asyncio.sleep(1)
        found = {p["metadata"]["name"]: p for p in (await client.list(PODS))["items"]}
        assert await phases(client) == {"a": "Running", "b": "Running", "host": "Running", "elsewhere": "Pending"}
        assert [found[n]["status"]["podIP"] for n in ("a", "b", "host")] == ["10.244.0.2", "10.244.1.2", "172.18.0.3"]
        assert ready(found["a"]) == "True"
        assert found["a"]["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0

    simulate(story)


def test_a_deleted_pod_goes_at_once_and_its_address_is_used_again():
    async def story(client, env):
        for name in ("a", "b"):
            await client.create(PODS, pod(name))
            await asyncio.sleep(1)
        await client.delete(PODS, "a", "default")
        await asyncio.sleep(1)
        assert await phases(client) == {"b": "Running"}
        await client.create(PODS, pod("c"))
        await asyncio.sleep(1)
        assert (await client.get(PODS, "c", "default"))["status"]["podIP"] == "10.244.0.2"

    simulate(story)


def test_a_deleted_pod_with_finalizers_ends_and_waits():
    async def story(client, env):
        held = pod("a", restartPolicy="Never")
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await client.create(PODS, held)
        await asyncio.sleep(1)
        await client.delete(PODS, "a", "default")
        await asyncio.sleep(60)
        found = await client.get(PODS, "a", "default")
        assert found["status"]["phase"] == "Failed", "a pod that was stopped has not succeeded, and no Job may think so"
        assert found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
        await client.patch(PODS, "a", {"metadata": {"finalizers": None}}, "default")
        await asyncio.sleep(1)
        assert await phases(client) == {}

    simulate(story)


@pytest.mark.parametrize(
    ("policy", "code", "phase"), [("Never", "0", "Succeeded"), ("OnFailure", "0", "Succeeded"), ("Never", "7", "Failed"), ("OnFailure", "7", "Running")]
)
def test_a_pod_may_ask_to_end(policy, code, phase):
    async def story(client, env):
        await client.create(PODS, pod("job", restartPolicy=policy, annotations={RUN_ANNOTATION: "30", EXIT_CODE_ANNOTATION: code}))
        await asyncio.sleep(29)
        assert await phases(client) == {"job": "Running"}
        await asyncio.sleep(3)
        assert await phases(client) == {"job": phase}

    simulate(story)


def test_readiness_takes_as_long_as_asked():
    async def story(client, env):
        await client.create(PODS, pod("a"))
        await asyncio.sleep(4)
        assert await phases(client) == {"a": "Pending"}
        await asyncio.sleep(2)
        assert await phases(client) == {"a": "Running"}

    simulate(story, ready_delay_s=5)


def test_a_node_given_up_by_others_says_that_it_is_ready():
    async def story(client, env):
        lost = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
        await client.patch(NODES, "node-1", {"status": {"conditions": [lost]}}, patch_type="strategic", subresource="status")
        await asyncio.sleep(1)
        assert ready(await client.get(NODES, "node-1")) == "True"

    simulate(story)


def test_hundreds_of_nodes_and_the_same_story_twice():
    async def story(client, env):
        for i in range(300):
            await client.create(PODS, pod(f"p{i}", f"node-{i + 1}"))
        await asyncio.sleep(20)
        found = (await client.list(PODS))["items"]
        assert {p["status"]["phase"] for p in found} == {"Running"}
        assert len({p["status"]["podIP"] for p in found}) == 300
        return [(p["metadata"]["name"], p["metadata"]["resourceVersion"], p["status"]["podIP"]) for p in found]

    def run():
        return simulate(story, count=300)

    assert run() == run()


def test_a_range_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="too few for 3 nodes"):
        run_virtual(lambda env: run_simulated_nodes(None, env, count=3, pod_cidr="10.0.0.0/23"))


def test_no_nodes_at_all():
    async def story(client, env):
        await asyncio.sleep(30)
        assert (await client.list(NODES))["items"] == []

    simulate(story, count=0)
