"""The Node object of this kubelet: how it registers, and the status it keeps reporting.  Pure: the machine's facts are arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from k8sfromscratch import KUBERNETES_VERSION
from k8sfromscratch.core.pods.pressure import Threshold, under_pressure
from k8sfromscratch.core.pods.times import rfc3339
from k8sfromscratch.runtime.interface import Image, RuntimeReadiness, RuntimeVersion

from .machine import Capacity, Identity

Object = dict[str, Any]

IMAGES_MAX = 50
"""As many as upstream lists: the scheduler looks for them, and the object must stay small."""

_PRESSURE_TEXTS = {
    "MemoryPressure": (
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
        "KubeletHasInsufficientMemory",
        "kubelet has insufficient memory available",
    ),
    "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure", "KubeletHasDiskPressure", "kubelet has disk pressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available", "KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
}


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """From the flags.  `taints` and `labels` apply at registration; the default labels are kept up later too."""

    name: str
    ips: tuple[str, ...]
    host_name: str
    port: int = 10250
    max_pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Object] = ()
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeFindings:
    """What was found this time.  `runtime_error` stands for a runtime that does not answer."""

    identity: Identity
    capacity: Capacity
    runtime: RuntimeVersion | None
    readiness: RuntimeReadiness | None
    runtime_error: str = ""
    images: Sequence[Image] = ()


def default_labels(settings: NodeSettings, identity: Identity) -> dict[str, str]:
    labels = {"kubernetes.io/hostname": settings.host_name, "kubernetes.io/os": "linux", "kubernetes.io/arch": identity.architecture}
    return labels | {"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": identity.architecture}


def node_object(settings: NodeSettings, found: NodeFindings, now: datetime) -> Object:
    """As it is created."""
    node: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": settings.name, "labels": {**default_labels(settings, found.identity), **settings.labels}},
        "spec": {},
        "status": node_status(settings, found, None, now),
    }
    if settings.taints:
        node["spec"]["taints"] = list(settings.taints)
    return node


def node_status(settings: NodeSettings, found: NodeFindings, old: Object | None, now: datetime) -> Object:
    """`old` is the status in the API, for the moments of transition."""
    capacity, allocatable = _resources(settings, found.capacity)
    return {
        "capacity": capacity,
        "allocatable": allocatable,
        "conditions": _conditions(settings, found, old, now),
        "addresses": [{"type": "InternalIP", "address": ip} for ip in settings.ips] + [{"type": "Hostname", "address": settings.host_name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": settings.port}},
        "nodeInfo": _info(found),
        "images": _images(found.images),
    }


def _resources(settings: NodeSettings, capacity: Capacity) -> tuple[Object, Object]:
    """Allocatable is what is left when the eviction thresholds are kept free."""
    memory_kept = settings.thresholds.get("memory.available", Threshold()).of(capacity.memory_bytes)
    disk_kept = settings.thresholds.get("nodefs.available", Threshold()).of(capacity.filesystem_bytes)
    total = {
        "cpu": str(capacity.cpus),
        "memory": f"{capacity.memory_bytes // 1024}Ki",
        "ephemeral-storage": f"{capacity.filesystem_bytes // 1024}Ki",
        "pods": str(settings.max_pods),
    }
    usable = {"memory": f"{(capacity.memory_bytes - memory_kept) // 1024}Ki", "ephemeral-storage": str(capacity.filesystem_bytes - disk_kept)}
    return total, total | usable


def _info(found: NodeFindings) -> Object:
    identity = found.identity
    return {
        "machineID": identity.machine_id,
        "systemUUID": identity.system_uuid,
        "bootID": identity.boot_id,
        "kernelVersion": identity.kernel_version,
        "osImage": identity.os_image,
        "containerRuntimeVersion": str(found.runtime or "unknown://"),
        "kubeletVersion": KUBERNETES_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": identity.architecture,
    }


def _images(images: Sequence[Image]) -> list[Object]:
    largest = sorted(images, key=lambda image: (-image.size_bytes, image.id))[:IMAGES_MAX]
    return [{"names": [*image.digests, *image.tags], "sizeBytes": image.size_bytes} for image in largest if image.digests or image.tags]


def _conditions(settings: NodeSettings, found: NodeFindings, old: Object | None, now: datetime) -> list[Object]:
    capacity = found.capacity
    total = {
        "memory.available": capacity.memory_bytes,
        "nodefs.available": capacity.filesystem_bytes,
        "nodefs.inodesFree": capacity.filesystem_inodes,
        "pid.available": capacity.pids_max,
    }
    left = {
        "memory.available": capacity.memory_available_bytes,
        "nodefs.available": capacity.filesystem_available_bytes,
        "nodefs.inodesFree": capacity.filesystem_inodes_free,
        "pid.available": capacity.pids_max - capacity.pids,
    }
    wanted = []
    for kind, pressed in under_pressure(settings.thresholds, left, total).items():
        good_reason, good_text, bad_reason, bad_text = _PRESSURE_TEXTS[kind]
        wanted.append((kind, "True", bad_reason, bad_text) if pressed else (kind, "False", good_reason, good_text))
    problem = _not_ready(found)
    ready = ("Ready", "False", "KubeletNotReady", problem) if problem else ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
    known = {c["type"]: c for c in (old or {}).get("conditions") or []}
    return [_condition(entry, known.get(entry[0]), now) for entry in [*wanted, ready]]


def _not_ready(found: NodeFindings) -> str:
    if found.readiness is None:
        return f"container runtime is down: {found.runtime_error}"
    problems = [] if found.readiness.runtime else ["container runtime not ready"]
    problems += [] if found.readiness.network else ["container runtime network not ready"]
    return ", ".join(problems) + ": " + "; ".join(found.readiness.problems) if problems else ""


def _condition(entry: tuple[str, str, str, str], old: Object | None, now: datetime) -> Object:
    kind, status, reason, message = entry
    moment = rfc3339(now)
    since = old["lastTransitionTime"] if old is not None and old.get("status") == status and old.get("lastTransitionTime") else moment
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": moment, "lastTransitionTime": since}


def differs(status: Object, old: Object | None) -> bool:
    """Whether more than the heartbeats changed."""
    return old is None or _content(status) != _content({key: old.get(key) for key in status})


def _content(status: Object) -> Object:
    conditions = status.get("conditions") or []
    bare = {c["type"]: {k: v for k, v in c.items() if k != "lastHeartbeatTime"} for c in conditions}
    return {**status, "conditions": {kind: bare[kind] for kind in bare if kind in (*_PRESSURE_TEXTS, "Ready")}}


def status_patch(status: Object, old: Object | None) -> Object:
    """A strategic merge patch: conditions merge by type; addresses would too, so that they are replaced whole."""
    changed = {key: value for key, value in status.items() if key == "conditions" or (old or {}).get(key) != value}
    if "addresses" in changed and (old or {}).get("addresses"):
        changed["addresses"] = [{"$patch": "replace"}, *status["addresses"]]
    return {"status": changed}
