"""Which containers of a pod are probed: those that run and have probes, each by one `Prober`."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from k8sfromscratch.core.pods import spec
from k8sfromscratch.core.pods.runtime_state import Container, ContainerState, Health, PodRuntime

from .context import Context
from .handlers import Target
from .prober import Prober

Object = dict[str, Any]


class ContainerProbes:
    def __init__(self, context: Context, changed: Callable[[], None]) -> None:
        self._context = context
        self._changed = changed
        self._probers: dict[str, Prober] = {}

    def follow(self, pod: Object, runtime: PodRuntime, tasks: asyncio.TaskGroup) -> None:
        """Starts and stops probers so that they fit what runs."""
        running = {c.id: c for c in runtime.containers if c.state is ContainerState.RUNNING}
        for container_id in [i for i in self._probers if i not in running]:
            self._probers.pop(container_id).stop()
        for container_id, container in running.items():
            body = spec.find_container(pod, container.name)
            if container_id not in self._probers and body is not None and any(body.get(f"{kind}Probe") for kind in ("startup", "liveness", "readiness")):
                self._probers[container_id] = self._start(pod, body, container, runtime, tasks)

    def health(self) -> dict[str, Health]:
        return {container_id: prober.health for container_id, prober in self._probers.items()}

    def stop_all(self) -> None:
        for prober in self._probers.values():
            prober.stop()
        self._probers.clear()

    def _start(self, pod: Object, body: Object, container: Container, runtime: PodRuntime, tasks: asyncio.TaskGroup) -> Prober:
        sandbox = runtime.sandbox
        ips = self._context.host_ips if spec.on_host_network(pod) else sandbox.ips if sandbox is not None else ()
        prober = Prober(
            Target(body, container.id, ips[0] if ips else ""),
            container,
            self._context.handlers,
            self._context.env,
            known=_known_health(pod, container.id),
            changed=self._changed,
            failed=partial(self._context.events.event, pod, "Warning", "Unhealthy"),
        )
        prober.start(tasks)
        return prober


def _known_health(pod: Object, container_id: str) -> Health | None:
    """What the API says of this very container: a kubelet before us has probed it."""
    status = pod.get("status") or {}
    for entry in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        if str(entry.get("containerID", "")).endswith(container_id):
            return Health(bool(entry.get("started")), bool(entry.get("ready")))
    return None
