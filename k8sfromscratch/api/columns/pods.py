"""A pod's row.  STATUS is the most telling of phase, reasons and container states, found in a fixed order:

phase < status.reason < SchedulingGated < the first init container that is not done (Init:…) < containers, the first one last
< Completed but still running (Running, NotReady) < deleted (Terminating, Unknown)
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from k8sfromscratch.api.columns.text import NONE, Object, age, has_condition, since

_NODE_LOST = "NodeLost"


class _Restarts:
    """How often containers were restarted, and when last."""

    def __init__(self) -> None:
        self.count = 0
        self.last = ""

    def add(self, status: Mapping[str, Any]) -> None:
        self.count += status.get("restartCount", 0)
        finished = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        # RFC 3339 in UTC with whole seconds sorts as text.
        self.last = max(self.last, finished)

    def text(self, now: datetime) -> str:
        return f"{self.count} ({since(self.last, now)} ago)" if self.count and self.last else str(self.count)


def cells(pod: Object, now: datetime) -> list[Any]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    ready, total, reason, restarts = _summary(pod)
    ips = status.get("podIPs") or []
    return [
        pod["metadata"]["name"],
        f"{ready}/{total}",
        reason,
        restarts.text(now),
        age(pod, now),
        (ips[0].get("ip") if ips else "") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _readiness_gates(pod, spec.get("readinessGates") or ()),
    ]


def _summary(pod: Object) -> tuple[int, int, str, _Restarts]:
    """(ready containers, all containers, STATUS, restarts)."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    sidecars = {one.get("name") for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or ()) + len(sidecars)
    reason = status.get("reason") or status.get("phase") or ""
    if any(one.get("type") == "PodScheduled" and one.get("reason") == "SchedulingGated" for one in status.get("conditions") or ()):
        reason = "SchedulingGated"

    ready, waiting_for, of_init, of_sidecars = _init_containers(status, sidecars, len(spec.get("initContainers") or ()))
    reason = waiting_for or reason
    restarts = of_init
    if not waiting_for or has_condition(pod, "Initialized"):
        restarts = of_sidecars
        running = False
        for one in reversed(status.get("containerStatuses") or ()):
            restarts.add(one)
            state = one.get("state") or {}
            if (state.get("waiting") or {}).get("reason"):
                reason = state["waiting"]["reason"]
            elif "terminated" in state:
                reason = _exit(state["terminated"])
            elif one.get("ready") and "running" in state:
                running = True
                ready += 1
        if reason == "Completed" and running:
            reason = "Running" if has_condition(pod, "Ready") else "NotReady"

    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == _NODE_LOST:
            reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return ready, total, reason, restarts


def _init_containers(status: Mapping[str, Any], sidecars: set[str | None], total: int) -> tuple[int, str, _Restarts, _Restarts]:
    """(ready sidecars, what the pod waits for or nothing, restarts of all, restarts of sidecars), up to the first that is not done."""
    ready, of_all, of_sidecars = 0, _Restarts(), _Restarts()
    for index, one in enumerate(status.get("initContainerStatuses") or ()):
        of_all.add(one)
        state = one.get("state") or {}
        terminated = state.get("terminated")
        is_sidecar = one.get("name") in sidecars
        if is_sidecar:
            of_sidecars.add(one)
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if is_sidecar and one.get("started"):
            ready += bool(one.get("ready"))
            continue
        if terminated is not None:
            return ready, f"Init:{_exit(terminated)}", of_all, of_sidecars
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return ready, f"Init:{waiting}", of_all, of_sidecars
        return ready, f"Init:{index}/{total}", of_all, of_sidecars
    return ready, "", of_all, of_sidecars


def _exit(terminated: Mapping[str, Any]) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    return f"Signal:{terminated['signal']}" if terminated.get("signal") else f"ExitCode:{terminated.get('exitCode', 0)}"


def _readiness_gates(pod: Object, gates: Iterable[Mapping[str, Any]]) -> str:
    kinds = [gate.get("conditionType", "") for gate in gates]
    return f"{sum(has_condition(pod, kind) for kind in kinds)}/{len(kinds)}" if kinds else NONE
