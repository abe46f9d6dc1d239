"""All pods of the node: a worker for each, woken by the API (informer) and by the runtime (PLEG).

PLEG, the pod lifecycle event generator, lists the runtime once a second and wakes the workers of pods where something changed: not every
runtime sends events, and a missed one must not matter.  What the runtime has of pods that the API does not know (deleted while the kubelet
was down) gets a worker too, which ends and removes it.  That is why the runtime must be the kubelet's alone.
"""

import asyncio
import logging
from typing import Any

from k8sfromscratch.api.registry import PODS
from k8sfromscratch.client import Informer, Informers
from k8sfromscratch.core.pods import spec
from k8sfromscratch.core.pods.runtime_state import Container, ContainerState
from k8sfromscratch.runtime.interface import PodIdentity, RuntimeFailure

from .context import Context
from .pod_worker import PodWorker

log = logging.getLogger(__name__)

Object = dict[str, Any]

RELIST_S = 1.0
HOUSEKEEPING_S = 60.0
REPLACE_S = 5.0


class Pods:
    def __init__(self, context: Context, informers: Informers, node_name: str) -> None:
        self._context = context
        self._informer: Informer = informers.get(PODS, field_selector=f"spec.nodeName={node_name}")
        self._workers: dict[str, PodWorker] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._seen: dict[str, frozenset[tuple[str, object]]] = {}

    async def run(self) -> None:
        """Runs all workers until cancelled; containers keep running.  The informer is run by its owner."""
        await self._informer.wait_synced()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._informer.add_handler(self._on_pod)
            tasks.create_task(self._watch_runtime())
            tasks.create_task(self._keep_house())

    # For the HTTP server

    def objects(self) -> list[Object]:
        """The pods of this node, as the API has them."""
        return self._informer.store.list()

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of the pod that has that name now."""
        return next((w for w in self._workers.values() if spec.pod_key(w.pod) == f"{namespace}/{name}" and not w.gone), None)

    def count(self) -> int:
        return len(self._workers)

    def running_containers(self) -> list[Container]:
        return [c for w in self._workers.values() for c in w.runtime.containers if c.state is ContainerState.RUNNING]

    # From the API

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or new["metadata"]["uid"] != old["metadata"]["uid"]):
            worker = self._workers.get(old["metadata"]["uid"])
            if worker is not None:
                worker.update(None)
        if new is None:
            return
        known = self._workers.get(new["metadata"]["uid"])
        if known is None:
            self._start(PodWorker(self._context, new), new["metadata"]["uid"])
        else:
            known.update(new)

    def _start(self, worker: PodWorker, uid: str) -> None:
        assert self._tasks is not None, "pods are only handled while run() runs"
        self._workers[uid] = worker
        self._tasks.create_task(self._run(worker, uid))

    async def _run(self, worker: PodWorker, uid: str) -> None:
        """The wall between pods: what one worker stumbles over must not end the others."""
        while not worker.finished:
            try:
                await worker.run()
            except ExceptionGroup as error:
                log.exception("pod %s: its worker failed and is replaced", spec.pod_key(worker.pod))
                self._context.events.event(worker.pod, "Warning", "FailedSync", f"error syncing pod: {error.exceptions[0]}")
                await asyncio.sleep(REPLACE_S)
                worker = self._workers[uid] = PodWorker(self._context, worker.pod, gone=worker.gone)
        self._workers.pop(uid, None)
        self._seen.pop(uid, None)

    # From the runtime

    async def _watch_runtime(self) -> None:
        while True:
            try:
                await self._relist()
            except RuntimeFailure as error:
                log.warning("the runtime was not listed: %s", error)
            await asyncio.sleep(RELIST_S)

    async def _relist(self) -> None:
        found: dict[str, set[tuple[str, object]]] = {}
        owners: dict[str, PodIdentity] = {}
        for owner, sandbox in await self._context.runtime.list_sandboxes():
            owners[owner.uid] = owner
            found.setdefault(owner.uid, set()).add((sandbox.id, sandbox.ready))
        for owner, container in await self._context.runtime.list_containers():
            owners.setdefault(owner.uid, owner)
            found.setdefault(owner.uid, set()).add((container.id, container.state))
        current = {uid: frozenset(parts) for uid, parts in found.items()}
        for uid in current.keys() | self._seen.keys():
            worker = self._workers.get(uid)
            if worker is None:
                if uid in owners:
                    log.info("pod %s/%s (%s) is unknown to the API: ending it", owners[uid].namespace, owners[uid].name, uid)
                    self._start(PodWorker(self._context, _skeleton(owners[uid]), gone=True), uid)
            elif current.get(uid) != self._seen.get(uid):
                worker.poke()
        self._seen = current

    async def _keep_house(self) -> None:
        """Directories of pods that neither the API nor the runtime knows."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            for uid in self._context.volumes.known_pods():
                if uid not in self._workers and uid not in self._seen:
                    try:
                        await self._context.volumes.remove_pod(uid)
                    except OSError as error:
                        log.warning("files of pod %s, long gone, were not removed: %s", uid, error)


def _skeleton(owner: PodIdentity) -> Object:
    """As much of a pod as its sandbox tells."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": owner.uid, "namespace": owner.namespace, "name": owner.name}, "spec": {}}
