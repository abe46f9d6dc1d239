"""Tells the API how one pod is, and at its end deletes it there.

A task of its own beside the pod's worker, so that an API that is away never keeps containers from being looked after.  Only the latest status
counts: one that was never sent is replaced by the next.
"""

import asyncio
import logging
from typing import Any

from k8sfromscratch.api.errors import ApiError, Conflict, NotFound
from k8sfromscratch.api.registry import PODS
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.core.pods import spec
from k8sfromscratch.core.pods.status import status_patch

from .context import Context

log = logging.getLogger(__name__)

Object = dict[str, Any]

RETRY_S = 1.0
RETRY_MAX_S = 30.0


class PodReporter:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._pod: Object = {}
        self._published: Object | None = None
        self._status: Object | None = None
        self._final = False
        self._wake = asyncio.Event()

    def update(self, pod: Object) -> None:
        """The pod as the API has it."""
        self._pod = pod
        self._published = None
        self._wake.set()

    def report(self, status: Object, *, final: bool) -> None:
        """`final`: nothing of the pod is left on this node; if it is being deleted, it may go."""
        if status != self._status or final != self._final:
            self._status, self._final = status, final
            self._wake.set()

    async def run(self) -> None:
        delay_s = RETRY_S
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._send()
                delay_s = RETRY_S
            except (ApiError, TransportError) as error:
                log.warning("pod %s: status was not reported: %s", spec.pod_key(self._pod), error)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_MAX_S)
                self._wake.set()

    async def _send(self) -> None:
        pod = self._published or self._pod
        if self._status is None:
            return
        meta = pod["metadata"]
        patch = status_patch(pod, self._status)
        try:
            if patch is not None:
                patch["metadata"] = {"uid": meta["uid"]}
                self._published = await self._context.client.patch(PODS, meta["name"], patch, meta["namespace"], patch_type="strategic", subresource="status")
            if self._final and spec.is_deleting(pod) and meta.get("deletionGracePeriodSeconds") != 0:
                await self._context.client.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"], grace_period_s=0)
        except NotFound:
            log.debug("pod %s/%s is gone already", meta["namespace"], meta["name"])
        except Conflict as error:
            log.info("pod %s/%s was replaced: %s", meta["namespace"], meta["name"], error)
