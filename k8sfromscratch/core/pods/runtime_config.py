"""What a runtime is told when a sandbox or a container is made: the desired side of `runtime_state`.

The shapes follow CRI v1, reduced to what the kubelet uses, for Linux.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SeccompProfile:
    """`type` is RuntimeDefault, Unconfined or Localhost; `path` is absolute, for Localhost only."""

    type: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Which of the pod's namespaces are the host's; `shared_pid`: one process namespace for all containers of the pod."""

    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    shared_pid: bool = False


@dataclass(frozen=True, slots=True)
class Security:
    """Of one container.  None leaves a matter to the image or the runtime."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    readonly_rootfs: bool = False
    no_new_privileges: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    seccomp: SeccompProfile = SeccompProfile("Unconfined")
    unmasked_proc: bool = False


@dataclass(frozen=True, slots=True)
class Resources:
    """Linux limits.  Zero means no limit; `cpu_quota_us` is for a period of `cpu_period_us`."""

    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 100_000
    memory_limit_bytes: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True)
class Dns:
    """The content of resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortMapping:
    container_port: int
    host_port: int
    protocol: str = "TCP"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """`log_directory` is absolute; containers' `log_path` is relative to it.  `cgroup_parent` empty: the runtime's own choice."""

    name: str
    namespace: str
    uid: str
    attempt: int
    hostname: str
    log_directory: str
    dns: Dns | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    namespaces: Namespaces = Namespaces()
    security: Security = Security()


@dataclass(frozen=True, slots=True)
class Mount:
    """`propagation` is None, HostToContainer or Bidirectional, as in a volume mount."""

    container_path: str
    host_path: str
    readonly: bool = False
    propagation: str = "None"


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """`image` is the id or name the image is known by; `labels` and `annotations` come back in what is listed."""

    name: str
    attempt: int
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: Resources = Resources()
    security: Security = Security()
