"""Carries out a plan: one request a step, in the order and the batches that it says.

Here is the only place where controllers write.  What was written is told to `written` with the server's answer, so that the runner can
wait until its caches show it.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from k8sfromscratch.api.errors import ApiError
from k8sfromscratch.client import Client, EventRecorder
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import Confirm, Create, Delete, DeleteCollection, Emit, Object, Patch, Plan, Step, Together, Update, Write

log = logging.getLogger(__name__)

PARALLEL_WRITES_MAX = 50
"""Requests of one `Together` in flight: enough to hide the round trip, few enough for the server to serve others between them."""

Written = Callable[[Write, Object], None]


class PlanFailed(Exception):
    """Some steps failed; each cause is an ApiError or a TransportError."""

    def __init__(self, causes: list[Exception]) -> None:
        super().__init__("; ".join(str(cause) for cause in causes))
        self.causes = causes

    @property
    def is_conflict(self) -> bool:
        """Nothing is wrong: somebody else wrote first."""
        return all(isinstance(cause, ApiError) and cause.status_reason in ("Conflict", "NotFound") for cause in self.causes)


class _Stop(Exception):
    """Nothing more can be done here, and nobody is at fault."""


@dataclass(frozen=True)
class Executor:
    client: Client
    recorder: EventRecorder
    written: Written

    async def run(self, plan: Plan) -> None:
        """Raises PlanFailed after the plan's conclusion has been tried too."""
        causes: list[Exception] = []
        try:
            for step in plan.steps:
                await self._step(step, causes)
                if causes:
                    break
        except _Stop as stop:
            log.debug("%s", stop)
        if plan.conclude is not None:
            for step in plan.conclude(tuple(str(cause) for cause in causes)):
                before = len(causes)
                await self._step(step, causes)
                if len(causes) > before:
                    break
        if causes:
            raise PlanFailed(causes)

    async def _step(self, step: Step, causes: list[Exception]) -> None:
        """Failures are added to `causes`; `_Stop` ends the plan's steps."""
        match step:
            case Emit():
                self.recorder.event(step.about, step.type, step.reason, step.message)
            case Confirm():
                await self._confirm(step, causes)
            case Together():
                await self._together(step, causes)
            case _:
                await self._write(step, causes)

    async def _confirm(self, step: Confirm, causes: list[Exception]) -> None:
        try:
            live = await self.client.get(step.resource, step.name, step.namespace)
        except (ApiError, TransportError) as error:
            causes.append(error)
            return
        if objects.uid(live) != step.uid or objects.deleting(live):
            raise _Stop(f"{step.resource.group_resource} {step.namespace}/{step.name} is not what the cache shows any more")

    async def _together(self, step: Together, causes: list[Exception]) -> None:
        rest = list(step.steps)
        size = 1 if step.slow_start else len(rest)
        gate = asyncio.Semaphore(PARALLEL_WRITES_MAX)

        async def one(write: Write) -> bool:
            async with gate:
                try:
                    await self._write(write, causes)
                except _Stop:
                    return False
                return True

        while rest:
            batch, rest = rest[:size], rest[size:]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(write)) for write in batch]
            if not all(task.result() for task in tasks):
                raise _Stop("the namespace is being terminated")
            if causes:
                return
            size *= 2

    async def _write(self, step: Write, causes: list[Exception]) -> None:
        try:
            answer = await self._request(step)
        except ApiError as error:
            if error.status_reason in step.ignore:
                return
            if isinstance(step, Create) and _namespace_terminating(error):
                raise _Stop(str(error)) from error
            self._note(step.failed, error=str(error))
            causes.append(error)
            return
        except TransportError as error:
            self._note(step.failed, error=str(error))
            causes.append(error)
            return
        self.written(step, answer)
        name = step.name if isinstance(step, Delete) else (answer.get("metadata") or {}).get("name", "")
        self._note(step.done, name=name)

    async def _request(self, step: Write) -> Object:
        match step:
            case Create():
                return await self.client.create(step.resource, step.object)
            case Update():
                return await self.client.update(step.resource, step.object, subresource=step.subresource)
            case Patch():
                return await self.client.patch(step.resource, step.name, step.patch, step.namespace, patch_type=step.patch_type, subresource=step.subresource)
            case Delete():
                return await self.client.delete(
                    step.resource,
                    step.name,
                    step.namespace,
                    uid=step.uid,
                    resource_version=step.resource_version,
                    grace_period_s=step.grace_period_s,
                    propagation_policy=step.propagation_policy,
                )
            case DeleteCollection():
                return await self.client.delete_collection(step.resource, step.namespace)

    def _note(self, note: Emit | None, *, name: str = "", error: str = "") -> None:
        if note is not None:
            filled = note.filled(name=name, error=error)
            self.recorder.event(filled.about, filled.type, filled.reason, filled.message)


def _namespace_terminating(error: ApiError) -> bool:
    """Whatever is to be created there, the server will refuse it until the namespace is gone, and then nobody will want it."""
    return any(cause.get("reason") == "NamespaceTerminating" for cause in error.details.get("causes") or ())
