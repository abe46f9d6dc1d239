"""One controller at work: keys in, plans out, again and again until the world is as declared.

informers ──changes──► keys ──► WorkQueue ──► worker: wait until own writes show ──► controller.plan(key, now) ──► Executor
                                   ▲                                                                                  │
                                   ├── rate limited: a step failed, or planning did ◄─────────────────────────────────┤
                                   ├── after a while: the plan asked to be made again ◄───────────────────────────────┤
                                   └── blocked keys, at the next change of a cache

A failure is never fatal: it is logged, counted, and the key comes back with a growing delay.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from k8sfromscratch.api.errors import ApiError
from k8sfromscratch.client import Client, EventRecorder, TransportError, WorkQueue
from k8sfromscratch.components.controller_manager.controller import Controller, Trigger
from k8sfromscratch.components.controller_manager.executor import Executor, PlanFailed
from k8sfromscratch.components.controller_manager.metrics import WorkQueueMetrics
from k8sfromscratch.components.controller_manager.read_your_writes import ReadYourWrites
from k8sfromscratch.core.reconcile.plan import Object
from k8sfromscratch.process.clock import Env

log = logging.getLogger(__name__)

BLOCKED_RECHECK_S = 5.0
"""When to look again at a key whose writes do not show, should no watch event come to say so."""

SHARED = ""
"""The key that a serial controller's writes are noted under: each of its plans waits for all of them."""


class Runner:
    def __init__(self, controller: Controller, client: Client, env: Env, recorder: EventRecorder, metrics: WorkQueueMetrics, *, workers: int = 1) -> None:
        self.controller = controller
        self.queue = WorkQueue(env, name=controller.name)
        self._client, self._env, self._recorder, self._metrics = client, env, recorder, metrics
        self._workers = 1 if controller.serial else workers
        self._writes = ReadYourWrites(controller.informers, env.clock.monotonic)
        self._blocked: dict[str, None] = {}
        self._added_at: dict[str, float] = {}
        self._started_at: dict[str, float] = {}
        metrics.unfinished.labels(controller.name).set_function(lambda: sum(self._running_s()))
        metrics.longest.labels(controller.name).set_function(lambda: max(self._running_s(), default=0.0))
        metrics.depth.labels(controller.name).set_function(lambda: len(self.queue))

    async def run(self) -> None:
        """Until cancelled."""
        for informer in self.controller.informers:
            await informer.wait_synced()
        for trigger in self.controller.triggers:
            trigger.informer.add_handler(self._handler(trigger))
        for informer in self.controller.reads:
            informer.add_handler(self._unblock)
        for key in self.controller.first_keys:
            self.enqueue(key)
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.controller.name} worker {number}")
            group.create_task(self._recorder.run(), name=f"{self.controller.name} events")
            if self.controller.background is not None:
                group.create_task(self.controller.background(self.enqueue), name=f"{self.controller.name} background")

    def enqueue(self, key: str) -> None:
        self._added_at.setdefault(key, self._env.clock.monotonic())
        self._metrics.adds.labels(self.controller.name).inc()
        self.queue.add(key)

    def _running_s(self) -> list[float]:
        now = self._env.clock.monotonic()
        return [now - since for since in self._started_at.values()]

    def _handler(self, trigger: Trigger) -> Callable[[Object | None, Object | None], None]:
        def on_change(old: Object | None, new: Object | None) -> None:
            for key in trigger.keys_of(old, new):
                self.enqueue(key)
            self._unblock(old, new)

        return on_change

    def _unblock(self, old: Object | None, new: Object | None) -> None:
        blocked, self._blocked = self._blocked, {}
        for key in blocked:
            self.enqueue(key)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            name, started = self.controller.name, self._env.clock.monotonic()
            self._started_at[key] = started
            self._metrics.queue_duration.labels(name).observe(started - self._added_at.pop(key, started))
            try:
                await self._reconcile(key)
            finally:
                del self._started_at[key]
                self._metrics.work_duration.labels(name).observe(self._env.clock.monotonic() - started)
                self.queue.done(key)

    async def _reconcile(self, key: str) -> None:
        noted_under = SHARED if self.controller.serial else key
        if not self._writes.settled(noted_under):
            self._blocked[key] = None
            self.queue.add_after(key, BLOCKED_RECHECK_S)
            return
        try:
            plan = await self.controller.plan(key, self._env.clock.now())
            await Executor(self._client, self._recorder, partial(self._writes.note, noted_under)).run(plan)
        except (PlanFailed, ApiError, TransportError) as error:
            quiet = isinstance(error, PlanFailed) and error.is_conflict
            log.log(logging.DEBUG if quiet else logging.WARNING, "%s: %s: %s", self.controller.name, key, error)
            self._retry(key)
        except Exception:
            # A fault of ours in one plan must not end all others: it is shown in full, and tried again as it may depend on the state.
            log.exception("%s: planning %s failed", self.controller.name, key)
            self._retry(key)
        else:
            self.queue.forget(key)
            if plan.requeue_after_s is not None:
                self.queue.add_after(key, plan.requeue_after_s)

    def _retry(self, key: str) -> None:
        self._metrics.retries.labels(self.controller.name).inc()
        self.queue.add_rate_limited(key)
