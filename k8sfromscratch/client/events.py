"""Events: what `kubectl describe` shows of what happened to an object.

Recording never blocks and never fails its caller: an event goes into a bounded queue and is written in the background.
The same thing said again becomes a count on the first event, as upstream does.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from k8sfromscratch.api.errors import AlreadyExists, ApiError, Forbidden, NotFound
from k8sfromscratch.api.registry import EVENTS
from k8sfromscratch.client.rest import Client, Object
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.process.clock import Env, rfc3339

log = logging.getLogger(__name__)

WAITING_MAX = 1000
"""As many as upstream's broadcaster holds; what comes on top is dropped and counted."""
REMEMBERED_MAX = 4096
"""Upstream's size of the cache that turns repetitions into counts."""
MESSAGE_MAX = 1024
"""Upstream's limit of an event's note."""
NAME_MAX = 253
TRIES_MAX = 12
RETRY_S = 10.0
"""Upstream's: a server that is away for two minutes loses no events, as long as they fit into the queue."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What makes two events the same."""

    uid: str
    key: str
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    said: _Said
    about: Object
    """An ObjectReference."""
    at: str


class EventRecorder:
    def __init__(self, client: Client, component: str, env: Env, *, host: str = "") -> None:
        self._client, self._component, self._env, self._host = client, component, env, host
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING_MAX)
        self._known: OrderedDict[_Said, tuple[str, int]] = OrderedDict()
        """Event -> (its name, its count)."""
        self.dropped = 0

    def event(self, obj: Mapping[str, Any], type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        meta = obj["metadata"]
        namespace = meta.get("namespace", "")
        reference = {
            "kind": obj.get("kind", ""),
            "namespace": namespace,
            "name": meta["name"],
            "uid": meta.get("uid", ""),
            "apiVersion": obj.get("apiVersion", ""),
        }
        if meta.get("resourceVersion"):
            reference["resourceVersion"] = meta["resourceVersion"]
        said = _Said(meta.get("uid", ""), f"{reference['kind']}/{namespace}/{meta['name']}", type, reason, message[:MESSAGE_MAX])
        try:
            self._waiting.put_nowait(_Waiting(said, {k: v for k, v in reference.items() if v}, rfc3339(self._env.clock.now())))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Writes events until cancelled."""
        while True:
            event = await self._waiting.get()
            try:
                await self._persist(event)
            except Forbidden as error:
                log.debug("event %s about %s: %s", event.said.reason, event.said.key, error)  # e.g. its namespace is going away
            except (ApiError, TransportError) as error:
                self.dropped += 1
                log.warning("event %s about %s is lost: %s", event.said.reason, event.said.key, error)

    async def _persist(self, event: _Waiting) -> None:
        """Raises the server's refusal, or the last TransportError."""
        name = self._new_name(event)
        for _ in range(TRIES_MAX - 1):
            try:
                return await self._write(event, name)
            except TransportError as error:
                log.info("event %s about %s waits: %s", event.said.reason, event.said.key, error)
                await asyncio.sleep(RETRY_S * (0.5 + self._env.rng.random() / 2))
        await self._write(event, name)

    async def _write(self, event: _Waiting, new_name: str) -> None:
        said, namespace = event.said, event.about.get("namespace") or "default"
        known = self._known.get(said)
        if known is not None:
            name, count = known
            try:
                await self._client.patch(EVENTS, name, {"count": count + 1, "lastTimestamp": event.at}, namespace)
                self._remember(said, name, count + 1)
                return
            except NotFound:
                del self._known[said]  # expired: said anew below
        try:
            await self._client.create(EVENTS, self._object(event, new_name, namespace))
        except AlreadyExists:
            log.debug("event %s had been written by a try whose answer was lost", new_name)
        self._remember(said, new_name, 1)

    def _object(self, event: _Waiting, name: str, namespace: str) -> Object:
        source = {"component": self._component, **({"host": self._host} if self._host else {})}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": event.about,
            "reason": event.said.reason,
            "message": event.said.message,
            "type": event.said.type,
            "source": source,
            "firstTimestamp": event.at,
            "lastTimestamp": event.at,
            "count": 1,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }

    def _new_name(self, event: _Waiting) -> str:
        """Unlike those of others about the same object, and of this one an hour ago."""
        stamp = f"{event.said}{self._env.clock.now().timestamp()}{self._env.rng.random()}"
        suffix = hashlib.sha256(stamp.encode()).hexdigest()[:16]
        return f"{event.about['name'][: NAME_MAX - len(suffix) - 1]}.{suffix}"

    def _remember(self, said: _Said, name: str, count: int) -> None:
        self._known[said] = (name, count)
        self._known.move_to_end(said)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
