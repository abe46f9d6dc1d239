"""Nodes that stop reporting: their conditions turn Unknown, their pods not ready, and taints keep pods away or drive them out.

A kubelet shows that it lives by renewing its Lease (and now and then by posting status).  What counts is when this controller last *saw*
either change, by its own clock: clocks of nodes may be off, and a controller that has just started must first give everyone a
full grace period.  That memory is `Health`; it is a value, kept by the runner's side and advanced by `observe`.

    lease renewed ──> healthy ──(grace period without a change)──> Ready=Unknown ──> NoSchedule taint ──(zone's rate)──> NoExecute taint

How fast nodes get the NoExecute taint depends on how much of their zone is down: when everything is unreachable it is more likely
that the fault is on our side, and nothing is driven out at all.  Driving pods out is `taint_eviction`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from k8sfromscratch.api.registry import NODES, PODS
from k8sfromscratch.core.reconcile import objects, taints, times
from k8sfromscratch.core.reconcile.plan import NOTHING, Emit, Object, Patch, Plan, Step, Together, Update, Write, earliest


@dataclass(frozen=True, slots=True)
class Monitoring:
    """upstream's flags, with their defaults."""

    monitor_period_s: float = 5.0
    grace_period_s: float = 50.0
    startup_grace_period_s: float = 60.0
    eviction_rate: float = 0.1
    """Nodes a second and zone that may get the NoExecute taint."""
    secondary_eviction_rate: float = 0.01
    unhealthy_zone_threshold: float = 0.55
    large_cluster_size_threshold: int = 50


@dataclass(frozen=True, slots=True)
class Health:
    """What was last seen of one node, and when it last changed by our clock."""

    heartbeat: str
    renewed: str
    probed_at: datetime


class ZoneState(Enum):
    NORMAL = "Normal"
    PARTIAL_DISRUPTION = "PartialDisruption"
    FULL_DISRUPTION = "FullDisruption"


_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def observe(previous: Health | None, node: Object, lease: Object | None, now: datetime) -> Health:
    """A node that has never posted a status counts from its creation, any other from when it is first seen."""
    ready = objects.condition(node, "Ready")
    heartbeat = (ready or {}).get("lastHeartbeatTime") or ""
    renewed = objects.spec(lease).get("renewTime") or "" if lease is not None else ""
    if previous is None:
        return Health(heartbeat, renewed, now if ready is not None else times.parse_or(objects.created_at(node), now))
    if heartbeat != previous.heartbeat or (renewed and renewed != previous.renewed):
        return Health(heartbeat, renewed or previous.renewed, now)
    return replace(previous, heartbeat=heartbeat)


def plan(node: Object | None, health: Health | None, pods: Sequence[Object], nodes: Sequence[Object], now: datetime, options: Monitoring) -> Plan:
    """`pods`: those on the node; `nodes`: all nodes, for the state of this one's zone."""
    if node is None or health is None or objects.deleting(node):
        return NOTHING
    ready = objects.condition(node, "Ready")
    grace_s = options.grace_period_s if ready is not None else options.startup_grace_period_s
    stale_in_s = times.seconds_until(health.probed_at + timedelta(seconds=grace_s), now)
    if stale_in_s <= 0 and any((objects.condition(node, kind) or {"status": ""})["status"] != "Unknown" for kind in _CONDITIONS):
        return Plan(_declared_unknown(node, now))
    allowed_in_s = eviction_allowed_in_s(node, nodes, now, options)
    evict = False if allowed_in_s is None else True if allowed_in_s <= 0 else None
    steps: list[Step] = []
    wanted = taints.wanted(node, evict=evict, now=now)
    if wanted != taints.of(node):
        patch = {"metadata": {"uid": objects.uid(node), "resourceVersion": node["metadata"]["resourceVersion"]}, "spec": {"taints": wanted or None}}
        steps.append(Patch(NODES, None, objects.name(node), patch))
    if ready is not None and ready["status"] == "Unknown":
        marks = tuple(_marked_not_ready(pod, now) for pod in pods if objects.pod_ready(pod))
        steps += [Together(marks)] if marks else []
    waiting_to_evict = allowed_in_s if allowed_in_s is not None and allowed_in_s > 0 else None
    return Plan(tuple(steps), requeue_after_s=earliest(options.monitor_period_s, stale_in_s if stale_in_s > 0 else None, waiting_to_evict))


def _declared_unknown(node: Object, now: datetime) -> tuple[Step, ...]:
    """Every condition that only the kubelet can know is now unknown."""
    conditions = list(objects.status(node).get("conditions") or ())
    moment = times.text(now)
    for kind in _CONDITIONS:
        present = objects.find_condition(conditions, kind)
        if present is None:
            never = {"reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."}
            unknown = {"type": kind, "status": "Unknown", "lastHeartbeatTime": objects.created_at(node), "lastTransitionTime": moment, **never}
        elif present["status"] == "Unknown":
            continue
        else:
            stopped = {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            unknown = {**present, "status": "Unknown", "lastTransitionTime": moment, **stopped}
        conditions = objects.with_condition(conditions, unknown)
    was_ready = (objects.condition(node, "Ready") or {}).get("status") == "True"
    note = Emit(node, "Normal", "NodeNotReady", f"Node {objects.name(node)} status is now: NodeNotReady") if was_ready else None
    changed = objects.replaced(node, status={**objects.status(node), "conditions": conditions})
    return (Update(NODES, changed, subresource="status", done=note),)


def _marked_not_ready(pod: Object, now: datetime) -> Write:
    """Takes the pod out of its Services.  Its kubelet will say how it really is when it comes back."""
    ready = {**(objects.condition(pod, "Ready") or {}), "status": "False", "lastTransitionTime": times.text(now)}
    conditions = [ready if c["type"] == "Ready" else c for c in objects.status(pod).get("conditions") or ()]
    identity = {"uid": objects.uid(pod), "resourceVersion": pod["metadata"]["resourceVersion"]}
    note = Emit(pod, "Warning", "NodeNotReady", "Node is not ready")
    patch = {"metadata": identity, "status": {"conditions": conditions}}
    return Patch(PODS, objects.namespace(pod), objects.name(pod), patch, subresource="status", done=note, ignore=frozenset({"NotFound"}))


# Zones.


def zone(node: Object) -> tuple[str, str]:
    labels = objects.labels(node)
    return labels.get("topology.kubernetes.io/region", ""), labels.get("topology.kubernetes.io/zone", "")


def zone_state(nodes: Sequence[Object], options: Monitoring) -> ZoneState:
    lost = sum(not _is_ready(node) for node in nodes)
    if lost and lost == len(nodes):
        return ZoneState.FULL_DISRUPTION
    if lost > 2 and lost / len(nodes) >= options.unhealthy_zone_threshold:
        return ZoneState.PARTIAL_DISRUPTION
    return ZoneState.NORMAL


def eviction_allowed_in_s(node: Object, nodes: Sequence[Object], now: datetime, options: Monitoring) -> float | None:
    """Seconds until this node may get its NoExecute taint (it has its turn after others of its zone), or None: not in the present state."""
    zones: dict[tuple[str, str], list[Object]] = {}
    for one in nodes:
        zones.setdefault(zone(one), []).append(one)
    if all(zone_state(members, options) is ZoneState.FULL_DISRUPTION for members in zones.values()):
        return None
    if taints.evicting_since(node) is not None:
        return 0.0
    members = zones.get(zone(node), [node])
    rate = options.eviction_rate
    if zone_state(members, options) is ZoneState.PARTIAL_DISRUPTION:
        rate = options.secondary_eviction_rate if len(members) > options.large_cluster_size_threshold else 0.0
    if rate <= 0:
        return options.monitor_period_s
    last = max((taints.evicting_since(one) or "" for one in members), default="")
    return max(times.seconds_until(times.parse(last) + timedelta(seconds=1 / rate), now), 0.0) if last else 0.0


def _is_ready(node: Object) -> bool:
    ready = objects.condition(node, "Ready")
    return ready is not None and ready["status"] == "True"
