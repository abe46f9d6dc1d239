"""What the container runtime has of one pod: the observed side of the pod state machine.

The shell fills these values from the runtime (`runtime.interface`); `plan` and `status` read them.  One pod may have several
sandboxes (a new one after a reboot, or when the pause process died) and several containers of one name (restarts).  Of
each, the newest counts: sandboxes and containers carry an `attempt`, which only grows.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime


class ContainerState(enum.Enum):
    """CRI's ContainerState."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`ips` is empty while the network is not set up, and for pods on the host's network."""

    id: str
    attempt: int
    ready: bool
    created_at: datetime
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """`attempt` is the restart count it was created with; `image` the name it was created from, `image_ref` what that
    resolved to; `spec_hash` is `spec_hash()` of the specification it was created from, empty if that is unknown."""

    id: str
    name: str
    sandbox_id: str
    attempt: int
    state: ContainerState
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    spec_hash: str = ""
    log_path: str = ""

    @property
    def alive(self) -> bool:
        """It has, or may have, a process.  UNKNOWN is treated as alive: it must be stopped before it may be replaced."""
        return self.state in (ContainerState.RUNNING, ContainerState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class PodRuntime:
    """All sandboxes and containers of one pod, in any order."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest."""
        return max(self.sandboxes, key=lambda s: (s.attempt, s.created_at), default=None)

    def history(self, name: str) -> list[Container]:
        """The containers of that name, newest first."""
        return sorted((c for c in self.containers if c.name == name), key=lambda c: (c.attempt, c.created_at), reverse=True)

    def latest(self, name: str) -> Container | None:
        return next(iter(self.history(name)), None)

    def alive(self) -> list[Container]:
        return [c for c in self.containers if c.alive]


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes say of one running container.

    `started`: the startup probe has succeeded (or there is none).  `ready`: so has the readiness probe.  `failed` is the message
    that says which probe failed for good, so that the container must be restarted; empty while it may live.
    `failed_grace_s` is that probe's own terminationGracePeriodSeconds."""

    started: bool = True
    ready: bool = True
    failed: str = ""
    failed_grace_s: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container is not running: a ContainerStateWaiting."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """The pod has to end: `reason` and `message` go into its status (DeadlineExceeded, Evicted, …)."""

    reason: str
    message: str


def group_by_pod(
    sandboxes: Iterable[tuple[str, Sandbox]],
    containers: Iterable[tuple[str, Container]],
) -> dict[str, PodRuntime]:
    """Pairs of (pod UID, thing) to one value a pod."""
    found: dict[str, _Collected] = {}
    for uid, sandbox in sandboxes:
        found.setdefault(uid, _Collected()).sandboxes.append(sandbox)
    for uid, container in containers:
        found.setdefault(uid, _Collected()).containers.append(container)
    return {uid: PodRuntime(tuple(c.sandboxes), tuple(c.containers)) for uid, c in found.items()}


@dataclass(slots=True)
class _Collected:
    sandboxes: list[Sandbox] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
