"""The node's registration, status and lease under the real apiserver, on time that jumps."""

import asyncio
from dataclasses import replace

from k8sfromscratch import KUBERNETES_VERSION
from k8sfromscratch.api.registry import LEASES, NODES
from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.server import ApiServer
from k8sfromscratch.components.kubelet import machine
from k8sfromscratch.components.kubelet.node import NodeReporter
from k8sfromscratch.components.kubelet.node_object import NodeFindings, NodeSettings, node_status, status_patch
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.core.pods.pressure import parse_thresholds
from k8sfromscratch.process.clock import Env, parse_rfc3339
from k8sfromscratch.runtime.interface import Image, RuntimeReadiness, RuntimeUnavailable, RuntimeVersion
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.virtual import EPOCH, run_virtual

SETTINGS = NodeSettings("n1", ("10.0.0.1",), "n1", labels={"zone": "a"}, taints=[{"key": "k", "effect": "NoSchedule"}])

READY, NO_NETWORK = RuntimeReadiness(True, True), RuntimeReadiness(True, False)


class Runtime:
    """As much of a runtime as a node's status asks for; `readiness` is what a test makes of it."""

    def __init__(self) -> None:
        self.answer: RuntimeReadiness | RuntimeUnavailable = READY
        self.pod_cidrs: list[str] = []

    async def version(self) -> RuntimeVersion:
        return RuntimeVersion("containerd", "1.6.20")

    async def readiness(self) -> RuntimeReadiness:
        if isinstance(self.answer, RuntimeUnavailable):
            raise self.answer
        return self.answer

    async def images(self) -> list[Image]:
        return [Image("sha256:1", ("a:1",), (), 10), Image("sha256:2", ("b:1",), ("b@sha256:2",), 20), Image("sha256:3", (), (), 30)]

    async def set_pod_cidr(self, pod_cidr: str) -> None:
        self.pod_cidrs.append(pod_cidr)


def reported(tell, tmp_path, settings: NodeSettings = SETTINGS, register: bool = True, answer: RuntimeReadiness = READY) -> None:
    async def main(env: Env) -> None:
        server = ApiServer(LocalStorage.memory(env), env)
        await server.start()
        client = Client(DirectTransport(server.handle, LOOPBACK))
        runtime = Runtime()
        runtime.answer = answer
        reporter = asyncio.create_task(NodeReporter(client, env, runtime, settings, tmp_path, register=register).run())
        await asyncio.sleep(2)
        await tell(client, runtime, env)
        reporter.cancel()
        await asyncio.gather(reporter, return_exceptions=True)
        await server.stop()

    run_virtual(main)


def ready(node: dict) -> dict:
    return next(c for c in node["status"]["conditions"] if c["type"] == "Ready")


def test_registration(tmp_path):
    async def tell(client, runtime, env):
        node = await client.get(NODES, "n1")
        assert node["metadata"]["labels"].items() >= {"zone": "a", "kubernetes.io/hostname": "n1", "kubernetes.io/os": "linux"}.items()
        assert node["spec"]["taints"] == [{"key": "k", "effect": "NoSchedule"}]
        status = node["status"]
        assert status["addresses"] == [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "n1"}]
        assert (status["nodeInfo"]["kubeletVersion"], status["nodeInfo"]["containerRuntimeVersion"]) == (KUBERNETES_VERSION, "containerd://1.6.20")
        assert status["capacity"]["pods"] == "110"
        assert status["images"] == [{"names": ["b@sha256:2", "b:1"], "sizeBytes": 20}, {"names": ["a:1"], "sizeBytes": 10}]
        assert {c["type"] for c in status["conditions"]} == {"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"}

    reported(tell, tmp_path)


def test_the_lease_is_renewed_and_belongs_to_the_node(tmp_path):
    async def tell(client, runtime, env):
        await asyncio.sleep(60)
        lease = await client.get(LEASES, "n1", "kube-node-lease")
        node = await client.get(NODES, "n1")
        assert lease["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
        assert (env.clock.now() - parse_rfc3339(lease["spec"]["renewTime"])).total_seconds() <= 10

    reported(tell, tmp_path)


def test_ready_follows_the_runtime_and_its_network(tmp_path):
    async def tell(client, runtime, env):
        assert ready(await client.get(NODES, "n1"))["status"] == "True"
        runtime.answer = RuntimeReadiness(True, False, ("NetworkReady=false reason:NetworkPluginNotReady message:no CNI",))
        await asyncio.sleep(11)
        condition = ready(await client.get(NODES, "n1"))
        assert (condition["status"], condition["reason"]) == ("False", "KubeletNotReady")
        assert condition["message"].startswith("container runtime network not ready: NetworkReady=false")
        runtime.answer = RuntimeUnavailable("Status: connection refused")
        await asyncio.sleep(2)
        assert "network not ready" in ready(await client.get(NODES, "n1"))["message"], "it is what it was for a while"
        await asyncio.sleep(31)
        assert "container runtime is down" in ready(await client.get(NODES, "n1"))["message"]
        runtime.answer = RuntimeReadiness(True, True)
        await asyncio.sleep(2)
        assert ready(await client.get(NODES, "n1"))["status"] == "True"

    reported(tell, tmp_path)


def test_a_node_stays_ready_while_its_runtime_restarts(tmp_path):
    async def tell(client, runtime, env):
        runtime.answer = RuntimeUnavailable("Status: connection refused")
        await asyncio.sleep(15)
        assert ready(await client.get(NODES, "n1"))["status"] == "True"
        runtime.answer = READY
        await asyncio.sleep(11)
        runtime.answer = RuntimeUnavailable("Status: connection refused")
        await asyncio.sleep(15)
        assert ready(await client.get(NODES, "n1"))["status"] == "True", "the time counts from its last answer"
        await asyncio.sleep(30)
        assert ready(await client.get(NODES, "n1"))["status"] == "False"

    reported(tell, tmp_path)


def test_the_status_is_written_every_five_minutes_even_if_nothing_changed(tmp_path, monkeypatch):
    capacity = machine.capacity(tmp_path)
    monkeypatch.setattr(machine, "capacity", lambda root: capacity)

    async def tell(client, runtime, env):
        await asyncio.sleep(200)
        first = await client.get(NODES, "n1")
        await asyncio.sleep(60)
        assert (await client.get(NODES, "n1"))["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        await asyncio.sleep(60)
        beat = ready(await client.get(NODES, "n1"))
        assert parse_rfc3339(beat["lastHeartbeatTime"]) > parse_rfc3339(ready(first)["lastHeartbeatTime"])
        assert beat["lastTransitionTime"] == ready(first)["lastTransitionTime"]

    reported(tell, tmp_path)


def test_conditions_of_others_and_new_addresses(tmp_path):
    async def tell(client, runtime, env):
        network = {"type": "NetworkUnavailable", "status": "False"}
        await client.patch(NODES, "n1", {"status": {"conditions": [network]}}, patch_type="strategic", subresource="status")
        await asyncio.sleep(400)
        node = await client.get(NODES, "n1")
        assert "NetworkUnavailable" in {c["type"] for c in node["status"]["conditions"]}
        assert len(node["status"]["addresses"]) == 2

    reported(tell, tmp_path)


def test_the_runtime_learns_the_pod_range(tmp_path):
    async def tell(client, runtime, env):
        await client.patch(NODES, "n1", {"spec": {"podCIDR": "10.244.7.0/24", "podCIDRs": ["10.244.7.0/24"]}})
        await asyncio.sleep(30)
        assert runtime.pod_cidrs == ["10.244.7.0/24"]

    reported(tell, tmp_path)


def test_a_node_that_was_deleted_registers_again_but_only_if_it_may(tmp_path):
    async def again(client, runtime, env):
        first = await client.get(NODES, "n1")
        await client.delete(NODES, "n1")
        await asyncio.sleep(20)
        assert (await client.get(NODES, "n1"))["metadata"]["uid"] != first["metadata"]["uid"]

    async def never(client, runtime, env):
        assert (await client.list(NODES))["items"] == []

    reported(again, tmp_path)
    reported(never, tmp_path, register=False)


def test_a_label_of_the_kubelets_is_put_right(tmp_path):
    async def tell(client, runtime, env):
        await client.patch(NODES, "n1", {"metadata": {"labels": {"kubernetes.io/os": "none", "mine": "stays"}}})
        await asyncio.sleep(12)
        labels = (await client.get(NODES, "n1"))["metadata"]["labels"]
        assert (labels["kubernetes.io/os"], labels["mine"]) == ("linux", "stays")

    reported(tell, tmp_path)


def test_pressure_and_what_is_kept_free():
    identity = machine.Identity("m", "s", "b", "6.1", "Debian", "amd64")
    capacity = machine.Capacity(4, 8 << 30, 50 << 20, 1000 << 20, 500 << 20, 1000, 900, 100, 10)
    settings = replace(SETTINGS, thresholds=parse_thresholds("memory.available<100Mi,nodefs.available<10%"))
    status = node_status(settings, NodeFindings(identity, capacity, None, RuntimeReadiness(True, True)), None, EPOCH)
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "MemoryPressure": "True",
        "DiskPressure": "False",
        "PIDPressure": "False",
        "Ready": "True",
    }
    assert (status["capacity"]["memory"], status["allocatable"]["memory"]) == ("8388608Ki", f"{(8 << 20) - (100 << 10)}Ki")
    assert status["allocatable"]["ephemeral-storage"] == str(900 << 20)
    assert status["nodeInfo"]["containerRuntimeVersion"] == "unknown://"
    moved = {**status, "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]}
    assert status_patch(status, moved)["status"]["addresses"][0] == {"$patch": "replace"}


def test_a_node_that_starts_is_ready_as_soon_as_its_network_is(tmp_path):
    async def tell(client, runtime, env):
        assert ready(await client.get(NODES, "n1"))["status"] == "False"
        runtime.answer = READY
        await asyncio.sleep(0.25)
        assert ready(await client.get(NODES, "n1"))["status"] == "True"

    reported(tell, tmp_path, answer=NO_NETWORK)


def test_one_that_does_not_become_ready_is_looked_at_less_often(tmp_path):
    async def tell(client, runtime, env):
        asked = 0

        async def readiness() -> RuntimeReadiness:
            nonlocal asked
            asked += 1
            return NO_NETWORK

        runtime.readiness = readiness
        await asyncio.sleep(10)
        assert asked == 50
        await asyncio.sleep(60)
        asked = 0
        await asyncio.sleep(10)
        assert asked == 10

    reported(tell, tmp_path, answer=NO_NETWORK)
