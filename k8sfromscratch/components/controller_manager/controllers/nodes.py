"""Nodes: their health, the pods driven from them, the pods that outlive them, and their pod ranges."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from k8sfromscratch.api.errors import NotFound
from k8sfromscratch.api.registry import LEASES, NODES, PODS
from k8sfromscratch.components.controller_manager.controller import BY_NODE, Context, Controller, Trigger, own_key
from k8sfromscratch.core.reconcile import node_ipam, node_lifecycle, objects, pod_gc, taint_eviction, taints
from k8sfromscratch.core.reconcile.plan import Emit, Object, Plan

LEASE_NAMESPACE = "kube-node-lease"
EVERYTHING = "all"
"""The key of those that plan for all objects at once."""


def node_lifecycle_controller(context: Context) -> Controller:
    """Looks at every node each `--node-monitor-period`: a lease that is *not* renewed wakes nobody."""
    nodes, pods = context.informer(NODES), context.informer(PODS)
    leases = context.informers.get(LEASES, namespace=LEASE_NAMESPACE)
    health: dict[str, node_lifecycle.Health] = {}

    async def plan(key: str, now: datetime) -> Plan:
        node = nodes.store.get(key)
        if node is None:
            health.pop(key, None)
            return Plan()
        registered = key not in health
        health[key] = node_lifecycle.observe(health.get(key), node, leases.store.get(f"{LEASE_NAMESPACE}/{key}"), now)
        result = node_lifecycle.plan(node, health[key], pods.store.by_index(BY_NODE, key), nodes.store.list(), now, context.options.monitoring)
        if registered:
            welcome = Emit(node, "Normal", "RegisteredNode", f"Node {key} event: Registered Node {key} in Controller")
            result = Plan((welcome, *result.steps), result.conclude, result.requeue_after_s)
        return result

    def keys_of_pod(old: Object | None, new: Object | None) -> Iterable[str]:
        """A pod that says it is ready on a node that nobody hears from."""
        node_name = objects.spec(new).get("nodeName") if new is not None and objects.pod_ready(new) else None
        node = nodes.store.get(node_name) if node_name else None
        return (node_name,) if node is not None and node_name and taints.ready_taint(node) == taints.UNREACHABLE else ()

    triggers = (Trigger(nodes, own_key), Trigger(pods, keys_of_pod))
    return Controller("node-lifecycle-controller", plan, triggers, reads=(leases,), event_source="node-controller", serial=True)


def taint_eviction_controller(context: Context) -> Controller:
    nodes, pods = context.informer(NODES), context.informer(PODS)
    noticed: dict[str, datetime] = {}
    """Pod's key -> when a taint was first seen to concern it, for taints that carry no time."""

    async def plan(key: str, now: datetime) -> Plan:
        pod = pods.store.get(key)
        node = nodes.store.get(objects.spec(pod).get("nodeName", "")) if pod is not None else None
        if pod is None or node is None or not taints.no_execute(node):
            noticed.pop(key, None)
            return Plan()
        return taint_eviction.plan(pod, node, noticed.setdefault(key, now), now)

    def keys_of_node(old: Object | None, new: Object | None) -> Iterable[str]:
        if new is None or (old is not None and taints.no_execute(old) == taints.no_execute(new)):
            return ()
        return [objects.key(pod) for pod in pods.store.by_index(BY_NODE, objects.name(new))]

    def keys_of_pod(old: Object | None, new: Object | None) -> Iterable[str]:
        present = new if new is not None else old
        node = nodes.store.get(objects.spec(present).get("nodeName", "")) if present is not None else None
        return own_key(old, new) if node is not None and taints.no_execute(node) else ()

    return Controller("taint-eviction-controller", plan, (Trigger(nodes, keys_of_node), Trigger(pods, keys_of_pod)))


def pod_gc_controller(context: Context) -> Controller:
    nodes, pods = context.informer(NODES), context.informer(PODS)
    missing: dict[str, datetime] = {}

    async def plan(key: str, now: datetime) -> Plan:
        present = {objects.name(node): node for node in nodes.store.list()}
        every = pods.store.list()
        named = {objects.spec(pod).get("nodeName", "") for pod in every} - {""}
        for name in [name for name in missing if name in present or name not in named]:
            del missing[name]
        for name in named - present.keys():
            missing.setdefault(name, now)
        overdue = sorted(name for name, since in missing.items() if now - since >= timedelta(seconds=pod_gc.QUARANTINE_S))
        gone = {name for name in overdue if not await exists(name)}
        return pod_gc.plan(every, present, gone, now, terminated_threshold=context.options.terminated_pod_threshold)

    async def exists(name: str) -> bool:
        try:
            await context.client.get(NODES, name)
        except NotFound:
            return False
        return True

    return Controller("pod-garbage-collector-controller", plan, reads=(nodes, pods), first_keys=(EVERYTHING,), serial=True)


def node_ipam_controller(context: Context) -> Controller:
    nodes = context.informer(NODES)

    async def plan(key: str, now: datetime) -> Plan:
        return node_ipam.plan(nodes.store.list(), context.options.pools, context.options.service_ranges)

    def keys_of(old: Object | None, new: Object | None) -> Iterable[str]:
        """A node that has no range, or one whose range has become free."""
        return (EVERYTHING,) if new is None or not objects.spec(new).get("podCIDR") else ()

    return Controller("node-ipam-controller", plan, (Trigger(nodes, keys_of),), serial=True)
