"""The node's life in the API: registration, status, and the lease that says it is alive.

Two loops.  The lease is renewed every 10 s, and is all that the node lifecycle controller needs.  The status is looked at every 10 s (every second
while the node is not ready) and written when something changed, or every 5 minutes.  Both survive any failure of the API; a node
object that somebody deleted is registered again.
"""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from k8sfromscratch.api.errors import AlreadyExists, ApiError, NotFound
from k8sfromscratch.api.registry import LEASES, NODES
from k8sfromscratch.client import Client
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.process.clock import Env, rfc3339_micro
from k8sfromscratch.runtime.interface import Runtime, RuntimeFailure, RuntimeVersion

from . import machine
from .node_object import NodeFindings, NodeSettings, default_labels, differs, node_object, node_status, status_patch

log = logging.getLogger(__name__)

Object = dict[str, Any]

LEASE_NAMESPACE = "kube-node-lease"
LEASE_DURATION_S = 40
LEASE_RENEWAL_S = 10.0
STATUS_CHECK_S = 10.0
STATUS_CHECK_NOT_READY_S = 1.0
STATUS_CHECK_STARTING_S = 0.2
"""Until it is ready for the first time, or has not become so within `STARTING_S`: pods wait for that."""
STARTING_S = 60.0
STATUS_REPORT_S = 300.0
RUNTIME_AWAY_S = 30.0
"""For so long a runtime may not answer and the node is what it was: while it restarts its containers run on, and pods that bear a lost node
for a moment only need not go."""
RETRY_S = 1.0


class NodeReporter:
    def __init__(self, client: Client, env: Env, runtime: Runtime, settings: NodeSettings, root: Path, *, register: bool = True) -> None:
        self._client = client
        self._env = env
        self._runtime = runtime
        self._settings = settings
        self._root = root
        self._register = register
        self._identity = machine.identity()
        self._version: RuntimeVersion | None = None
        self._answered: NodeFindings | None = None
        """The last findings for which the runtime did answer, `_answered_s` is when that was."""
        self._answered_s = 0.0
        self._reported_at: datetime | None = None
        self.node: Object | None = None
        """As the API had it last."""
        self.pod_cidr = ""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_status())
            tasks.create_task(self._keep_lease())

    def serve_on(self, port: int) -> None:
        """Where the kubelet's server listens, if the port was left to the system."""
        self._settings = replace(self._settings, port=port)

    @property
    def allocatable(self) -> dict[str, str]:
        return dict((self.node or {}).get("status", {}).get("allocatable") or {})

    # Status

    async def _keep_status(self) -> None:
        starting, began_s = True, self._env.clock.monotonic()
        while True:
            pause_s = RETRY_S
            try:
                found = await self._find()
                await self._report(found)
                ready = found.readiness is not None and found.readiness.runtime and found.readiness.network
                starting = starting and not ready and self._env.clock.monotonic() < began_s + STARTING_S
                pause_s = STATUS_CHECK_S if ready else STATUS_CHECK_STARTING_S if starting else STATUS_CHECK_NOT_READY_S
            except (ApiError, TransportError) as error:
                log.warning("node %s: status was not reported: %s", self._settings.name, error)
            await asyncio.sleep(pause_s)

    async def _find(self) -> NodeFindings:
        capacity = machine.capacity(self._root)
        try:
            self._version = await self._runtime.version()
            self._answered = NodeFindings(self._identity, capacity, self._version, await self._runtime.readiness(), images=await self._runtime.images())
            self._answered_s = self._env.clock.monotonic()
            return self._answered
        except RuntimeFailure as error:
            if self._answered is not None and self._env.clock.monotonic() < self._answered_s + RUNTIME_AWAY_S:
                return replace(self._answered, capacity=capacity)
            return NodeFindings(self._identity, capacity, self._version, None, str(error))

    async def _report(self, found: NodeFindings) -> None:
        now = self._env.clock.now()
        node = await self._get_or_register(found, now)
        old = node.get("status")
        status = node_status(self._settings, found, old, now)
        due = self._reported_at is None or now - self._reported_at >= timedelta(seconds=STATUS_REPORT_S)
        if due or differs(status, old):
            node = await self._client.patch(NODES, self._settings.name, status_patch(status, old), patch_type="strategic", subresource="status")
            self._reported_at = now
        self.node = node
        await self._note_pod_cidr(node)

    async def _get_or_register(self, found: NodeFindings, now: datetime) -> Object:
        name = self._settings.name
        try:
            node = await self._client.get(NODES, name)
        except NotFound:
            if not self._register:
                raise
            try:
                node = await self._client.create(NODES, node_object(self._settings, found, now))
                log.info("registered node %s", name)
            except AlreadyExists:
                node = await self._client.get(NODES, name)
        labels = node["metadata"].get("labels") or {}
        missing = {k: v for k, v in default_labels(self._settings, found.identity).items() if labels.get(k) != v}
        if missing and self._register:
            node = await self._client.patch(NODES, name, {"metadata": {"labels": missing}})
        return node

    async def _note_pod_cidr(self, node: Object) -> None:
        """Runtimes that make their own CNI configuration need the node's range; the others ignore it."""
        pod_cidr = str((node.get("spec") or {}).get("podCIDR") or "")
        if not pod_cidr or pod_cidr == self.pod_cidr:
            return
        try:
            await self._runtime.set_pod_cidr(pod_cidr)
            self.pod_cidr = pod_cidr
        except RuntimeFailure as error:
            log.warning("node %s: the runtime was not told its pod range: %s", self._settings.name, error)

    # Lease

    async def _keep_lease(self) -> None:
        held: Object | None = None
        while True:
            try:
                held = await self._renew(held)
                pause_s = LEASE_RENEWAL_S
            except (ApiError, TransportError) as error:
                log.warning("node %s: lease was not renewed: %s", self._settings.name, error)
                held, pause_s = None, RETRY_S
            await asyncio.sleep(pause_s)

    async def _renew(self, held: Object | None) -> Object:
        name = self._settings.name
        if held is None:
            try:
                held = await self._client.get(LEASES, name, LEASE_NAMESPACE)
            except NotFound:
                return await self._client.create(LEASES, self._lease({"name": name, "namespace": LEASE_NAMESPACE}))
        return await self._client.update(LEASES, self._lease(held["metadata"]))

    def _lease(self, metadata: Object) -> Object:
        """Owned by the node, so that it goes with it."""
        if self.node is not None and not metadata.get("ownerReferences"):
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._settings.name, "uid": self.node["metadata"]["uid"]}
            metadata = {**metadata, "ownerReferences": [owner]}
        spec = {"holderIdentity": self._settings.name, "leaseDurationSeconds": LEASE_DURATION_S, "renewTime": rfc3339_micro(self._env.clock.now())}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
