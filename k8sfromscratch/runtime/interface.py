"""What the kubelet asks of a container runtime, whichever it is.

The shapes follow CRI v1, reduced to what the kubelet uses, and know nothing of the API's objects.  Implementations: `cri` (containerd
and every other CRI runtime).  What a runtime is told is in `core.pods.runtime_config`, what it reports in `core.pods.runtime_state`.

    RuntimeFailure            the runtime was asked and refused; the text is fit for an event
    ├── RuntimeUnavailable    it cannot be reached: ask again later
    │   └── RuntimeTimeout    it did not answer in time, or what it was to do took too long
    └── NotInRuntime          the sandbox, container or image is not there
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from k8sfromscratch.core.pods.runtime_config import ContainerConfig, Resources, SandboxConfig
from k8sfromscratch.core.pods.runtime_state import Container, Sandbox


class RuntimeFailure(Exception):
    pass


class RuntimeUnavailable(RuntimeFailure):
    pass


class RuntimeTimeout(RuntimeUnavailable):
    pass


class NotInRuntime(RuntimeFailure):
    pass


@dataclass(frozen=True, slots=True)
class RuntimeVersion:
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}://{self.version}"


@dataclass(frozen=True, slots=True)
class RuntimeReadiness:
    """`problems` says what is missing for either; empty if both are ready."""

    runtime: bool
    network: bool
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """Whose a sandbox or container is."""

    uid: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Image:
    """`uid` and `username`: whom the image says to run as; at most one is set."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size_bytes: int
    uid: int | None = None
    username: str = ""


@dataclass(frozen=True, slots=True)
class ExecResult:
    stdout: bytes
    stderr: bytes
    exit_code: int


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """`cpu_total_ns` grows from the container's start; memory is the working set."""

    container_id: str
    name: str
    pod: PodIdentity
    moment: datetime
    cpu_total_ns: int
    memory_working_set_bytes: int
    memory_usage_bytes: int
    memory_rss_bytes: int
    filesystem_used_bytes: int
    filesystem_inodes_used: int


class Runtime(Protocol):
    """All methods raise RuntimeFailure.  Stopping and removing what is not there, or is stopped already, succeeds."""

    async def version(self) -> RuntimeVersion: ...

    async def readiness(self) -> RuntimeReadiness: ...

    async def set_pod_cidr(self, pod_cidr: str) -> None: ...

    async def run_sandbox(self, config: SandboxConfig) -> str: ...

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Ends what runs in it and releases its network."""
        ...

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """With all its containers."""
        ...

    async def list_sandboxes(self, pod_uid: str = "") -> Sequence[tuple[PodIdentity, Sandbox]]:
        """Of one pod, or all.  Without addresses: those come from `sandbox_ips`."""
        ...

    async def sandbox_ips(self, sandbox_id: str) -> tuple[str, ...]: ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str: ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after the grace; returns when it has ended.  A second call may shorten the grace."""
        ...

    async def remove_container(self, container_id: str) -> None: ...

    async def list_containers(self, pod_uid: str = "") -> Sequence[tuple[PodIdentity, Container]]:
        """Of one pod, or all.  Without times of start and end, exit code and log path: those come from `container`."""
        ...

    async def container(self, container_id: str) -> Container: ...

    async def update_resources(self, container_id: str, resources: Resources) -> None: ...

    async def usage(self) -> Sequence[ContainerUsage]: ...

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        """Raises RuntimeTimeout when the command outlives the timeout."""
        ...

    async def exec_url(self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        """Where the runtime's streaming server awaits the client's upgraded connection."""
        ...

    async def attach_url(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str: ...

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str: ...

    async def reopen_log(self, container_id: str) -> None: ...

    async def image(self, name: str) -> Image | None: ...

    async def images(self) -> Sequence[Image]: ...

    async def pull_image(self, name: str) -> str:
        """The reference it is known by then."""
        ...

    async def close(self) -> None: ...
