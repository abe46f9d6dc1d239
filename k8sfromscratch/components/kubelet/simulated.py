"""Nodes without a machine: they register, keep their leases, and pretend to run the pods bound to them.

For `kfs up` and for simulations: hundreds of nodes in one process, with one informer over all pods and a few tasks, and
deterministic on a virtual-time loop.  No container is run.  A pod that is bound to one of these nodes becomes Running and ready,
with an address of the node's range, and stays so; one that is deleted goes at once, whatever its grace period; if something holds it
in the API, it is seen to have failed there.

A pod can ask to end by itself, so that jobs can be tried: `k8sfromscratch.io/simulated-run-s: "2.5"` ends its containers after that
time, with `k8sfromscratch.io/simulated-exit-code` (default 0).  A restart policy that would restart it is obeyed: it keeps running.

The status comes from the same pure function as the real kubelet's (`core.pods.status`), fed with a runtime that is made up.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch import KUBERNETES_VERSION
from k8sfromscratch.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from k8sfromscratch.api.registry import LEASES, NODES, PODS
from k8sfromscratch.client import Client, Informer, Informers, WorkQueue
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.core.pods import spec
from k8sfromscratch.core.pods.runtime_state import Container, ContainerState, PodRuntime, Sandbox
from k8sfromscratch.core.pods.status import Report, pod_status, status_patch
from k8sfromscratch.core.pods.times import parse
from k8sfromscratch.process.clock import Env, rfc3339, rfc3339_micro

log = logging.getLogger(__name__)

Object = dict[str, Any]

RUN_ANNOTATION = "k8sfromscratch.io/simulated-run-s"
EXIT_CODE_ANNOTATION = "k8sfromscratch.io/simulated-exit-code"

LEASE_DURATION_S = 40
LEASE_RENEWAL_S = 10.0
LEASE_NAMESPACE = "kube-node-lease"

TERMINATED_EXIT_CODE = 143
"""Of a container that SIGTERM ends: who deletes a pod does not make it succeed."""

WORKERS = 4
"""Pods are handled by so many tasks: enough to keep an in-process apiserver busy, few enough to be nothing."""

CAPACITY = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "256Gi", "pods": "110"}


async def run_simulated_nodes(
    client: Client, env: Env, *, count: int, name_prefix: str = "node", ready_delay_s: float = 0.0, pod_cidr: str = "10.244.0.0/14"
) -> None:
    """Runs nodes PREFIX-1 … PREFIX-count until cancelled.  `pod_cidr` is cut into one /24 a node."""
    ranges = ipaddress.ip_network(pod_cidr).subnets(new_prefix=24)
    nodes = [
        _Node(f"{name_prefix}-{i + 1}", f"172.18.{i // 250}.{i % 250 + 2}", ipaddress.IPv4Network(str(r))) for i, r in zip(range(count), ranges, strict=False)
    ]
    if len(nodes) < count:
        raise ValueError(f"{pod_cidr} holds {len(nodes)} ranges of 256 addresses, too few for {count} nodes")
    await SimulatedNodes(client, env, nodes, ready_delay_s).run()


@dataclass(slots=True)
class _Node:
    name: str
    ip: str
    range: ipaddress.IPv4Network
    taken: dict[str, str] = field(default_factory=dict)
    """Pod address to pod key."""

    def take(self, key: str, wanted: str = "") -> str:
        """An address for the pod: the one it has if that is free, else the lowest free one; the range's first is the gateway's."""
        if wanted and self.taken.setdefault(wanted, key) == key:
            return wanted
        for number in range(2, self.range.num_addresses - 1):
            ip = str(self.range[number])
            if self.taken.get(ip, key) == key:
                self.taken[ip] = key
                return ip
        raise ValueError(f"no address is left in {self.range} of {self.name}")

    def release(self, key: str) -> None:
        for ip in [ip for ip, holder in self.taken.items() if holder == key]:
            del self.taken[ip]


class SimulatedNodes:
    def __init__(self, client: Client, env: Env, nodes: list[_Node], ready_delay_s: float) -> None:
        self._client = client
        self._env = env
        self._nodes = {node.name: node for node in nodes}
        self._ready_delay = timedelta(seconds=ready_delay_s)
        self._informers = Informers(client, env)
        self._pods: Informer = self._informers.get(PODS, field_selector="spec.nodeName!=")
        self._node_objects: Informer = self._informers.get(NODES)
        self._pod_queue = WorkQueue(env)
        self._node_queue = WorkQueue(env)

    async def run(self) -> None:
        for node in self._nodes.values():
            self._node_queue.add(node.name)
        self._node_objects.add_handler(self._on_node)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informers.run())
            tasks.create_task(self._work(self._node_queue, self._sync_node))
            tasks.create_task(self._renew_leases())
            await self._informers.wait_synced()
            self._keep_addresses()
            self._pods.add_handler(self._on_pod)
            for _ in range(WORKERS):
                tasks.create_task(self._work(self._pod_queue, self._sync_pod))

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is not None and new["metadata"]["name"] in self._nodes:
            self._node_queue.add(new["metadata"]["name"])

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        if pod is None or pod["spec"].get("nodeName") not in self._nodes:
            return
        if new is None:
            self._nodes[pod["spec"]["nodeName"]].release(spec.pod_key(pod))
        else:
            self._pod_queue.add(spec.pod_key(pod))

    def _keep_addresses(self) -> None:
        """Those that pods had before this process started."""
        for pod in self._pods.store.list():
            node = self._nodes.get(pod["spec"].get("nodeName", ""))
            ip = (pod.get("status") or {}).get("podIP")
            if node is not None and ip and not spec.on_host_network(pod) and not spec.is_terminal(pod):
                node.take(spec.pod_key(pod), ip)

    async def _work(self, queue: WorkQueue, sync: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        while True:
            key = await queue.get()
            try:
                await sync(key)
                queue.forget(key)
            except (ApiError, TransportError, ValueError) as error:
                log.warning("simulated: %s: %s", key, error)
                queue.add_rate_limited(key)
            finally:
                queue.done(key)

    # Nodes

    async def _sync_node(self, name: str) -> None:
        """Registers it, and reports it ready again where the node lifecycle controller had given it up."""
        node = self._nodes[name]
        present = self._node_objects.store.get(name)
        if present is None:
            try:
                await self._client.create(NODES, node_object(node.name, node.ip, str(node.range), self._env.clock.now()))
            except AlreadyExists:
                present = await self._client.get(NODES, name)
            else:
                return
        ready = next((c for c in (present.get("status") or {}).get("conditions") or [] if c["type"] == "Ready"), None)
        if ready is None or ready["status"] != "True":
            status = node_object(node.name, node.ip, str(node.range), self._env.clock.now())["status"]
            await self._client.patch(NODES, name, {"status": status}, patch_type="strategic", subresource="status")

    async def _renew_leases(self) -> None:
        """Every node's once in LEASE_RENEWAL_S, evenly spread; the first round at once."""
        pause_s = 0.0
        held: dict[str, Object] = {}
        while self._nodes:
            for name in self._nodes:
                try:
                    held[name] = await self._renew(name, held.get(name))
                except (ApiError, TransportError) as error:
                    held.pop(name, None)
                    log.warning("simulated: lease of %s: %s", name, error)
                await asyncio.sleep(pause_s)
            if len(held) < len(self._nodes):
                await asyncio.sleep(1.0)
            else:
                pause_s = LEASE_RENEWAL_S / len(self._nodes)

    async def _renew(self, name: str, held: Object | None) -> Object:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": LEASE_NAMESPACE},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_DURATION_S, "renewTime": rfc3339_micro(self._env.clock.now())},
        }
        if held is None:
            try:
                return await self._client.create(LEASES, body)
            except AlreadyExists:
                held = await self._client.get(LEASES, name, LEASE_NAMESPACE)
        return await self._client.update(LEASES, {**body, "metadata": held["metadata"]})

    # Pods

    async def _sync_pod(self, key: str) -> None:
        pod = self._pods.store.get(key)
        if pod is None:
            return
        node = self._nodes[pod["spec"]["nodeName"]]
        if spec.is_deleting(pod):
            await self._finish(pod, node)
        elif spec.is_terminal(pod):
            node.release(key)
        else:
            await self._keep_running(pod, node, key)

    async def _keep_running(self, pod: Object, node: _Node, key: str) -> None:
        now = self._env.clock.now()
        created = parse(pod["metadata"].get("creationTimestamp")) or now
        started = parse((pod.get("status") or {}).get("startTime"))
        if started is None and self._ready_delay and now < created + self._ready_delay:
            self._pod_queue.add_after(key, (created + self._ready_delay - now).total_seconds())
            return
        started = started or now
        run_s = _run_s(pod)
        ended = run_s is not None and now >= started + timedelta(seconds=run_s)
        address = "" if spec.on_host_network(pod) else node.take(key, (pod.get("status") or {}).get("podIP", ""))
        runtime = _pretend(pod, address, started, started + timedelta(seconds=run_s or 0) if ended else None, _exit_code(pod))
        await self._report(pod, runtime, node, ended)
        if run_s is not None and not ended:
            self._pod_queue.add_after(key, (started + timedelta(seconds=run_s) - now).total_seconds())
        if ended:
            node.release(key)

    async def _finish(self, pod: Object, node: _Node) -> None:
        """Ends a pod that is being deleted.  One with finalizers stays in the API: its controllers look for a terminal phase."""
        key = spec.pod_key(pod)
        try:
            if pod["metadata"].get("finalizers") and not spec.is_terminal(pod):
                now = self._env.clock.now()
                await self._report(pod, _pretend(pod, "", now, now, TERMINATED_EXIT_CODE), node, True)
            if pod["metadata"].get("deletionGracePeriodSeconds") != 0:
                meta = pod["metadata"]
                await self._client.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"], grace_period_s=0)
        except (NotFound, Conflict):
            log.debug("simulated: %s is gone already", key)
        node.release(key)

    async def _report(self, pod: Object, runtime: PodRuntime, node: _Node, ended: bool) -> None:
        report = Report(runtime, ended=ended, host_ips=(node.ip,), runtime_name="simulated")
        patch = status_patch(pod, pod_status(pod, report, self._env.clock.now()))
        if patch is None:
            return
        meta = pod["metadata"]
        patch["metadata"] = {"uid": meta["uid"]}
        try:
            await self._client.patch(PODS, meta["name"], patch, meta["namespace"], patch_type="strategic", subresource="status")
        except NotFound:
            log.debug("simulated: %s/%s is gone already", meta["namespace"], meta["name"])


def _run_s(pod: Object) -> float | None:
    """How long the pod asks to run, or None for ever.  Raises ValueError where the annotation is no number."""
    annotations = pod["metadata"].get("annotations") or {}
    if RUN_ANNOTATION not in annotations:
        return None
    policy = spec.restart_policy(pod)
    return None if spec.restarts_after(policy, _exit_code(pod)) else float(annotations[RUN_ANNOTATION])


def _exit_code(pod: Object) -> int:
    return int((pod["metadata"].get("annotations") or {}).get(EXIT_CODE_ANNOTATION, "0"))


def _pretend(pod: Object, address: str, started: datetime, ended: datetime | None, exit_code: int = 0) -> PodRuntime:
    """A runtime in which init containers have succeeded and the others run, or have ended at `ended` with the code."""
    uid = pod["metadata"]["uid"]

    def container(body: Object, finished: datetime | None, exit_code: int) -> Container:
        state = ContainerState.RUNNING if finished is None else ContainerState.EXITED
        image = body.get("image", "")
        return Container(
            id=f"{uid}-{body['name']}", name=body["name"], sandbox_id=uid, attempt=0, state=state, created_at=started, started_at=started, finished_at=finished,
            exit_code=exit_code, image=image, image_ref=image,
        )  # fmt: skip

    init = [container(c, ended, 0) if spec.is_sidecar(c) else container(c, started, 0) for c in spec.init_containers(pod)]
    regular = [container(c, ended, exit_code) for c in spec.regular_containers(pod)]
    sandbox = Sandbox(uid, 0, ended is None, started, (address,) if address else ())
    return PodRuntime((sandbox,), tuple(init + regular))


def node_object(name: str, ip: str, pod_cidr: str, now: datetime) -> Object:
    """A Node as a kubelet of a big machine would register it."""
    moment = rfc3339(now)
    healthy = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )
    conditions = [
        {"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": moment, "lastTransitionTime": moment}
        for kind, status, reason, message in healthy
    ]
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "k8sfromscratch.io/simulated": "true"}
    info = {
        "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "simulated", "osImage": "simulated", "containerRuntimeVersion": "simulated://1",
        "kubeletVersion": KUBERNETES_VERSION, "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]},
        "status": {
            "capacity": dict(CAPACITY),
            "allocatable": dict(CAPACITY),
            "conditions": conditions,
            "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": info,
        },
    }
