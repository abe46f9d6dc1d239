"""The pod state machine: what to do next for one pod.

`plan` compares what is desired (the pod) with what is there (`PodRuntime`) and returns a few actions; the shell carries them
out in order, observes again and asks again, until nothing is left to do.  So a plan never holds a state of its own: a kubelet that
restarts finds its running containers, asks, and goes on.

A pod is, in this order of precedence,

    gone        deleted from the API: end everything, then remove everything
    ending      being deleted, evicted, over its deadline, or terminal: end everything, keep the dead for status and logs
    complete    all regular containers have ended and are not restarted: end the sidecars and the sandbox
    homeless    no ready sandbox: end what runs in the old one, make a new one
    starting    init containers and sidecars, in their order
    running     every regular container kept as the restart policy says

Containers end in this order: the regular ones at once, then the sidecars one by one, last started first (KEP-753); all share one
grace period.  Elsewhere: which status follows (`status`), what a container is created with (`container_config`), probes (`probes`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from . import spec
from .backoff import CrashBackoff
from .runtime_state import Container, ContainerState, Ending, Health, PodRuntime, Waiting
from .spec import Object
from .times import parse

GRACE_MIN_S = 1.0
"""What a container has at least between SIGTERM and SIGKILL, whatever is left of the pod's grace period."""

KEPT_CONTAINERS = 2
"""Of each name: the current one, and the one before it for `kubectl logs --previous` and lastState."""


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    attempt: int


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Check or pull the image, create, start, run postStart.  `attempt` becomes its restart count."""

    name: str
    sandbox_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class StopContainer:
    """preStop, SIGTERM, and SIGKILL after `grace_s`.  Slow: the shell does not wait for it."""

    id: str
    name: str
    grace_s: float
    message: str


@dataclass(frozen=True, slots=True)
class StopSandbox:
    id: str


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    """With all containers that are still in it."""

    id: str


Action = CreateSandbox | StartContainer | StopContainer | StopSandbox | RemoveContainer | RemoveSandbox


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of the pod besides its object.

    `health`: by container id; one without an entry has not been probed yet and has no probes.
    `stopping`: by container id, when the SIGKILL of a stop that is under way falls due.
    `stopped`: the ids of sandboxes that were stopped, their networks released.
    `ending_since`: when it was first seen that the pod must end.
    """

    runtime: PodRuntime = field(default_factory=PodRuntime)
    health: Mapping[str, Health] = field(default_factory=dict)
    stopping: Mapping[str, datetime] = field(default_factory=dict)
    stopped: frozenset[str] = frozenset()
    ending: Ending | None = None
    ending_since: datetime | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`wake_at`: ask again then at the latest.  `waiting`: containers that are not to be started yet, and why.
    `ended`: nothing of the pod runs any more, and nothing of it will."""

    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    ending: Ending | None = None
    ended: bool = False


def plan(pod: Object, situation: Situation, backoff: CrashBackoff, now: datetime) -> Plan:
    if situation.gone:
        return _remove(pod, situation, now)
    ending, deadline = ending_of(pod, situation, now)
    if ending is not None or must_end(pod) or is_complete(pod, situation.runtime):
        return _end(pod, situation, now, ending)
    kept = _keep_running(pod, situation, backoff, now)
    return Plan(kept.actions + _prune(situation.runtime, kept.actions), _earliest(kept.wake_at, deadline), kept.waiting)


def must_end(pod: Object) -> bool:
    return spec.is_deleting(pod) or spec.is_terminal(pod)


def ending_of(pod: Object, situation: Situation, now: datetime) -> tuple[Ending | None, datetime | None]:
    """Why the pod must end though nobody deletes it, and when it will have to if not now."""
    if situation.ending is not None:
        return situation.ending, None
    limit_s = pod.get("spec", {}).get("activeDeadlineSeconds")
    started = parse(pod.get("status", {}).get("startTime"))
    if limit_s is None or started is None or must_end(pod):
        return None, None
    deadline = started + timedelta(seconds=int(limit_s))
    if now >= deadline:
        return Ending("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"), None
    return None, deadline


def is_complete(pod: Object, runtime: PodRuntime) -> bool:
    """No container of the pod has anything left to do: it has succeeded or failed."""
    policy = spec.restart_policy(pod)
    if policy == "Always":
        return False
    for container in spec.init_containers(pod):
        last = runtime.latest(container["name"])
        if policy == "Never" and not spec.is_sidecar(container) and last is not None and last.state is ContainerState.EXITED and last.exit_code != 0:
            return True
    latest = [runtime.latest(c["name"]) for c in spec.regular_containers(pod)]
    sandbox = runtime.sandbox
    if policy == "Never" and sandbox is not None and not sandbox.ready and any(c is not None for c in latest):
        return not any(c.alive for c in latest if c is not None)
    return bool(latest) and all(c is not None and c.state is ContainerState.EXITED and not spec.restarts_after(policy, c.exit_code) for c in latest)


# Ending


def _end(pod: Object, situation: Situation, now: datetime, ending: Ending | None) -> Plan:
    alive = situation.runtime.alive()
    if alive:
        return Plan(_stops(pod, alive, situation, now), ending=ending)
    sandboxes = tuple(StopSandbox(s.id) for s in situation.runtime.sandboxes if s.id not in situation.stopped)
    return Plan(sandboxes, ending=ending, ended=not sandboxes)


def _remove(pod: Object, situation: Situation, now: datetime) -> Plan:
    ended = _end(pod, situation, now, None)
    if not ended.ended:
        return ended
    removals = tuple(RemoveSandbox(s.id) for s in situation.runtime.sandboxes)
    homes = {s.id for s in situation.runtime.sandboxes}
    strays = tuple(RemoveContainer(c.id, c.name) for c in situation.runtime.containers if c.sandbox_id not in homes)
    return Plan(strays + removals, ended=not (strays or removals))


def _stops(pod: Object, alive: list[Container], situation: Situation, now: datetime) -> tuple[Action, ...]:
    since = situation.ending_since or now
    due = max(since + timedelta(seconds=spec.grace_s(pod)), now + timedelta(seconds=GRACE_MIN_S))
    stops = [_stop(c, due, now, situation.stopping, f"Stopping container {c.name}") for c in _next_to_end(pod, alive)]
    return tuple(s for s in stops if s is not None)


def _next_to_end(pod: Object, alive: list[Container]) -> list[Container]:
    order = [c["name"] for c in spec.sidecars(pod)]
    others = [c for c in alive if c.name not in order]
    return others or [max(alive, key=lambda c: (order.index(c.name), c.attempt))]


def _stop(container: Container, due: datetime, now: datetime, stopping: Mapping[str, datetime], message: str) -> StopContainer | None:
    """None while a stop that falls due no later is under way: asking again is only worth it to shorten the grace."""
    under_way = stopping.get(container.id)
    if under_way is not None and under_way <= due + timedelta(seconds=0.5):
        return None
    return StopContainer(container.id, container.name, (due - now).total_seconds(), message)


# Keeping it running


def _keep_running(pod: Object, situation: Situation, backoff: CrashBackoff, now: datetime) -> Plan:
    runtime = situation.runtime
    sandbox = runtime.sandbox
    if sandbox is None:
        return Plan((CreateSandbox(0),))
    strays = [c for c in runtime.alive() if c.sandbox_id != sandbox.id or not sandbox.ready]
    if strays:
        return Plan(_stops(pod, strays, situation, now))
    if not sandbox.ready:
        old = tuple(StopSandbox(s.id) for s in runtime.sandboxes if s.id not in situation.stopped)
        return Plan((*old, CreateSandbox(sandbox.attempt + 1)))
    step = _Keeper(pod, situation, backoff, now, sandbox.id)
    if step.start_in_order():
        step.keep_regular()
    return Plan(tuple(step.actions), step.wake_at, step.waiting)


class _Keeper:
    """One pass over the containers of a pod whose sandbox is ready, collecting what to do."""

    def __init__(self, pod: Object, situation: Situation, backoff: CrashBackoff, now: datetime, sandbox_id: str) -> None:
        self.actions: list[Action] = []
        self.waiting: dict[str, Waiting] = {}
        self.wake_at: datetime | None = None
        self._pod = pod
        self._situation = situation
        self._runtime = situation.runtime
        self._backoff = backoff
        self._now = now
        self._sandbox_id = sandbox_id

    def start_in_order(self) -> bool:
        """Init containers and sidecars.  True when the regular containers may run.

        Once a regular container exists in this sandbox, initialization is over for good: then only the sidecars are kept."""
        initialized = any(self._here(c["name"]) for c in spec.regular_containers(self._pod))
        for container in spec.init_containers(self._pod):
            if spec.is_sidecar(container):
                started = self._keep(container)
                if not started and not initialized:
                    return False
            elif not initialized:
                last = self._here(container["name"])
                if last is not None and last.state is ContainerState.EXITED and last.exit_code == 0:
                    continue
                self._keep(container)
                return False
        return True

    def keep_regular(self) -> None:
        for container in spec.regular_containers(self._pod):
            self._keep(container)

    def _here(self, name: str) -> Container | None:
        """The newest of that name, if it is of this sandbox: those of an earlier one are done with."""
        last = self._runtime.latest(name)
        return last if last is not None and last.sandbox_id == self._sandbox_id else None

    def _keep(self, container: Object) -> bool:
        """Whether it runs and has started."""
        name = container["name"]
        last = self._here(name)
        if last is None:
            earlier = self._runtime.latest(name)
            self._start(name, 0 if earlier is None else earlier.attempt + 1)
        elif last.state is ContainerState.CREATED:
            self.actions.append(RemoveContainer(last.id, name))
            self._start(name, last.attempt)
        elif last.state is ContainerState.EXITED:
            if spec.restarts_after(spec.container_policy(self._pod, container), last.exit_code):
                self._restart(name, last)
        else:
            return self._keep_alive(container, last)
        return False

    def _keep_alive(self, container: Object, last: Container) -> bool:
        health = self._situation.health.get(last.id, Health())
        grace_s: float = spec.grace_s(self._pod)
        if last.state is ContainerState.UNKNOWN:
            message = f"Container {last.name} is in an unknown state, will be restarted"
        elif last.spec_hash and last.spec_hash != spec.spec_hash(container):
            message = f"Container {last.name} definition changed, will be restarted"
        elif health.failed:
            message = health.failed
            grace_s = grace_s if health.failed_grace_s is None else health.failed_grace_s
        else:
            return health.started
        due = self._now + timedelta(seconds=max(grace_s, GRACE_MIN_S))
        if last.id not in self._situation.stopping:
            self.actions.append(StopContainer(last.id, last.name, (due - self._now).total_seconds(), message))
        return False

    def _restart(self, name: str, last: Container) -> None:
        due = self._backoff.until(name, last.finished_at or last.created_at, self._now)
        if due is None:
            self._start(name, last.attempt + 1)
            return
        meta = self._pod["metadata"]
        delay_s = round(self._backoff.delay_s(name, self._now))
        delay = f"{delay_s // 60}m{delay_s % 60}s" if delay_s >= 60 else f"{delay_s}s"
        message = f"back-off {delay} restarting failed container={name} pod={meta['name']}_{meta['namespace']}({meta['uid']})"
        self.waiting[name] = Waiting("CrashLoopBackOff", message)
        self.wake_at = _earliest(self.wake_at, due)

    def _start(self, name: str, attempt: int) -> None:
        self.actions.append(StartContainer(name, self._sandbox_id, attempt))


def _prune(runtime: PodRuntime, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Remove the dead beyond what is kept; a sandbox goes when it is old and empty."""
    named = {a.id for a in actions if isinstance(a, RemoveContainer | StopSandbox)}
    removed: list[Action] = []
    kept_in: set[str] = set()
    for name in sorted({c.name for c in runtime.containers}):
        for position, container in enumerate(runtime.history(name)):
            if position >= KEPT_CONTAINERS and not container.alive and container.id not in named:
                removed.append(RemoveContainer(container.id, name))
            else:
                kept_in.add(container.sandbox_id)
    newest = runtime.sandbox
    removed += [RemoveSandbox(s.id) for s in runtime.sandboxes if newest is not None and s.id != newest.id and s.id not in kept_in and s.id not in named]
    return tuple(removed)


def _earliest(a: datetime | None, b: datetime | None) -> datetime | None:
    return min((m for m in (a, b) if m is not None), default=None)
