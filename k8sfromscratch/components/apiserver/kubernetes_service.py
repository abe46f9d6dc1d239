"""The `kubernetes` Service in `default`, by which pods find the apiservers, and its endpoints.

Each apiserver holds a key /registry/masterleases/ADDRESS under a lease and renews it; the endpoints are the addresses whose keys
are there.  So one that dies is out when its lease has run out, which the others' watch on the keys tells them, and none needs to know of the others
beforehand.

Source: pkg/controlplane/reconcilers/lease.go.
"""

import asyncio
import contextlib
import logging
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import orjson

from k8sfromscratch.api.errors import AlreadyExists, ApiError, Conflict
from k8sfromscratch.api.registry import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver import keys
from k8sfromscratch.core.mvcc.types import DeleteOp, PutOp, RangeOp, prefix_end
from k8sfromscratch.storage.interface import LeaseNotFound, StorageError

if TYPE_CHECKING:
    from k8sfromscratch.components.apiserver.server import ApiServer

log = logging.getLogger(__name__)

Object = dict[str, Any]

NAME, NAMESPACE = "kubernetes", "default"
PORT = 443
_LEASES = keys.ROOT + b"masterleases/"
# Upstream's: an apiserver that died is still among the endpoints for at most this long.
_LEASE_TTL_S = 15
_PERIOD_S = 10.0


class KubernetesService:
    def __init__(self, server: "ApiServer", address: str, port: int) -> None:
        """`address` and `port` are where clients reach this apiserver."""
        self._server = server
        self._address = address
        self._port = port
        self._key = _LEASES + address.encode()
        self._lease = 0
        self._changed = asyncio.Event()
        """Another apiserver has come or gone."""

    async def start(self) -> None:
        """Raises ApiError, StorageError."""
        await self._ensure_service(correct=True)
        await self._reconcile()

    async def run(self) -> None:
        """Keeps it right until cancelled; then takes this apiserver out of the endpoints."""
        following = asyncio.create_task(self._follow(), name="apiserver-master-leases")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PERIOD_S):
                        await self._changed.wait()
                self._changed.clear()
                try:
                    await self._ensure_service(correct=False)
                    await self._reconcile()
                except (ApiError, StorageError) as error:
                    log.warning("cannot keep the kubernetes Service's endpoints: %s", error)
        finally:
            following.cancel()
            await asyncio.wait([following])
            await self._leave()

    async def _follow(self) -> None:
        """Where the watch breaks, the rounds alone keep the endpoints right."""
        while True:
            try:
                async for batch in self._server.storage.watch(_LEASES, prefix_end(_LEASES)):
                    if batch.events:
                        self._changed.set()
            except StorageError as error:
                log.debug("watching the other apiservers: %s; trying again", error)
            await asyncio.sleep(_PERIOD_S)

    async def _leave(self) -> None:
        try:
            await self._server.storage.txn([], [DeleteOp(self._key)])
            await self._write_endpoints(await self._addresses())
        except (ApiError, StorageError) as error:
            log.info("left the kubernetes Service's endpoints to the lease's expiry: %s", error)

    async def _ensure_service(self, *, correct: bool) -> None:
        """Corrected is it at the start only: apiservers that listen on different ports must not take it from one another for ever."""
        ports = [{"name": "https", "protocol": "TCP", "port": PORT, "targetPort": self._port}]
        present = self._server.view.get(SERVICES, NAME, NAMESPACE)
        if present is not None:
            spec = present["spec"]
            if correct and (spec.get("type") != "ClusterIP" or spec.get("ports") != ports):
                await self._correct({**present, "spec": {**spec, "type": "ClusterIP", "ports": ports}})
            return
        service: Object = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": str(self._server.options.ranges.kubernetes_ip),
                "ports": ports,
            },
        }
        try:
            await self._server.loopback.create(SERVICES, service)
        except AlreadyExists:
            return

    async def _correct(self, service: Object) -> None:
        """Somebody edited it: pods find us by it."""
        try:
            await self._server.loopback.update(SERVICES, service)
        except Conflict:
            return  # the next round looks again

    async def _reconcile(self) -> None:
        await self._renew()
        await self._write_endpoints(await self._addresses())

    async def _renew(self) -> None:
        storage = self._server.storage
        if self._lease:
            try:
                await storage.lease_keep_alive(self._lease)
                return
            except LeaseNotFound:
                log.warning("the lease of this apiserver's endpoint expired; taking a new one")
        self._lease = await storage.lease_grant(_LEASE_TTL_S)
        value = orjson.dumps({"kind": "Endpoints", "apiVersion": "v1", "subsets": [{"addresses": [{"ip": self._address}]}]})
        await storage.txn([], [PutOp(self._key, value, lease=self._lease)])

    async def _addresses(self) -> list[str]:
        found = await self._server.storage.range(RangeOp(key=_LEASES, range_end=prefix_end(_LEASES), keys_only=True))
        addresses = sorted(kv.key[len(_LEASES) :].decode() for kv in found.kvs)
        # A pod that followed a loopback address would find itself; Endpoints may not have one.
        return [address for address in addresses if not ip_address(address).is_loopback]

    async def _write_endpoints(self, addresses: list[str]) -> None:
        ports = [{"name": "https", "port": self._port, "protocol": "TCP"}]
        subsets = [{"addresses": [{"ip": address} for address in addresses], "ports": ports}] if addresses else []
        await self._ensure(ENDPOINTS, {"subsets": subsets}, {"endpointslice.kubernetes.io/skip-mirror": "true"})
        await self._ensure(
            ENDPOINT_SLICES,
            {
                "addressType": "IPv6" if ":" in self._address else "IPv4",
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
                "ports": ports,
            },
            {"kubernetes.io/service-name": NAME},
        )

    async def _ensure(self, resource: Resource, content: Object, labels: dict[str, str]) -> None:
        """Creates it, or corrects it where it says something else."""
        client = self._server.loopback
        present = self._server.view.get(resource, NAME, NAMESPACE)
        wanted: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": labels}}
        try:
            if present is None:
                await client.create(resource, wanted | content)
            elif any(present.get(key, []) != value for key, value in content.items()):
                metadata = {**present["metadata"], "labels": {**(present["metadata"].get("labels") or {}), **labels}}
                await client.update(resource, {**present, **content, "metadata": metadata})
        except (AlreadyExists, Conflict):
            return  # another apiserver was faster; the next round looks again
