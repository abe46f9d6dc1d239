"""The scheduling loop: one pod at a time is decided, many are bound at once.

informers ──► Cluster (arrays) and Queue ──► pop ──► core.scheduling.schedule ──┬─► assume: counted on the node at once
                    ▲                                                          │    bind in a task of its own (POST pods/binding)
                    └──────── a failed bind takes the assumption back ◄────────┘
                                                                               └─► no node: PodScheduled=False, event, preemption

invariant: every pod in `assumed` is counted in the cluster on that node, until the informer shows it bound (then it is counted
           from the cache) or its bind fails (then it is taken out and tried again).
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.api.errors import ApiError, NotFound
from k8sfromscratch.api.registry import NAMESPACES, NODES, PODS, REPLICA_SETS, SERVICES, STATEFUL_SETS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.client import Client, EventRecorder, Informer, Informers
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.components.scheduler.metrics import SchedulerMetrics
from k8sfromscratch.core.scheduling.algorithm import Placed, Unschedulable, schedule
from k8sfromscratch.core.scheduling.cluster import Cluster
from k8sfromscratch.core.scheduling.pod import PodInfo, SpreadConstraint, read_pod
from k8sfromscratch.core.scheduling.preemption import preempt
from k8sfromscratch.core.scheduling.queue import Queue, Waiting
from k8sfromscratch.core.scheduling.topology_spread import default_constraints
from k8sfromscratch.core.selectors.labels import matches
from k8sfromscratch.process.clock import Env, rfc3339

Object = dict[str, Any]

log = logging.getLogger(__name__)

BINDS_MAX = 100
"""Binds under way at once: enough to hide the apiserver's latency, few enough to be fair to its other clients."""


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    scheduler_name: str = "default-scheduler"


class Scheduler:
    def __init__(self, client: Client, informers: Informers, env: Env, recorder: EventRecorder, metrics: SchedulerMetrics, options: SchedulerOptions) -> None:
        self._client, self._env, self._recorder, self._metrics, self._options = client, env, recorder, metrics, options
        self.cluster = Cluster()
        self.queue = Queue()
        self.assumed: dict[str, str] = {}
        self._homeless: dict[str, dict[str, PodInfo]] = {}
        """Pods bound to nodes that have not been seen yet: node -> key -> pod."""
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(BINDS_MAX)
        self._pods = informers.get(PODS)
        self._by_namespace: dict[Resource, Informer] = {
            res: informers.get(res, indexers={"namespace": lambda obj: (obj["metadata"].get("namespace", ""),)})
            for res in (SERVICES, REPLICA_SETS, STATEFUL_SETS)
        }
        self._nodes = informers.get(NODES)
        self._namespaces = informers.get(NAMESPACES)
        self._nodes.add_handler(self._on_node)
        self._namespaces.add_handler(self._on_namespace)
        self._pods.add_handler(self._on_pod)

    async def run(self) -> None:
        """Schedules until cancelled."""
        for informer in (self._nodes, self._namespaces, self._pods, *self._by_namespace.values()):
            await informer.wait_synced()
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._slots.acquire()
                waiting = await self._next()
                tasks.create_task(self._attempt(waiting), name=f"schedule {waiting.pod.key}")

    # What the informers tell

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None:
                name = old["metadata"]["name"]
                row = self.cluster.row_of.get(name)
                if row is not None:
                    self._homeless.setdefault(name, {}).update(self.cluster.pods_on[row])
                self.cluster.remove_node(name)
            return
        self.cluster.set_node(new)
        name = new["metadata"]["name"]
        for pod in self._homeless.pop(name, {}).values():
            self.cluster.add_pod(pod, name)
        if old is None or _node_matters(old) != _node_matters(new):
            self._move("node")

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.cluster.set_namespace(new["metadata"]["name"], new["metadata"].get("labels") or {})
        elif old is not None:
            self.cluster.set_namespace(old["metadata"]["name"], None)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        shown = new if new is not None else old
        assert shown is not None, "a change has an old or a new object"
        key = f"{shown['metadata']['namespace']}/{shown['metadata']['name']}"
        if new is None or (new.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self._forget(key)
        elif new["spec"].get("nodeName"):
            self._count(read_pod(new), new["spec"]["nodeName"])
        elif new["spec"].get("schedulerName", "default-scheduler") != self._options.scheduler_name or new["metadata"].get("deletionTimestamp"):
            self.queue.remove(key)
        elif key not in self.assumed and (old is None or _pod_matters(old) != _pod_matters(new)):
            self.queue.add(read_pod(new), self._now())
            self._wake.set()

    def _forget(self, key: str) -> None:
        self.queue.remove(key)
        self.assumed.pop(key, None)
        for pods in self._homeless.values():
            pods.pop(key, None)
        if key in self.cluster.pod_row:
            self.cluster.remove_pod(key)
            self._move("node-freed")

    def _count(self, pod: PodInfo, node: str) -> None:
        self.queue.remove(pod.key)
        self.assumed.pop(pod.key, None)
        known_row = self.cluster.pod_row.get(pod.key)
        if known_row is not None and self.cluster.names[known_row] == node and self.cluster.pods_on[known_row][pod.key] == pod:
            return
        if not self.cluster.add_pod(pod, node):
            self._homeless.setdefault(node, {})[pod.key] = pod
        self._move("pod-assigned")

    def _move(self, change: Any) -> None:
        self.queue.move(change, self._now())
        self._wake.set()

    # One pod

    async def _next(self) -> Waiting:
        while True:
            self._wake.clear()
            waiting = self.queue.pop(self._now())
            self._metrics.show_pending(self.queue.pending())
            if waiting is not None:
                return waiting
            wake_at = self.queue.next_wake()
            try:
                async with asyncio.timeout(None if wake_at is None else max(wake_at - self._now(), 0.001)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _attempt(self, waiting: Waiting) -> None:
        """Decides at once, before anything is awaited, so that decisions follow one another; then carries it out."""
        try:
            pod, started = waiting.pod, self._now()
            if pod.key in self.queue.in_flight:
                result = schedule(pod, self.cluster, tie=self._env.rng.randrange, soft_spread=self._soft_spread(pod))
                if isinstance(result, Placed):
                    self.assumed[pod.key] = result.node
                    self.cluster.add_pod(pod, result.node)
                    await self._bind(pod, result.node, started)
                else:
                    await self._refuse(pod, result, started)
        finally:
            self._slots.release()

    async def _bind(self, pod: PodInfo, node: str, started: float) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.create(PODS, binding, namespace=pod.namespace, name=pod.name, subresource="binding")
        except (ApiError, TransportError) as error:
            log.warning("binding %s to %s failed: %s", pod.key, node, error)
            if self.assumed.pop(pod.key, None) is not None:
                self.cluster.remove_pod(pod.key)
                self._move("node-freed")
            if isinstance(error, NotFound):
                self.queue.remove(pod.key)
            else:
                self.queue.failed(pod.key, frozenset(), self._now())
                self._wake.set()
            self._metrics.attempt("error", self._now() - started)
            return
        self.queue.in_flight.discard(pod.key)
        self._recorder.event(_reference(pod), "Normal", "Scheduled", f"Successfully assigned {pod.namespace}/{pod.name} to {node}")
        self._metrics.attempt("scheduled", self._now() - started)

    async def _refuse(self, pod: PodInfo, failure: Unschedulable, started: float) -> None:
        message = failure.message()
        eviction = preempt(pod, self.cluster, failure) if pod.priority > 0 else None
        self.queue.failed(pod.key, failure.plugins, self._now())
        self._recorder.event(_reference(pod), "Warning", "FailedScheduling", message)
        self._metrics.attempt("unschedulable", self._now() - started)
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": rfc3339(self._env.clock.now()),
        }
        status: Object = {"conditions": [condition]}
        if eviction is not None:
            status["nominatedNodeName"] = eviction.node
        try:
            await self._client.patch(PODS, pod.name, {"status": status}, pod.namespace, patch_type="strategic", subresource="status")
            for victim in eviction.victims if eviction is not None else ():
                log.info("preempting %s on %s for %s", victim.key, eviction.node if eviction else "", pod.key)
                self._recorder.event(_reference(victim), "Normal", "Preempted", f"Preempted by pod {pod.uid} on node {eviction.node if eviction else ''}")
                await self._client.delete(PODS, victim.name, victim.namespace, uid=victim.uid)
        except NotFound:
            log.debug("%s or a victim of it is gone already", pod.key)
        except (ApiError, TransportError) as error:
            log.warning("telling of the failure to schedule %s: %s", pod.key, error)

    def _soft_spread(self, pod: PodInfo) -> tuple[SpreadConstraint, ...]:
        """Upstream's system defaults hold for pods of a service, replica set or stateful set: spread over those that the same one selects."""
        if pod.spread:
            return ()
        labels = dict(pod.labels)
        for res, informer in self._by_namespace.items():
            for owner in informer.store.by_index("namespace", pod.namespace):
                selector = _selector(res, owner)
                if selector is not None and matches(selector, labels):
                    return default_constraints(selector)
        return ()

    def _now(self) -> float:
        return self._env.clock.monotonic()


def _selector(res: Resource, obj: Mapping[str, Any]) -> Object | None:
    selector = (obj.get("spec") or {}).get("selector")
    if not selector:
        return None
    return {"matchLabels": selector} if res is SERVICES else selector


def _node_matters(node: Object) -> tuple[Any, ...]:
    """What of a node can change a decision: a heartbeat is not news."""
    spec = node.get("spec") or {}
    return node["metadata"].get("labels"), spec.get("taints"), spec.get("unschedulable"), (node.get("status") or {}).get("allocatable")


def _pod_matters(pod: Object) -> tuple[Any, ...]:
    return pod["metadata"]["uid"], pod["metadata"].get("labels"), pod["spec"], pod["metadata"].get("deletionTimestamp")


def _reference(pod: PodInfo) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}}
