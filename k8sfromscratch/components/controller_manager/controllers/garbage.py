"""The garbage collector's eyes: a watch of every resource that the server has, and live reads where those do not know.

What another controller of this process watches anyway is shared with it; of everything else only the metadata is watched.

CustomResourceDefinitions come and go, so discovery is asked again at every change of one, and from time to time for the rest.  When a resource
is no longer served, or in another version, its watch ends and its objects leave the graph: nobody knows then whether they are gone.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from k8sfromscratch.api.errors import ApiError, NotFound
from k8sfromscratch.api.registry import CUSTOM_RESOURCE_DEFINITIONS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.client import Informer, TransportError
from k8sfromscratch.components.controller_manager.controller import Context, Controller
from k8sfromscratch.components.controller_manager.discovery import discover
from k8sfromscratch.core.reconcile import garbage_collector
from k8sfromscratch.core.reconcile.garbage_collector import OwnerState
from k8sfromscratch.core.reconcile.garbage_graph import Graph, Node, node_of
from k8sfromscratch.core.reconcile.plan import Object, Plan

log = logging.getLogger(__name__)

IGNORED = frozenset({"events", "events.events.k8s.io"})
"""Many, short-lived, and owned by nobody."""
NEEDED_VERBS = frozenset({"delete", "list", "watch"})
FAILED_DISCOVERY_RETRY_S = 5.0
SYNC_S = 30.0


class Watches:
    """The graph, and the informers that keep it.  Nothing may be judged before `ready`: until then every owner seems to be missing."""

    def __init__(self, context: Context) -> None:
        self.graph = Graph()
        self.ready = asyncio.Event()
        self._context = context
        self._informers: dict[Resource, tuple[Informer, asyncio.Task[None] | None]] = {}
        """With the task of those that are not shared."""
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._changed = asyncio.Event()

    def resource_of(self, reference: Mapping[str, Any]) -> Resource | None:
        """What an owner reference is about, whichever version of the group it names."""
        return self._kinds.get((reference["apiVersion"].rpartition("/")[0], reference["kind"]))

    async def run(self, enqueue: Callable[[str], None]) -> None:
        self._context.informer(CUSTOM_RESOURCE_DEFINITIONS).add_handler(lambda old, new: self._changed.set())
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                try:
                    problems = await self._follow_discovery(group, enqueue)
                except (ApiError, TransportError) as error:
                    problems = (str(error),)
                if problems:
                    log.warning("not all resources are known: %s", "; ".join(problems))
                try:
                    async with asyncio.timeout(FAILED_DISCOVERY_RETRY_S if problems else self._context.options.gc_discovery_period_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _follow_discovery(self, group: asyncio.TaskGroup, enqueue: Callable[[str], None]) -> tuple[str, ...]:
        """What could not be asked.  That is no reason to wait: an owner of a kind that is not known is never taken for gone."""
        served = await discover(self._context.client)
        for resource in [] if served.failed else [one for one in self._informers if one not in served.resources]:
            informer, task = self._informers.pop(resource)
            self._kinds.pop((resource.group, resource.kind), None)
            if task is not None:
                task.cancel()
            for obj in informer.store.list():
                self._enqueue_all(self.graph.forget(obj["metadata"]["uid"]), enqueue)
        for resource in served.resources:
            self._kinds[(resource.group, resource.kind)] = resource
            if resource not in self._informers and resource.verbs and set(resource.verbs) >= NEEDED_VERBS and resource.group_resource not in IGNORED:
                self._informers[resource] = self._watch(resource, group, enqueue)
        try:
            async with asyncio.timeout(SYNC_S):
                for informer, _ in self._informers.values():
                    await informer.wait_synced()
        except TimeoutError:
            # Perhaps one of them is no longer served: discovery will say so.
            empty = [resource.group_resource for resource, (informer, _) in self._informers.items() if not informer.synced]
            return (*served.failed, f"cannot be listed: {', '.join(empty)}")
        self.ready.set()
        return served.failed

    def _watch(self, resource: Resource, group: asyncio.TaskGroup, enqueue: Callable[[str], None]) -> tuple[Informer, asyncio.Task[None] | None]:
        shared = self._context.shared.get(resource.group_resource)
        informer = shared or Informer(self._context.metadata_client, resource, self._context.env)

        def on_change(old: Object | None, new: Object | None) -> None:
            if new is not None:
                self._enqueue_all(self.graph.upsert(node_of(resource, new)), enqueue)
            elif old is not None:
                self._enqueue_all(self.graph.remove(old["metadata"]["uid"]), enqueue)

        informer.add_handler(on_change)
        return informer, None if shared is not None else group.create_task(informer.run(), name=f"garbage collector's {resource.group_resource}")

    @staticmethod
    def _enqueue_all(uids: list[str], enqueue: Callable[[str], None]) -> None:
        for uid in uids:
            enqueue(uid)


def garbage_collector_controller(context: Context) -> Controller:
    watches = Watches(context)
    graph = watches.graph

    async def plan(key: str, now: datetime) -> Plan:
        await watches.ready.wait()
        node = graph.get(key)
        if node is None:
            return Plan()
        states = {owner["uid"]: await owner_state(node, owner) for owner in node.owners} if not node.deleting else {}
        result = garbage_collector.plan(node, states, graph.dependents(key))
        if OwnerState.UNKNOWN in states.values():
            # Its kind may be served one day: nothing else would bring this object up again.
            return replace(result, requeue_after_s=context.options.gc_discovery_period_s)
        return result

    async def owner_state(node: Node, reference: Mapping[str, Any]) -> OwnerState:
        uid = reference["uid"]
        known = graph.get(uid)
        if known is not None:
            return OwnerState.WAITING if known.awaits_dependents else OwnerState.SOLID
        if graph.is_absent(uid):
            return OwnerState.ABSENT
        resource = watches.resource_of(reference)
        if resource is None or (resource.namespaced and node.namespace is None):
            log.warning(
                "%s %s/%s: its owner %s %s cannot be looked up", node.resource.group_resource, node.namespace, node.name, reference["kind"], reference["name"]
            )
            return OwnerState.UNKNOWN
        try:
            live = await context.metadata_client.get(resource, reference["name"], node.namespace if resource.namespaced else None)
        except NotFound:
            graph.mark_absent(uid)
            return OwnerState.ABSENT
        if live["metadata"]["uid"] != uid:
            graph.mark_absent(uid)
            return OwnerState.ABSENT
        return OwnerState.WAITING if node_of(resource, live).awaits_dependents else OwnerState.SOLID

    return Controller("garbage-collector-controller", plan, background=watches.run)
