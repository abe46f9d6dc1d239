"""Whether a container's image is there, and getting it if its pull policy says so.

Image names are normalised before the runtime is asked (`busybox` → `docker.io/library/busybox:latest`).  A pull that fails is tried again after 10 s,
doubled each time up to 5 min, and in between the container waits with ImagePullBackOff.  How many pulls run at once is bounded.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from k8sfromscratch.client import EventRecorder
from k8sfromscratch.core.pods.container_config import ImageUser
from k8sfromscratch.core.pods.images import parse_image_name, pull_policy
from k8sfromscratch.process.clock import Env
from k8sfromscratch.runtime.interface import Image, Runtime, RuntimeFailure

Object = dict[str, Any]

BACKOFF_S = 10.0
BACKOFF_MAX_S = 300.0
PULLS_MAX = 2
"""At once: more would only share the same uplink and disk."""


class ImageProblem(Exception):
    """`reason` is the container's waiting reason; `retry_at` when asking again makes sense."""

    def __init__(self, reason: str, message: str, retry_at: datetime) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_at = retry_at


@dataclass(frozen=True, slots=True)
class FoundImage:
    ref: str
    user: ImageUser


@dataclass(frozen=True, slots=True)
class _Backoff:
    delay_s: float
    until: datetime


class Images:
    def __init__(self, runtime: Runtime, events: EventRecorder, env: Env) -> None:
        self._runtime = runtime
        self._events = events
        self._env = env
        self._backoffs: dict[str, _Backoff] = {}
        self._pulls = asyncio.Semaphore(PULLS_MAX)

    async def ensure(self, pod: Object, container: Object) -> FoundImage:
        """Raises ImageProblem, or RuntimeFailure where the runtime cannot even be asked."""
        now = self._env.clock.now()
        text = container.get("image", "")
        try:
            name = str(parse_image_name(text))
            policy = pull_policy(text, container.get("imagePullPolicy"))
        except ValueError as error:
            self._events.event(pod, "Warning", "InspectFailed", f'Failed to apply default image tag "{text}": {error}')
            raise ImageProblem("InvalidImageName", f'Failed to apply default image tag "{text}": {error}', now + timedelta(seconds=BACKOFF_MAX_S)) from error
        present = await self._runtime.image(name)
        if present is not None and policy != "Always":
            self._events.event(pod, "Normal", "Pulled", f'Container image "{text}" already present on machine')
            return _found(present)
        if policy == "Never":
            message = f'Container image "{text}" is not present with pull policy of Never'
            self._events.event(pod, "Warning", "ErrImageNeverPull", message)
            raise ImageProblem("ErrImageNeverPull", message, now + timedelta(seconds=BACKOFF_S))
        return await self._pull(pod, text, name)

    async def _pull(self, pod: Object, text: str, name: str) -> FoundImage:
        held = self._backoffs.get(name)
        if held is not None and self._env.clock.now() < held.until:
            message = f'Back-off pulling image "{text}"'
            self._events.event(pod, "Normal", "BackOff", message)
            raise ImageProblem("ImagePullBackOff", message, held.until)
        self._events.event(pod, "Normal", "Pulling", f'Pulling image "{text}"')
        began = self._env.clock.monotonic()
        try:
            async with self._pulls:
                await self._runtime.pull_image(name)
            present = await self._runtime.image(name)
        except RuntimeFailure as error:
            raise self._failed(pod, text, name, str(error)) from error
        if present is None:
            raise self._failed(pod, text, name, "the runtime does not have the image it has just pulled")
        self._backoffs.pop(name, None)
        took_s = self._env.clock.monotonic() - began
        self._events.event(pod, "Normal", "Pulled", f'Successfully pulled image "{text}" in {took_s:.3f}s. Image size: {present.size_bytes} bytes.')
        return _found(present)

    def _failed(self, pod: Object, text: str, name: str, why: str) -> ImageProblem:
        held = self._backoffs.get(name)
        delay_s = BACKOFF_S if held is None else min(held.delay_s * 2, BACKOFF_MAX_S)
        now = self._env.clock.now()
        until = now + timedelta(seconds=delay_s)
        self._backoffs = {other: b for other, b in self._backoffs.items() if now - b.until <= timedelta(seconds=2 * BACKOFF_MAX_S)}
        self._backoffs[name] = _Backoff(delay_s, until)
        message = f'Failed to pull image "{text}": {why}'
        self._events.event(pod, "Warning", "Failed", message)
        self._events.event(pod, "Warning", "Failed", "Error: ErrImagePull")
        return ImageProblem("ErrImagePull", message, now)


def _found(image: Image) -> FoundImage:
    return FoundImage(image.id, ImageUser(image.uid, image.username))
