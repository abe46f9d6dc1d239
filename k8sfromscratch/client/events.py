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

from k8sfromscratch.api.errors import ApiError, Forbidden, NotFound
from k8sfromscratch.api.registry import EVENTS
from k8sfromscratch.client.rest import Client, Object
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.process.clock import Env, rfc3339

log = logging.getLogger(__name__)

WAITING_MAX = 1000
"""As many as upstream's broadcaster holds; what comes on top is dropped and counted."""
REMEMBERED_MAX = 4096
MESSAGE_MAX = 1024
"""Upstream's limit of an event's note."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What makes two events the same."""

    uid: str
    key: str
    type: str
    reason: str
    message: str


class EventRecorder:
    def __init__(self, client: Client, component: str, env: Env, *, host: str = "") -> None:
        self._client, self._component, self._env, self._host = client, component, env, host
        self._waiting: asyncio.Queue[tuple[_Said, Object]] = asyncio.Queue(WAITING_MAX)
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
            self._waiting.put_nowait((said, {k: v for k, v in reference.items() if v}))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Writes events until cancelled."""
        while True:
            said, reference = await self._waiting.get()
            try:
                await self._write(said, reference)
            except Forbidden as error:
                log.debug("event %s about %s: %s", said.reason, said.key, error)  # e.g. its namespace is going away
            except (ApiError, TransportError) as error:
                log.warning("event %s about %s is lost: %s", said.reason, said.key, error)

    async def _write(self, said: _Said, reference: Object) -> None:
        namespace = reference.get("namespace") or "default"
        now = rfc3339(self._env.clock.now())
        known = self._known.get(said)
        if known is not None:
            name, count = known
            try:
                await self._client.patch(EVENTS, name, {"count": count + 1, "lastTimestamp": now}, namespace)
                self._remember(said, name, count + 1)
                return
            except NotFound:
                del self._known[said]  # expired: said anew below
        name = f"{reference['name']}.{self._suffix(said)}"
        source = {"component": self._component, **({"host": self._host} if self._host else {})}
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": reference,
            "reason": said.reason,
            "message": said.message,
            "type": said.type,
            "source": source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        await self._client.create(EVENTS, event, namespace=namespace)
        self._remember(said, name, 1)

    def _suffix(self, said: _Said) -> str:
        """Unlike those of others about the same object, and of this one an hour ago."""
        stamp = f"{said}{self._env.clock.now().timestamp()}{self._env.rng.random()}"
        return hashlib.sha256(stamp.encode()).hexdigest()[:16]

    def _remember(self, said: _Said, name: str, count: int) -> None:
        self._known[said] = (name, count)
        self._known.move_to_end(said)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
