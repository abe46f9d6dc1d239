"""A pod on a runtime that exists only as values: it carries out plans at once, and lets tests end containers and pass time.

Used by the scenario tests of the pod state machine, which read as a story: steps, crashes, minutes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from k8sfromscratch.core.pods.backoff import CrashBackoff
from k8sfromscratch.core.pods.plan import (
    Action,
    CreateSandbox,
    Plan,
    RemoveContainer,
    RemoveSandbox,
    Situation,
    StartContainer,
    StopContainer,
    StopSandbox,
    plan,
)
from k8sfromscratch.core.pods.runtime_state import Container, ContainerState, Health, PodRuntime, Sandbox
from k8sfromscratch.core.pods.spec import Object, find_container, spec_hash
from k8sfromscratch.core.pods.status import Report, pod_status

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_pod(*containers: str | Object, init: Sequence[str | Object] = (), **spec: Any) -> Object:
    """A bound pod; a container is a name, or a body to be completed."""
    body: Object = {"nodeName": "n1", "containers": [_container(c) for c in containers or ("app",)], **spec}
    if init:
        body["initContainers"] = [_container(c) for c in init]
    meta = {"name": "web", "namespace": "default", "uid": "u1", "generation": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body}


def _container(given: str | Object) -> Object:
    return {"name": given, "image": f"{given}:1"} if isinstance(given, str) else {"image": "x:1", **given}


class PodMachine:
    def __init__(self, pod: Object) -> None:
        self.pod = pod
        self.now = START
        self.runtime = PodRuntime()
        self.health: dict[str, Health] = {}
        self.stopping: dict[str, datetime] = {}
        self.stopped: set[str] = set()
        self.backoff = CrashBackoff()
        self.ending_since: datetime | None = None
        self.gone = False
        self.obeys_sigterm = True
        self.log: list[str] = []

    def plan(self) -> Plan:
        if (self.gone or self.pod["metadata"].get("deletionTimestamp")) and self.ending_since is None:
            self.ending_since = self.now
        situation = Situation(self.runtime, self.health, dict(self.stopping), frozenset(self.stopped), ending_since=self.ending_since, gone=self.gone)
        return plan(self.pod, situation, self.backoff, self.now)

    def settle(self) -> list[str]:
        """Plans and acts until nothing is left to do; what was done, in words."""
        before = len(self.log)
        for _ in range(100):
            actions = self.plan().actions
            if not actions:
                return self.log[before:]
            for action in actions:
                self._do(action)
        raise AssertionError(f"never at rest: {self.log[-10:]}")

    def status(self) -> Object:
        step = self.plan()
        report = Report(self.runtime, self.health, step.waiting, step.ending, step.ended, ("10.0.0.1",))
        return pod_status(self.pod, report, self.now)

    def publish(self) -> Object:
        """The status becomes the API's."""
        status = self.status()
        self.pod = {**self.pod, "status": status}
        return status

    def delete(self, grace_s: int = 30) -> None:
        stamp = (self.now + timedelta(seconds=grace_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.pod = {**self.pod, "metadata": {**self.pod["metadata"], "deletionTimestamp": stamp, "deletionGracePeriodSeconds": grace_s}}

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def end(self, name: str, exit_code: int = 0) -> None:
        """The container's process ends by itself."""
        current = self.runtime.latest(name)
        assert current is not None and current.alive
        self._replace(replace(current, state=ContainerState.EXITED, exit_code=exit_code, finished_at=self.now))

    def lose_sandbox(self) -> None:
        """As after a reboot: nothing of it runs."""
        dead = tuple(replace(s, ready=False) for s in self.runtime.sandboxes)
        ended = tuple(replace(c, state=ContainerState.EXITED, exit_code=255, finished_at=self.now) if c.alive else c for c in self.runtime.containers)
        self.runtime = PodRuntime(dead, ended)

    def running(self) -> list[str]:
        return [c.name for c in self.runtime.containers if c.state is ContainerState.RUNNING]

    def _replace(self, container: Container) -> None:
        others = tuple(c for c in self.runtime.containers if c.id != container.id)
        self.runtime = PodRuntime(self.runtime.sandboxes, (*others, container))

    def _do(self, action: Action) -> None:
        runtime = self.runtime
        match action:
            case CreateSandbox(attempt):
                self.log.append(f"sandbox {attempt}")
                sandbox = Sandbox(f"s{attempt}", attempt, True, self.now, (f"10.1.0.{attempt + 2}",))
                self.runtime = PodRuntime((*runtime.sandboxes, sandbox), runtime.containers)
            case StartContainer(name, sandbox_id, attempt):
                self.log.append(f"start {name}" + (f" #{attempt}" if attempt else ""))
                if attempt:
                    self.backoff.note_restart(name, self.now)
                body = find_container(self.pod, name)
                assert body is not None
                fresh = Container(
                    f"{name}-{attempt}", name, sandbox_id, attempt, ContainerState.RUNNING, self.now, self.now, image=body["image"], spec_hash=spec_hash(body)
                )
                assert all(c.id != fresh.id for c in runtime.containers), f"{fresh.id} exists already"
                self._replace(fresh)
            case StopContainer(container_id, name, grace_s, _):
                self.log.append(f"stop {name} {grace_s:g}s")
                self.stopping[container_id] = self.now + timedelta(seconds=grace_s)
                if self.obeys_sigterm:
                    self.end(name, 143)
                    del self.stopping[container_id]
            case StopSandbox(sandbox_id):
                self.log.append(f"stop sandbox {sandbox_id}")
                self.stopped.add(sandbox_id)
                sandboxes = tuple(replace(s, ready=s.ready and s.id != sandbox_id) for s in runtime.sandboxes)
                self.runtime = PodRuntime(sandboxes, runtime.containers)
            case RemoveContainer(container_id, _):
                self.log.append(f"remove {container_id}")
                self.runtime = PodRuntime(runtime.sandboxes, tuple(c for c in runtime.containers if c.id != container_id))
            case RemoveSandbox(sandbox_id):
                self.log.append(f"remove {sandbox_id}")
                containers = tuple(c for c in runtime.containers if c.sandbox_id != sandbox_id)
                self.runtime = PodRuntime(tuple(s for s in runtime.sandboxes if s.id != sandbox_id), containers)
