"""The probes of one running container: a task for each, counting in `core.pods.probes`.

`changed` is called whenever the container's health is another; the pod's worker then plans again.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from k8sfromscratch.core.pods.probes import HealthTally, Probe
from k8sfromscratch.core.pods.runtime_state import Container, Health
from k8sfromscratch.process.clock import Env

from .handlers import Handlers, Target

log = logging.getLogger(__name__)


class Prober:
    def __init__(
        self,
        target: Target,
        running: Container,
        handlers: Handlers,
        env: Env,
        *,
        known: Health | None,
        changed: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        """`known`: what the API says of this container.  `failed` is told of each failure, in words fit for an event."""
        self._target = target
        self._running = running
        self._handlers = handlers
        self._env = env
        self._changed = changed
        self._failed = failed
        self._tally = HealthTally.of(target.container, known)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def health(self) -> Health:
        return self._tally.health()

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = [tasks.create_task(self._repeat(tally.probe)) for tally in self._tally.tallies.values()]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _repeat(self, probe: Probe) -> None:
        started = self._running.started_at or self._running.created_at
        wait_s = (started + timedelta(seconds=probe.initial_delay_s) - self._env.clock.now()).total_seconds()
        await asyncio.sleep(max(wait_s, 0.0))
        while True:
            if self._tally.asks(probe.kind):
                await self._ask(probe)
                if probe.kind == "startup" and not self._tally.asks("startup"):
                    return
                await asyncio.sleep(probe.period_s)
            else:
                await asyncio.sleep(min(probe.period_s, 1))

    async def _ask(self, probe: Probe) -> None:
        answer = await self._handlers.ask(probe.handler, probe.action, self._target, probe.timeout_s)
        if answer is None:
            return
        if not answer.success:
            self._failed(f"{probe.kind.capitalize()} probe failed: {answer.message}")
        before = self._tally.health()
        self._tally.note(probe.kind, answer.success, answer.message)
        if self._tally.health() != before:
            log.info("container %s: %s", self._target.container_id[:12], self._tally.health())
            self._changed()
