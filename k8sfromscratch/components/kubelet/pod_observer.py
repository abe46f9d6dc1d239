"""Reads what the runtime has of one pod, with as few calls as that takes.

The listing says which sandboxes and containers there are; addresses, exit codes and times need a call for each.  Those are made once a state:
what has ended stays as it is, and of what runs only the listing can change.
"""

from dataclasses import replace
from pathlib import Path

from k8sfromscratch.core.pods.logs import LogFilter, MalformedLog, tail_offset
from k8sfromscratch.core.pods.runtime_state import Container, ContainerState, PodRuntime, Sandbox
from k8sfromscratch.core.pods.spec import Object, find_container
from k8sfromscratch.runtime.interface import NotInRuntime

from .context import Context

FALLBACK_LINES, FALLBACK_BYTES = 80, 2048
"""How much of its log stands in for a termination message, where the container asks for that."""


class PodObserver:
    def __init__(self, context: Context, uid: str) -> None:
        self._context = context
        self._uid = uid
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}

    async def observe(self, pod: Object | None = None) -> PodRuntime:
        """`pod` tells which containers want the end of their log as message.  Raises RuntimeFailure."""
        sandboxes = [await self._sandbox(sandbox) for _, sandbox in await self._context.runtime.list_sandboxes(self._uid)]
        containers = [await self._container(container, pod) for _, container in await self._context.runtime.list_containers(self._uid)]
        self._sandboxes = {s.id: s for s in sandboxes}
        self._containers = {c.id: c for c in containers}
        return PodRuntime(tuple(sandboxes), tuple(containers))

    async def _sandbox(self, listed: Sandbox) -> Sandbox:
        known = self._sandboxes.get(listed.id)
        if known is not None and known.ready == listed.ready and (known.ips or not listed.ready):
            return known
        if not listed.ready:
            return listed
        try:
            return replace(listed, ips=await self._context.runtime.sandbox_ips(listed.id))
        except NotInRuntime:
            return replace(listed, ready=False)

    async def _container(self, listed: Container, pod: Object | None) -> Container:
        known = self._containers.get(listed.id)
        if known is not None and known.state is listed.state:
            return known
        try:
            found = await self._context.runtime.container(listed.id)
        except NotInRuntime:
            return listed
        found = replace(found, sandbox_id=listed.sandbox_id, spec_hash=listed.spec_hash)
        return replace(found, message=found.message or self._message(found, pod)) if found.state is ContainerState.EXITED else found

    def _message(self, ended: Container, pod: Object | None) -> str:
        left = self._context.volumes.termination_message(self._uid, ended.name, ended.attempt)
        container = find_container(pod, ended.name) if pod is not None else None
        if left or container is None or container.get("terminationMessagePolicy") != "FallbackToLogsOnError" or ended.exit_code == 0:
            return left
        return _end_of_log(Path(ended.log_path))


def _end_of_log(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - 4 * FALLBACK_BYTES, 0))
        data = stream.read()
    if len(data) >= 4 * FALLBACK_BYTES:
        data = data[data.find(b"\n") + 1 :]
    try:
        text = LogFilter().feed(data[tail_offset(data, FALLBACK_LINES) :])
    except MalformedLog as error:
        return str(error)
    return text[-FALLBACK_BYTES:].decode(errors="replace")
