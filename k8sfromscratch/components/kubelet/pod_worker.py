"""One pod's worker: observe, plan, report, act, again, until the pod is gone from the API and from the runtime.

    API ─► update() ─┐                        ┌─► PodReporter (status, final deletion)
    PLEG ─► poke() ──┼─► wake ─► _sync() ─────┼─► PodActions (create, start, remove: in order, given up when the pod must end)
    probes, timers ──┘   observe + core.plan  └─► stops (tasks of their own: a grace period may be long, and may be shortened)

What is remembered is only what cannot be observed: crash back-offs, steps that failed and when to try them again, stops under way.
So a worker that fails for a reason nobody foresaw can be replaced by a fresh one (`pods`).
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.core.pods import spec
from k8sfromscratch.core.pods.backoff import CrashBackoff
from k8sfromscratch.core.pods.container_config import log_directory
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
    must_end,
    plan,
)
from k8sfromscratch.core.pods.runtime_state import Ending, PodRuntime, Waiting
from k8sfromscratch.core.pods.status import Report, pod_status
from k8sfromscratch.runtime.interface import RuntimeFailure

from .container_probes import ContainerProbes
from .context import Context
from .pod_actions import STEP_RETRY_S, PodActions, StepFailed
from .pod_observer import PodObserver
from .pod_reporter import PodReporter
from .sources import FRESH_S, REFRESH_S

log = logging.getLogger(__name__)

Object = dict[str, Any]

STEP_RETRY_MAX_S = 60.0
SANDBOX_STEP = ""
"""The name under which a sandbox's failures are remembered; containers have their own."""


@dataclass(frozen=True, slots=True)
class _Failure:
    until: datetime
    delay_s: float
    waiting: Waiting | None


class PodWorker:
    def __init__(self, context: Context, pod: Object, *, gone: bool = False) -> None:
        """`gone`: the API does not have the pod (any more); `pod` is what is known of it, at least its metadata."""
        self._context = context
        self._pod = pod
        self._gone = gone
        self._uid = str(pod["metadata"]["uid"])
        self._actions = PodActions(context)
        self._observer = PodObserver(context, self._uid)
        self._reporter = PodReporter(context)
        self._reporter.update(pod)
        self._probes = ContainerProbes(context, self.poke)
        self._backoff = CrashBackoff()
        self._failures: dict[str, _Failure] = {}
        self._stopping: dict[str, datetime] = {}
        self._stopped: set[str] = set()
        self._ending: Ending | None = None
        self._ending_since: datetime | None = None
        self._volumes_due = context.env.clock.now()
        self._wake = asyncio.Event()
        self._must_end = asyncio.Event()
        if gone or must_end(pod):
            self._must_end.set()
        self.finished = False
        self.runtime = PodRuntime()
        """As last observed."""

    @property
    def pod(self) -> Object:
        return self._pod

    @property
    def gone(self) -> bool:
        return self._gone

    def update(self, pod: Object | None) -> None:
        """The API's latest; None: it has the pod no more."""
        if pod is None:
            self._gone = True
        else:
            self._pod = pod
            self._reporter.update(pod)
        if self._gone or must_end(self._pod):
            self._must_end.set()
        self._wake.set()

    def poke(self) -> None:
        """Something changed in the runtime, or a probe's verdict did."""
        self._wake.set()

    async def run(self) -> None:
        """Returns when nothing of the pod is left.  Raises ExceptionGroup for what was not foreseen."""
        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(self._reporter.run())
            while not self.finished:
                self._wake.clear()
                pause_s = await self._patient_sync(tasks)
                if not self.finished and pause_s > 0:
                    await self._sleep(pause_s)
            self._probes.stop_all()
            reporting.cancel()

    async def _sleep(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _patient_sync(self, tasks: asyncio.TaskGroup) -> float:
        try:
            return await self._sync(tasks)
        except (RuntimeFailure, OSError) as error:
            log.warning("pod %s: %s", spec.pod_key(self._pod), error)
            return STEP_RETRY_S

    async def _sync(self, tasks: asyncio.TaskGroup) -> float:
        """One pass.  How long to sleep if nothing else happens; 0 to go on at once."""
        now = self._context.env.clock.now()
        self.runtime = await self._observer.observe(self._pod)
        if self._gone or must_end(self._pod):
            self._probes.stop_all()
        else:
            self._probes.follow(self._pod, self.runtime, tasks)
        situation = self._situation()
        step = plan(self._pod, situation, self._backoff, now)
        self._note_ending(step, now)
        if not self._gone:
            await self._report(step, situation)
        acted = await self._act(step, tasks, now)
        if step.ended and not acted:
            await self._after_end()
        if acted:
            return 0.0
        return await self._pause_s(step, now)

    def _situation(self) -> Situation:
        return Situation(
            runtime=self.runtime,
            health=self._probes.health(),
            stopping=self._stopping,
            stopped=frozenset(self._stopped),
            ending=self._ending,
            ending_since=self._ending_since,
            gone=self._gone,
        )

    def _note_ending(self, step: Plan, now: datetime) -> None:
        if step.ending is not None and self._ending is None:
            self._ending = step.ending
            self._context.events.event(self._pod, "Normal", step.ending.reason, step.ending.message)
        if self._ending_since is None and (self._gone or self._ending is not None or must_end(self._pod)):
            self._ending_since = now

    async def _report(self, step: Plan, situation: Situation) -> None:
        """Once ended, the status is only final when the volumes are gone, so that a deleted pod leaves nothing behind."""
        if step.ended:
            await self._context.volumes.tear_down_volumes(self._uid)
        waiting = {name: failure.waiting for name, failure in self._failures.items() if failure.waiting is not None}
        report = Report(
            runtime=self.runtime,
            health=situation.health,
            waiting={**waiting, **step.waiting},
            ending=self._ending,
            ended=step.ended,
            host_ips=self._context.host_ips,
            runtime_name=self._context.runtime_name,
        )
        self._reporter.report(pod_status(self._pod, report, self._context.env.clock.now()), final=step.ended)

    # Acting

    async def _act(self, step: Plan, tasks: asyncio.TaskGroup, now: datetime) -> bool:
        """Whether anything was done, so that it is worth looking again at once."""
        acted = False
        for action in step.actions:
            if isinstance(action, StopContainer):
                self._stop_in_background(action, tasks, now)
                continue
            name = action.name if isinstance(action, StartContainer) else SANDBOX_STEP
            failure = self._failures.get(name)
            if failure is not None and now < failure.until:
                continue
            try:
                await self._unless_ending(action)
                self._failures.pop(name, None)
            except StepFailed as error:
                self._note_failure(name, error)
            acted = True
        return acted

    async def _unless_ending(self, action: Action) -> None:
        """Creating and starting may take long (images, hooks); they are given up when the pod must end meanwhile."""
        if not isinstance(action, CreateSandbox | StartContainer):
            await self._perform(action)
            return
        work = asyncio.ensure_future(self._perform(action))
        ending = asyncio.ensure_future(self._must_end.wait())
        try:
            await asyncio.wait((work, ending), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                log.info("pod %s: gave up %s, the pod must end", spec.pod_key(self._pod), action)
                return
            work.result()
        finally:
            ending.cancel()
            work.cancel()
            await asyncio.gather(work, ending, return_exceptions=True)

    async def _perform(self, action: Action) -> None:
        match action:
            case CreateSandbox(attempt):
                await self._set_up_volumes(FRESH_S)
                await self._actions.create_sandbox(self._pod, attempt)
            case StartContainer():
                await self._set_up_volumes(FRESH_S)
                await self._start_container(action)
            case StopSandbox(sandbox_id):
                await self._actions.stop_sandbox(self._pod, sandbox_id)
                self._stopped.add(sandbox_id)
            case RemoveContainer(container_id, _):
                await self._actions.remove(container_id=container_id)
            case RemoveSandbox(sandbox_id):
                await self._actions.remove(sandbox_id=sandbox_id)

    async def _start_container(self, action: StartContainer) -> None:
        """A restart counts as one when the container was made, whether or not it came up."""
        sandbox = self.runtime.sandbox
        assert sandbox is not None, "a container is only started in a sandbox that was observed"
        made = True
        try:
            await self._actions.start_container(self._pod, sandbox, action)
        except StepFailed as error:
            made = error.waiting is not None and error.waiting.reason == "RunContainerError"
            raise
        finally:
            if made and action.attempt > 0:
                self._backoff.note_restart(action.name, self._context.env.clock.now())

    async def _set_up_volumes(self, age_max_s: float) -> None:
        await self._actions.set_up_volumes(self._pod, age_max_s)
        self._volumes_due = self._context.env.clock.now() + timedelta(seconds=REFRESH_S)

    def _stop_in_background(self, action: StopContainer, tasks: asyncio.TaskGroup, now: datetime) -> None:
        again = action.id in self._stopping
        self._stopping[action.id] = now + timedelta(seconds=action.grace_s)
        tasks.create_task(self._stop(action, again))

    async def _stop(self, action: StopContainer, again: bool) -> None:
        try:
            await self._actions.stop_container(self._pod, self.runtime.sandbox, action, again=again)
        except StepFailed as error:
            log.warning("pod %s: %s", spec.pod_key(self._pod), error)
            await asyncio.sleep(STEP_RETRY_S)
        self._stopping.pop(action.id, None)
        self._wake.set()

    def _note_failure(self, name: str, error: StepFailed) -> None:
        log.warning("pod %s: %s", spec.pod_key(self._pod), error)
        earlier = self._failures.get(name)
        delay_s = STEP_RETRY_S if earlier is None else min(earlier.delay_s * 2, STEP_RETRY_MAX_S)
        after_s = delay_s if error.retry_after_s is None else error.retry_after_s
        self._failures[name] = _Failure(self._context.env.clock.now() + timedelta(seconds=after_s), delay_s, error.waiting)

    # After the end

    async def _after_end(self) -> None:
        if self._gone:
            directory = log_directory(self._pod, self._context.facts.log_root)
            await self._context.volumes.remove_pod(self._uid, directory)
            self._context.sources.forget_pod(self._uid)
            self.finished = True

    async def _pause_s(self, step: Plan, now: datetime) -> float:
        """Until the plan, a failed step or the volumes want to be looked at again."""
        due = [failure.until for failure in self._failures.values() if failure.until > now]
        if step.wake_at is not None:
            due.append(step.wake_at)
        if not step.ended and not self._must_end.is_set() and self.runtime.sandbox is not None:
            if self._volumes_due <= now:
                await self._refresh_volumes()
            due.append(self._volumes_due)
        return max(min(((moment - now).total_seconds() for moment in due), default=REFRESH_S), 0.01)

    async def _refresh_volumes(self) -> None:
        self._volumes_due = self._context.env.clock.now() + timedelta(seconds=REFRESH_S)
        try:
            await self._actions.set_up_volumes(self._pod, REFRESH_S / 2)
        except StepFailed as error:
            log.warning("pod %s: %s", spec.pod_key(self._pod), error)
