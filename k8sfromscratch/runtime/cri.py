"""A container runtime over CRI v1: containerd, or any other that serves it, on a unix socket.

Calls are thin: one CRI call a method, with a deadline of its own.  What goes in is built in `cri_convert`, what comes out is read
there too; this module owns the channel, the deadlines and the errors.
"""

import math
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from k8sfromscratch.core.pods.runtime_config import ContainerConfig, Resources, SandboxConfig
from k8sfromscratch.core.pods.runtime_state import Container, Sandbox

from . import cri_convert as convert
from .cri_messages import messages
from .interface import (
    ContainerUsage,
    ExecResult,
    Image,
    NotInRuntime,
    PodIdentity,
    RuntimeFailure,
    RuntimeReadiness,
    RuntimeTimeout,
    RuntimeUnavailable,
    RuntimeVersion,
)

CALL_TIMEOUT_S = 120.0
"""Of a call that does not wait for anything but the runtime: upstream's runtime request timeout."""

PULL_TIMEOUT_S = 1800.0
STATUS_TIMEOUT_S = 20.0
"""Of the calls that readiness hangs on: a runtime that takes longer counts as not ready."""

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""Of one answer, as upstream's kubelet allows; a listing of a full node is about 1 MiB."""

_RUNTIME = "/runtime.v1.RuntimeService/"
_IMAGES = "/runtime.v1.ImageService/"


class CriRuntime:
    """Construct it inside a running event loop: the channel belongs to it.  `endpoint` is a `unix:///path` URL."""

    def __init__(self, endpoint: str) -> None:
        if not endpoint.startswith("unix:///"):
            raise ValueError(f"container runtime endpoint {endpoint!r}: only unix:///PATH is supported")
        self._endpoint = endpoint
        options = [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_reconnect_backoff_ms", 3000),
        ]
        # The socket's path would become the HTTP/2 authority, which servers written in Go refuse.
        self._channel = grpc.aio.insecure_channel("unix:" + endpoint.removeprefix("unix://"), options=[*options, ("grpc.default_authority", "localhost")])

    async def _call(self, service: str, method: str, timeout_s: float, **fields: Any) -> Any:
        request = getattr(messages, f"{method}Request")(**fields)
        response = getattr(messages, f"{method}Response")
        call = self._channel.unary_unary(service + method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString)
        try:
            return await call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise _failure(method, error, self._endpoint) from error

    async def _runtime(self, method: str, /, *, timeout_s: float = CALL_TIMEOUT_S, **fields: Any) -> Any:
        return await self._call(_RUNTIME, method, timeout_s, **fields)

    async def _images(self, method: str, /, *, timeout_s: float = CALL_TIMEOUT_S, **fields: Any) -> Any:
        return await self._call(_IMAGES, method, timeout_s, **fields)

    async def version(self) -> RuntimeVersion:
        answer = await self._runtime("Version", timeout_s=STATUS_TIMEOUT_S)
        return RuntimeVersion(answer.runtime_name, answer.runtime_version)

    async def readiness(self) -> RuntimeReadiness:
        answer = await self._runtime("Status", timeout_s=STATUS_TIMEOUT_S)
        met = {c.type: c.status for c in answer.status.conditions}
        problems = tuple(f"{c.type}=false reason:{c.reason} message:{c.message}" for c in answer.status.conditions if not c.status)
        return RuntimeReadiness(met.get("RuntimeReady", False), met.get("NetworkReady", False), problems)

    async def set_pod_cidr(self, pod_cidr: str) -> None:
        await self._runtime("UpdateRuntimeConfig", runtime_config={"network_config": {"pod_cidr": pod_cidr}})

    # Sandboxes

    async def run_sandbox(self, config: SandboxConfig) -> str:
        answer = await self._runtime("RunPodSandbox", timeout_s=2 * CALL_TIMEOUT_S, config=convert.sandbox_config(config))
        return str(answer.pod_sandbox_id)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._runtime("StopPodSandbox", pod_sandbox_id=sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._runtime("RemovePodSandbox", pod_sandbox_id=sandbox_id)

    async def list_sandboxes(self, pod_uid: str = "") -> Sequence[tuple[PodIdentity, Sandbox]]:
        answer = await self._runtime("ListPodSandbox", filter=convert.pod_filter(pod_uid))
        return [convert.listed_sandbox(item) for item in answer.items]

    async def sandbox_ips(self, sandbox_id: str) -> tuple[str, ...]:
        answer = await self._runtime("PodSandboxStatus", pod_sandbox_id=sandbox_id)
        network = answer.status.network
        return tuple(ip for ip in (network.ip, *(extra.ip for extra in network.additional_ips)) if ip)

    # Containers

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        answer = await self._runtime(
            "CreateContainer", pod_sandbox_id=sandbox_id, config=convert.container_config(config, sandbox), sandbox_config=convert.sandbox_config(sandbox)
        )
        return str(answer.container_id)

    async def start_container(self, container_id: str) -> None:
        await self._runtime("StartContainer", container_id=container_id)

    async def stop_container(self, container_id: str, grace_s: float) -> None:
        try:
            await self._runtime("StopContainer", timeout_s=grace_s + CALL_TIMEOUT_S, container_id=container_id, timeout=math.ceil(grace_s))
        except NotInRuntime:
            return

    async def remove_container(self, container_id: str) -> None:
        await self._runtime("RemoveContainer", container_id=container_id)

    async def list_containers(self, pod_uid: str = "") -> Sequence[tuple[PodIdentity, Container]]:
        answer = await self._runtime("ListContainers", filter=convert.pod_filter(pod_uid))
        return [convert.listed_container(item) for item in answer.containers]

    async def container(self, container_id: str) -> Container:
        answer = await self._runtime("ContainerStatus", container_id=container_id)
        return convert.container_status(answer.status)

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        await self._runtime("UpdateContainerResources", container_id=container_id, linux=convert.resources(resources))

    async def usage(self) -> Sequence[ContainerUsage]:
        answer = await self._runtime("ListContainerStats")
        return [convert.usage(item) for item in answer.stats]

    async def reopen_log(self, container_id: str) -> None:
        await self._runtime("ReopenContainerLog", container_id=container_id)

    # Commands in containers

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        answer = await self._runtime("ExecSync", timeout_s=timeout_s + STATUS_TIMEOUT_S, container_id=container_id, cmd=command, timeout=math.ceil(timeout_s))
        return ExecResult(answer.stdout, answer.stderr, answer.exit_code)

    async def exec_url(self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        answer = await self._runtime("Exec", container_id=container_id, cmd=command, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        return str(answer.url)

    async def attach_url(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        answer = await self._runtime("Attach", container_id=container_id, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        return str(answer.url)

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        answer = await self._runtime("PortForward", pod_sandbox_id=sandbox_id, port=ports)
        return str(answer.url)

    # Images

    async def image(self, name: str) -> Image | None:
        answer = await self._images("ImageStatus", image={"image": name})
        return convert.image(answer.image) if answer.HasField("image") else None

    async def images(self) -> Sequence[Image]:
        answer = await self._images("ListImages")
        return [convert.image(item) for item in answer.images]

    async def pull_image(self, name: str) -> str:
        answer = await self._images("PullImage", timeout_s=PULL_TIMEOUT_S, image={"image": name})
        return str(answer.image_ref)

    async def close(self) -> None:
        await self._channel.close()


def _failure(method: str, error: grpc.aio.AioRpcError, endpoint: str) -> RuntimeFailure:
    code = error.code()
    text = error.details() or code.name
    if code is grpc.StatusCode.NOT_FOUND:
        return NotInRuntime(text)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return RuntimeTimeout(f"{method} on {endpoint}: {text}")
    if code is grpc.StatusCode.UNAVAILABLE:
        return RuntimeUnavailable(f"{method} on {endpoint}: {text}")
    return RuntimeFailure(text)
