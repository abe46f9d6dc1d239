"""The status the kubelet reports of a pod: a pure function of the pod, what runs, and why the rest does not.

Only what the kubelet owns is in the result; conditions of others (PodScheduled, readiness gates) stay as they are in the API.
Source: the API reference's PodStatus, and upstream's kubelet for reasons and messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import spec
from .qos import qos_class
from .runtime_state import Container, ContainerState, Ending, Health, PodRuntime, Waiting
from .spec import Object
from .times import rfc3339

LOST_EXIT_CODE = 137
_LOST = {"exitCode": LOST_EXIT_CODE, "reason": "ContainerStatusUnknown", "message": "The container could not be located when the pod was terminated"}

OWNED_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
"""In the order they are reported."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the status is made from besides the pod.  `ended`: nothing of the pod will run again.
    `runtime_name` prefixes container ids (`containerd://…`)."""

    runtime: PodRuntime = field(default_factory=PodRuntime)
    health: Mapping[str, Health] = field(default_factory=dict)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    ending: Ending | None = None
    ended: bool = False
    host_ips: Sequence[str] = ()
    runtime_name: str = "containerd"


def pod_status(pod: Object, report: Report, now: datetime) -> Object:
    old = pod.get("status") or {}
    init = [_container_status(pod, c, report, init=True) for c in spec.init_containers(pod)]
    regular = [_container_status(pod, c, report, init=False) for c in spec.regular_containers(pod)]
    phase = _phase(pod, init, regular, report)
    status: Object = {"phase": phase, "qosClass": qos_class(pod), "startTime": old.get("startTime") or rfc3339(now)}
    if report.ending is not None:
        status |= {"reason": report.ending.reason, "message": report.ending.message}
    generation = pod["metadata"].get("generation")
    if generation is not None:
        status["observedGeneration"] = generation
    if report.host_ips:
        status["hostIP"] = report.host_ips[0]
        status["hostIPs"] = [{"ip": ip} for ip in report.host_ips]
    ips = _pod_ips(pod, report)
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]
    status["conditions"] = _conditions(pod, phase, init, regular, report, ips, now)
    status["containerStatuses"] = regular
    if init:
        status["initContainerStatuses"] = init
    return status


def _pod_ips(pod: Object, report: Report) -> list[str]:
    if spec.on_host_network(pod):
        return list(report.host_ips)
    sandbox = report.runtime.sandbox
    if sandbox is not None and sandbox.ips:
        return list(sandbox.ips)
    return [entry["ip"] for entry in (pod.get("status") or {}).get("podIPs") or []]


# Containers


def _container_status(pod: Object, container: Object, report: Report, *, init: bool) -> Object:
    name = container["name"]
    history = report.runtime.history(name)
    current = history[0] if history else None
    old = _old_status(pod, name, init)
    status: Object = {"name": name, "image": container.get("image", ""), "imageID": "", "ready": False, "started": False, "lastState": {}}
    status["restartCount"] = max(current.attempt if current else 0, int(old.get("restartCount", 0)))
    if current is not None:
        status |= {"image": current.image or status["image"], "imageID": current.image_ref, "containerID": f"{report.runtime_name}://{current.id}"}
    dead = [c for c in history[1:] if c.state is ContainerState.EXITED]
    status["state"] = _state(pod, container, current, old, report)
    if "waiting" in status["state"] and current is not None and current.state is ContainerState.EXITED:
        dead.insert(0, current)
    if dead:
        status["lastState"] = {"terminated": _terminated(dead[0], report.runtime_name)}
    if current is not None and current.state is ContainerState.RUNNING:
        health = report.health.get(current.id, Health())
        status["started"] = health.started
        status["ready"] = health.started and health.ready
        if init and not spec.is_sidecar(container):
            status["ready"] = False
    elif init and not spec.is_sidecar(container) and status["state"].get("terminated", {}).get("exitCode") == 0:
        status["ready"] = True
    return status


def _state(pod: Object, container: Object, current: Container | None, old: Object, report: Report) -> Object:
    waiting = report.waiting.get(container["name"])
    if current is None:
        if "terminated" in (old.get("state") or {}):
            return dict(old["state"])
        if report.ended:
            return {"terminated": dict(_LOST)}
        default = Waiting("PodInitializing" if spec.init_containers(pod) else "ContainerCreating")
        return _waiting(waiting or default)
    if current.state is ContainerState.RUNNING:
        return {"running": {"startedAt": rfc3339(current.started_at or current.created_at)}}
    if current.state is ContainerState.EXITED:
        again = not report.ended and spec.restarts_after(spec.container_policy(pod, container), current.exit_code)
        return _waiting(waiting) if waiting is not None and again else {"terminated": _terminated(current, report.runtime_name)}
    if current.state is ContainerState.UNKNOWN:
        return {"terminated": dict(_LOST) | {"containerID": f"{report.runtime_name}://{current.id}"}}
    return _waiting(waiting or Waiting("ContainerCreating"))


def _waiting(waiting: Waiting) -> Object:
    body = {"reason": waiting.reason}
    if waiting.message:
        body["message"] = waiting.message
    return {"waiting": body}


def _terminated(container: Container, runtime_name: str) -> Object:
    body: Object = {"exitCode": container.exit_code, "reason": container.reason or ("Completed" if container.exit_code == 0 else "Error")}
    if container.exit_code > 128 and container.exit_code <= 128 + 64:
        body["signal"] = container.exit_code - 128
    if container.message:
        body["message"] = container.message
    if container.started_at is not None:
        body["startedAt"] = rfc3339(container.started_at)
    if container.finished_at is not None:
        body["finishedAt"] = rfc3339(container.finished_at)
    body["containerID"] = f"{runtime_name}://{container.id}"
    return body


def _old_status(pod: Object, name: str, init: bool) -> Object:
    field_name = "initContainerStatuses" if init else "containerStatuses"
    listed: list[Object] = (pod.get("status") or {}).get(field_name) or []
    return next((s for s in listed if s.get("name") == name), {})


# Phase


def _phase(pod: Object, init: list[Object], regular: list[Object], report: Report) -> str:
    """Pending until every regular container has run once; then Running, until it ends as the restart policy and the exit codes say."""
    if spec.is_terminal(pod):
        return str(pod["status"]["phase"])
    if report.ending is not None:
        # However its containers end now, the pod has failed; and the phase that says so is final.
        return "Failed" if report.ended else str((pod.get("status") or {}).get("phase") or "Pending")
    if report.ended:
        return "Succeeded" if regular and all(_exit_code(s) == 0 for s in regular) else "Failed"
    return _living_phase(pod, init, regular)


def _living_phase(pod: Object, init: list[Object], regular: list[Object]) -> str:
    policy = spec.restart_policy(pod)
    plain_init = [s for s, c in zip(init, spec.init_containers(pod), strict=True) if not spec.is_sidecar(c)]
    started = any(_exit_code(s) is not None or "running" in s["state"] for s in regular)
    if not started and any(policy == "Never" and _exit_code(s) not in (None, 0) for s in plain_init):
        return "Failed"
    if any(_exit_code(s) is None and "running" not in s["state"] for s in regular):
        return "Pending"
    if any("running" in s["state"] for s in regular):
        return "Running"
    if any(spec.restarts_after(policy, _exit_code(s) or 0) for s in regular):
        return "Running"
    return "Succeeded" if all(_exit_code(s) == 0 for s in regular) else "Failed"


def _exit_code(status: Object) -> int | None:
    """Of the last run that has ended, a restart under way included."""
    for part in ("state", "lastState"):
        terminated = status[part].get("terminated")
        if terminated is not None:
            return int(terminated["exitCode"])
    return None


# Conditions


def _conditions(pod: Object, phase: str, init: list[Object], regular: list[Object], report: Report, ips: list[str], now: datetime) -> list[Object]:
    sandbox = report.runtime.sandbox
    has_network = sandbox is not None and sandbox.ready and bool(ips)
    containers = _containers_ready(pod, phase, init, regular)
    wanted: dict[str, tuple[bool, str, str]] = {
        "PodReadyToStartContainers": (has_network and not report.ended, "", ""),
        "Initialized": _initialized(pod, phase, init, regular),
        "Ready": _ready(pod, containers),
        "ContainersReady": containers,
        "PodScheduled": (True, "", ""),
    }
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
    return [_condition(name, wanted[name], old.get(name), now) for name in OWNED_CONDITIONS]


def _condition(name: str, wanted: tuple[bool, str, str], old: Object | None, now: datetime) -> Object:
    ok, reason, message = wanted
    status = "True" if ok else "False"
    unchanged = old is not None and old.get("status") == status and old.get("lastTransitionTime")
    body: Object = {
        "type": name,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": old["lastTransitionTime"] if old and unchanged else rfc3339(now),
    }
    if reason:
        body["reason"] = reason
    if message:
        body["message"] = message
    return body


def _initialized(pod: Object, phase: str, init: list[Object], regular: list[Object]) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return True, "PodCompleted", ""
    if any("running" in s["state"] or _exit_code(s) is not None for s in regular):
        return True, "", ""
    missing = []
    for status, container in zip(init, spec.init_containers(pod), strict=True):
        done = status["started"] if spec.is_sidecar(container) else _done(status)
        if not done:
            missing.append(status["name"])
    if missing:
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(missing)}]"
    return True, "", ""


def _done(status: Object) -> bool:
    terminated: Mapping[str, Any] | None = status["state"].get("terminated")
    return terminated is not None and terminated["exitCode"] == 0


def _containers_ready(pod: Object, phase: str, init: list[Object], regular: list[Object]) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    staying = [s for s, c in zip(init, spec.init_containers(pod), strict=True) if spec.is_sidecar(c)] + regular
    unready = [s["name"] for s in staying if not s["ready"]]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def _ready(pod: Object, containers: tuple[bool, str, str]) -> tuple[bool, str, str]:
    """All containers ready, and every readiness gate's condition true."""
    if not containers[0]:
        return containers
    conditions = {c["type"]: c.get("status") for c in (pod.get("status") or {}).get("conditions") or []}
    for gate in pod.get("spec", {}).get("readinessGates") or []:
        name = gate["conditionType"]
        if name not in conditions:
            return False, "ReadinessGatesNotReady", f'corresponding condition of pod readiness gate "{name}" does not exist.'
        if conditions[name] != "True":
            return False, "ReadinessGatesNotReady", f'the status of pod readiness gate "{name}" is not "True", but {conditions[name]}'
    return True, "", ""


def status_patch(pod: Object, status: Object) -> Object | None:
    """The strategic merge patch that brings the API's status there, or None if it is there already.

    Conditions merge by type, so those of others are kept.  podIPs and hostIPs would merge by address: they are replaced whole."""
    old = pod.get("status") or {}
    changed: Object = {}
    for name, value in status.items():
        if name == "conditions":
            known = {c["type"]: c for c in old.get("conditions") or []}
            differing = [_over(known.get(c["type"]), c) for c in value if _content(known.get(c["type"])) != _content(c)]
            if differing:
                changed[name] = differing
        elif _content(old.get(name)) != _content(value):
            changed[name] = [{"$patch": "replace"}, *value] if name in ("podIPs", "hostIPs") and old.get(name) else value
    for name in ("reason", "message"):
        if name in old and name not in status and not spec.is_terminal(pod):
            changed[name] = None
    return {"status": changed} if changed else None


def _over(old: Object | None, new: Object) -> Object:
    """Merging would keep a reason or message that is no longer said: null takes it away."""
    return {**{key: None for key in ("reason", "message") if key in (old or {})}, **new}


def _content(value: Any) -> Any:
    """For comparing: null, an empty object and an absent field are the same, and nobody looks at when or for which generation a
    condition was probed."""
    if isinstance(value, dict):
        pairs = {k: _content(v) for k, v in value.items() if k not in ("lastProbeTime", "observedGeneration")}
        return {k: v for k, v in pairs.items() if v is not None and v != {}}
    return [_content(v) for v in value] if isinstance(value, list) else value
