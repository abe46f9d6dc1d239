"""Repairs the allocations of Services: at the start of each apiserver, and from time to time.

Every repair is a transaction on the condition that the Service and the allocation are still what was looked at, so that several apiservers,
and users, may be at it at the same time; what fails is looked at again in the next round.  Rounds in which nothing changed cost nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from k8sfromscratch.api.registry import IP_ADDRESSES, SERVICES
from k8sfromscratch.client import EventRecorder
from k8sfromscratch.components.apiserver.allocation import Allocations, port_object, port_storage_key
from k8sfromscratch.components.apiserver.allocation_repair import Problem, Release, Take, address_problems, port_problems
from k8sfromscratch.components.apiserver.cache import ResourceCache
from k8sfromscratch.components.apiserver.entries import Object
from k8sfromscratch.core.mvcc.types import Compare, DeleteOp, Op, PutOp
from k8sfromscratch.storage.interface import StorageError

if TYPE_CHECKING:
    from k8sfromscratch.components.apiserver.server import ApiServer

log = logging.getLogger(__name__)

PERIOD_S = 60.0


class AllocationLoop:
    def __init__(self, server: "ApiServer", allocations: Allocations) -> None:
        self._server = server
        self._allocations = allocations
        self._services = server.catalog.of(SERVICES)
        self._addresses = server.catalog.of(IP_ADDRESSES)
        self._address_events = EventRecorder(server.loopback, "ipallocator-repair-controller", server.env)
        self._port_events = EventRecorder(server.loopback, "portallocator-repair-controller", server.env)
        self._clean_at: tuple[int, ...] | None = None
        """What the caches counted when nothing was wrong."""

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._address_events.run(), name="address events")
            group.create_task(self._port_events.run(), name="port events")
            group.create_task(self._rounds(), name="allocation rounds")

    async def _rounds(self) -> None:
        while True:
            try:
                await self.repair()
            except StorageError as error:
                log.warning("cannot repair the allocations of Services: %s", error)
            except Exception:
                # A fault of ours in one round, which may rest on what the store holds now, must not end all others.
                log.exception("repairing the allocations of Services failed")
            await asyncio.sleep(PERIOD_S)

    async def repair(self) -> int:
        """How many problems there were.  Raises StorageError."""
        counts = tuple(cache.changes for cache in (self._services.cache, self._addresses.cache, self._allocations.ports))
        if counts == self._clean_at:
            return 0
        services = [entry.decode() for entry in self._services.cache.entries()]
        addresses, ports = _decoded(self._addresses.cache), _decoded(self._allocations.ports)
        ranges = self._allocations.ranges
        found = 0
        for problem in address_problems(services, addresses, ranges.networks):
            found += 1
            await self._solve(problem, self._address_events, addresses, self._addresses.storage_key, self._allocations.address_object)
        for problem in port_problems(services, ports, *ranges.ports):
            found += 1
            await self._solve(problem, self._port_events, ports, port_storage_key, port_object)
        self._clean_at = None if found else counts
        return found

    async def _solve(
        self,
        problem: Problem,
        events: EventRecorder,
        records: Mapping[str, Object],
        key_of: Callable[[str], bytes],
        object_of: Callable[[Object, str], bytes],
    ) -> None:
        log.warning("%s: %s", problem.reason, problem.message)
        if problem.about["kind"] in (SERVICES.kind, IP_ADDRESSES.kind):
            events.event(problem.about, "Warning", problem.reason, problem.message)
        write: Op
        if isinstance(problem, Take):
            metadata = problem.about["metadata"]
            service_key = self._services.storage_key(self._services.key(metadata["name"], metadata["namespace"]))
            unchanged = [_as_seen(service_key, problem.about)]
            write = PutOp(key_of(problem.what), object_of(problem.about, problem.what))
        elif isinstance(problem, Release):
            # No Service can have taken it since: it would have had to be free for that.
            unchanged = []
            write = DeleteOp(key_of(problem.what))
        else:
            return
        await self._server.storage.txn([_as_seen(key_of(problem.what), records.get(problem.what)), *unchanged], [write])


def _as_seen(key: bytes, seen: Object | None) -> Compare:
    return Compare(key, "VERSION", "EQUAL", 0) if seen is None else Compare(key, "MOD", "EQUAL", int(seen["metadata"]["resourceVersion"]))


def _decoded(cache: ResourceCache) -> dict[str, Object]:
    return {entry.key: entry.decode() for entry in cache.entries()}
