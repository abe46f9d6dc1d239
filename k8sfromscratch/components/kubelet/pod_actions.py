"""Carrying out one step of a pod's plan: each method does one action, tells the world by events, and fails with a `StepFailed`.

Which steps, and in which order, is decided in `core.pods.plan`; what a container is made of in `core.pods.container_config`.
"""

import logging
from pathlib import Path
from typing import Any

from k8sfromscratch.api.errors import ApiError
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.core.pods import environment, spec
from k8sfromscratch.core.pods.container_config import container_config, sandbox_config
from k8sfromscratch.core.pods.environment import ConfigError
from k8sfromscratch.core.pods.names import hosts_file
from k8sfromscratch.core.pods.plan import GRACE_MIN_S, StartContainer, StopContainer
from k8sfromscratch.core.pods.probes import UnsupportedProbe, probes_of
from k8sfromscratch.core.pods.runtime_config import ContainerConfig
from k8sfromscratch.core.pods.runtime_state import Sandbox, Waiting
from k8sfromscratch.runtime.interface import RuntimeFailure

from .context import Context
from .handlers import Answer, Target
from .images import FoundImage, ImageProblem

log = logging.getLogger(__name__)

Object = dict[str, Any]

STEP_RETRY_S = 5.0
"""Between tries of a step that failed, at first; the worker doubles it."""

HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")
POST_START_TIMEOUT_S = 600.0
"""The API gives a postStart hook no limit; one that hangs must not hold the pod for ever."""


class StepFailed(Exception):
    """`waiting` is what the container shows meanwhile.  `retry_after_s` is set where the next try has a time of its own."""

    def __init__(self, message: str, waiting: Waiting | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.waiting = waiting
        self.retry_after_s = retry_after_s


class PodActions:
    def __init__(self, context: Context) -> None:
        self._context = context

    # Sandboxes and volumes

    async def set_up_volumes(self, pod: Object, age_max_s: float) -> None:
        context = self._context
        try:
            await context.volumes.set_up(pod, context.reporter.allocatable, context.host_ips, age_max_s)
        except (ConfigError, OSError, ApiError, TransportError) as error:
            context.events.event(pod, "Warning", "FailedMount", f"MountVolume.SetUp failed: {error}")
            raise StepFailed(f"volumes: {error}") from error

    async def create_sandbox(self, pod: Object, attempt: int) -> None:
        context = self._context
        try:
            config = sandbox_config(pod, attempt, context.facts)
            Path(config.log_directory).mkdir(parents=True, exist_ok=True, mode=0o755)
            await context.runtime.run_sandbox(config)
        except (ConfigError, RuntimeFailure, OSError) as error:
            context.events.event(pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            raise StepFailed(f"sandbox: {error}") from error

    # Starting

    async def start_container(self, pod: Object, sandbox: Sandbox, action: StartContainer) -> None:
        context = self._context
        container = _container(pod, action.name)
        image = await self._image(pod, container)
        config = await self._config(pod, container, sandbox, action.attempt, image)
        try:
            of_sandbox = sandbox_config(pod, sandbox.attempt, context.facts)
            (Path(of_sandbox.log_directory) / action.name).mkdir(parents=True, exist_ok=True, mode=0o755)
            container_id = await context.runtime.create_container(sandbox.id, config, of_sandbox)
        except (RuntimeFailure, OSError) as error:
            raise self._failed(pod, "CreateContainerError", error) from error
        context.events.event(pod, "Normal", "Created", f"Created container: {action.name}")
        try:
            await context.runtime.start_container(container_id)
        except RuntimeFailure as error:
            raise self._failed(pod, "RunContainerError", error) from error
        context.events.event(pod, "Normal", "Started", f"Started container {action.name}")
        await self._post_start(pod, container, container_id, sandbox)

    async def _image(self, pod: Object, container: Object) -> FoundImage:
        context = self._context
        try:
            return await context.images.ensure(pod, container)
        except ImageProblem as problem:
            delay_s = max((problem.retry_at - context.env.clock.now()).total_seconds(), 0.0)
            raise StepFailed(str(problem), Waiting(problem.reason, str(problem)), delay_s) from problem
        except RuntimeFailure as error:
            raise self._failed(pod, "ImageInspectError", error) from error

    async def _config(self, pod: Object, container: Object, sandbox: Sandbox, attempt: int, image: FoundImage) -> ContainerConfig:
        context = self._context
        pod_ips = context.host_ips if spec.on_host_network(pod) else sandbox.ips
        try:
            probes_of(container)
            if not context.services.synced:
                raise ConfigError("services have not yet been read at least once, cannot construct envvars")
            config_maps, secrets = await context.sources.fetch(pod["metadata"]["namespace"], environment.references(container))
            found = environment.Sources(config_maps, secrets, context.services.store.list(), pod_ips, context.host_ips, context.reporter.allocatable)
            env = environment.environment(pod, container, found)
            host_content = Path("/etc/hosts").read_text() if spec.on_host_network(pod) else ""
            context.volumes.write_hosts(pod, hosts_file(pod, pod_ips, context.facts.dns.domain, host_content))
            mounts = context.volumes.container_mounts(pod, container, attempt, env)
            return container_config(pod, container, attempt, image_ref=image.ref, image_user=image.user, env=env, mounts=mounts, node=context.facts)
        except (ConfigError, UnsupportedProbe, OSError, ApiError, TransportError) as error:
            raise self._failed(pod, "CreateContainerConfigError", error) from error

    def _failed(self, pod: Object, reason: str, error: Exception) -> StepFailed:
        self._context.events.event(pod, "Warning", "Failed", f"Error: {error}")
        return StepFailed(str(error), Waiting(reason, str(error)))

    async def _post_start(self, pod: Object, container: Object, container_id: str, sandbox: Sandbox) -> None:
        """A container whose hook fails is killed; its restart policy decides what follows."""
        answer = await self._hook("postStart", pod, container, container_id, sandbox, POST_START_TIMEOUT_S)
        if answer is None or answer.success:
            return
        self._context.events.event(pod, "Warning", "FailedPostStartHook", f"PostStartHook failed: {answer.message}")
        self._context.events.event(pod, "Normal", "Killing", "FailedPostStartHook")
        try:
            await self._context.runtime.stop_container(container_id, spec.grace_s(pod))
        except RuntimeFailure as error:
            raise StepFailed(f"container {container['name']} whose postStart hook failed was not stopped: {error}") from error

    async def _hook(self, name: str, pod: Object, container: Object, container_id: str, sandbox: Sandbox | None, timeout_s: float) -> Answer | None:
        hook = (container.get("lifecycle") or {}).get(name) or {}
        handler = next((h for h in HOOKS if hook.get(h) is not None), "")
        if not handler:
            return None
        ips = self._context.host_ips if spec.on_host_network(pod) else sandbox.ips if sandbox is not None else ()
        target = Target(container, container_id, ips[0] if ips else "")
        return await self._context.handlers.ask(handler, hook[handler], target, timeout_s)

    # Stopping and removing

    async def stop_container(self, pod: Object, sandbox: Sandbox | None, action: StopContainer, *, again: bool) -> None:
        """`again`: a stop is under way already, and this one only shortens its grace; the hook has had its turn."""
        context = self._context
        grace_s = action.grace_s
        container = spec.find_container(pod, action.name)
        if not again:
            context.events.event(pod, "Normal", "Killing", action.message)
            if container is not None:
                began = context.env.clock.monotonic()
                await self._pre_stop(pod, container, action, sandbox)
                grace_s = max(grace_s - (context.env.clock.monotonic() - began), GRACE_MIN_S)
        try:
            await context.runtime.stop_container(action.id, grace_s)
        except RuntimeFailure as error:
            context.events.event(pod, "Warning", "FailedKillPod", f"error killing container {action.name}: {error}")
            raise StepFailed(f"container {action.name} was not stopped: {error}") from error

    async def _pre_stop(self, pod: Object, container: Object, action: StopContainer, sandbox: Sandbox | None) -> None:
        answer = await self._hook("preStop", pod, container, action.id, sandbox, action.grace_s)
        if answer is not None and not answer.success:
            self._context.events.event(pod, "Warning", "FailedPreStopHook", f"PreStopHook failed: {answer.message}")

    async def stop_sandbox(self, pod: Object, sandbox_id: str) -> None:
        try:
            await self._context.runtime.stop_sandbox(sandbox_id)
        except RuntimeFailure as error:
            self._context.events.event(pod, "Warning", "FailedKillPod", f"error killing pod: {error}")
            raise StepFailed(f"sandbox {sandbox_id} was not stopped: {error}") from error

    async def remove(self, container_id: str = "", sandbox_id: str = "") -> None:
        try:
            if container_id:
                await self._context.runtime.remove_container(container_id)
            if sandbox_id:
                await self._context.runtime.stop_sandbox(sandbox_id)
                await self._context.runtime.remove_sandbox(sandbox_id)
        except RuntimeFailure as error:
            raise StepFailed(f"{container_id or sandbox_id} was not removed: {error}") from error


def _container(pod: Object, name: str) -> Object:
    container = spec.find_container(pod, name)
    if container is None:
        raise StepFailed(f"the pod has no container {name}")
    return container
