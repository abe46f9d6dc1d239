"""What is written along with a Service so that it cannot be had twice: its cluster IPs and node ports.

An address is taken by creating an object of its own (networking.k8s.io IPAddress, as upstream since v1.33; for ports a record of
ours) in the transaction that writes the Service, on the condition that it is not there yet.  So two apiservers cannot give out
the same one, nothing is to be repaired after a crash, and the cache that proposes addresses may be behind: the transaction
fails, and the next try proposes another.  What people break by hand is repaired by `allocation_loop`.

What a Service needs, and what it keeps when it changes, is `service_needs`' matter.
"""

import ipaddress
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import orjson

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import IP_ADDRESSES, SERVICES
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver import field_labels, keys, service_needs
from k8sfromscratch.components.apiserver.allocation_repair import address_labels
from k8sfromscratch.components.apiserver.cache import ResourceCache
from k8sfromscratch.components.apiserver.catalog import Catalog
from k8sfromscratch.components.apiserver.entries import Object, encode
from k8sfromscratch.components.apiserver.service_needs import Needs
from k8sfromscratch.components.apiserver.store import Along, Delete, Write
from k8sfromscratch.core.mvcc.types import Compare, DeleteOp, PutOp
from k8sfromscratch.core.patch.values import copied_object
from k8sfromscratch.process.clock import Env, rfc3339

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS_DIRECTORY = "ranges/servicenodeports"
# Random proposals before the range is searched in order: with half the range free, twenty misses in a row are one in a million.
_RANDOM_TRIES = 20
# Of a wide IPv6 range only so many addresses are ever proposed, as upstream.
_RANGE_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Ranges:
    """`networks` hold at most one of each family, the default one first; `ports` is inclusive at both ends."""

    networks: tuple[Network, ...] = (ipaddress.IPv4Network("10.96.0.0/12"),)
    ports: tuple[int, int] = (30000, 32767)

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(family_of(network) for network in self.networks)

    @property
    def kubernetes_ip(self) -> Address:
        """The first of the range: the `kubernetes` Service has it, whoever asks."""
        return self.networks[0].network_address + 1


class Allocations:
    def __init__(self, catalog: Catalog, ranges: Ranges, env: Env) -> None:
        self.ranges = ranges
        self._addresses = catalog.of(IP_ADDRESSES)
        self.ports = catalog.caches.setdefault(PORTS_DIRECTORY, ResourceCache(field_labels.fields_of("")))
        self._env = env

    def for_create(self, resource: Resource, obj: Object) -> Write:
        """Raises Invalid when a wanted address is taken or none is left."""
        if resource != SERVICES:
            return Write(obj)
        return self._write(copied_object(obj), Needs())

    def for_update(self, resource: Resource, obj: Object, old: Object) -> Write:
        if resource != SERVICES:
            return Write(obj)
        return self._write(copied_object(obj), service_needs.held(old))

    def for_delete(self, resource: Resource, obj: Object) -> Delete:
        if resource != SERVICES:
            return Delete(obj)
        along = Along()
        self._release(along, service_needs.held(obj))
        return Delete(obj, along)

    def _write(self, service: Object, held: Needs) -> Write:
        along = Along()
        fault = service_needs.family_fault(service, self.ranges.families)
        if fault is not None:
            field, value, why = fault
            raise _invalid(service, field, "FieldValueInvalid", f'Invalid value: "{value}": {why}')
        wanted = service_needs.wanted(service, self.ranges.families)
        addresses = [self._address(service, family, given, held.addresses) for family, given in wanted.addresses]
        service_needs.set_addresses(service, addresses, [family for family, _ in wanted.addresses])
        taken: set[int] = {port for _, port in wanted.ports if port}
        for setter, given in wanted.ports:
            port = given or self._free_port(taken)
            taken.add(port)
            setter(port)
        now = service_needs.held(service)
        for address in sorted(now.addresses - held.addresses):
            self._take(along, self._addresses.storage_key(address), self.address_object(service, address))
        for port in sorted(now.ports - held.ports):
            self._check_port(service, port)
            self._take(along, port_storage_key(str(port)), port_object(service, str(port)))
        self._release(along, Needs(held.addresses - now.addresses, held.ports - now.ports))
        return Write(service, along)

    # -- addresses

    def _address(self, service: Object, family: str, given: str, held: Collection[str]) -> str:
        network = next((network for network in self.ranges.networks if family_of(network) == family), None)
        if network is None:
            raise _invalid(service, "spec.ipFamilies[0]", "FieldValueInvalid", f'Invalid value: "{family}": not configured on this cluster')
        if not given:
            return self._free_address(service, network)
        address = ipaddress.ip_address(given)
        if address not in network:
            why = f"failed to allocate IP {given}: the provided IP ({given}) is not in the valid range. The range of valid IPs is {network}"
        elif given not in held and self._addresses.cache.get(given) is not None:
            why = f"failed to allocate IP {given}: provided IP is already allocated"
        elif address in (network.network_address, network.broadcast_address):
            why = f"failed to allocate IP {given}: the provided network does not match the current range"
        else:
            return given
        raise _invalid(service, "spec.clusterIPs", "FieldValueInvalid", f'Invalid value: ["{given}"]: {why}')

    def _free_address(self, service: Object, network: Network) -> str:
        """From the upper part first: the lower is left to those who name an address (KEP-3070)."""
        size = min(network.num_addresses - 2, _RANGE_MAX)
        reserved = min(max(16, size // 16), 256) if size > 16 else 0
        taken = self._addresses.cache
        proposals = (self._env.rng.randrange(reserved, size) for _ in range(_RANDOM_TRIES))
        for index in itertools.chain(proposals, range(reserved, size), range(reserved)):
            address = network.network_address + index + 1
            if address != self.ranges.kubernetes_ip and taken.get(str(address)) is None:
                return str(address)
        raise errors.InternalError(f"failed to allocate a serviceIP: range {network} is full")

    def address_object(self, service: Object, address: str) -> bytes:
        parent = {"group": "", "resource": "services", "namespace": service["metadata"]["namespace"], "name": service["metadata"]["name"]}
        metadata = {
            "name": address,
            "uid": self._env.uid(),
            "creationTimestamp": rfc3339(self._env.clock.now()),
            "labels": address_labels(address),
        }
        return encode({"apiVersion": IP_ADDRESSES.api_version, "kind": IP_ADDRESSES.kind, "metadata": metadata, "spec": {"parentRef": parent}})

    # -- ports

    def _free_port(self, taken: Collection[int]) -> int:
        first, last = self.ranges.ports
        proposals = (self._env.rng.randint(first, last) for _ in range(_RANDOM_TRIES))
        for port in itertools.chain(proposals, range(first, last + 1)):
            if port not in taken and self.ports.get(str(port)) is None:
                return port
        raise errors.InternalError(f"failed to allocate a nodePort: range {first}-{last} is full")

    def _check_port(self, service: Object, port: int) -> None:
        first, last = self.ranges.ports
        if not first <= port <= last:
            why = f"Invalid value: {port}: provided port is not in the valid range. The range of valid ports is {first}-{last}"
        elif self.ports.get(str(port)) is not None:
            why = f"Invalid value: {port}: provided port is already allocated"
        else:
            return
        index = next((i for i, p in enumerate(service["spec"].get("ports") or []) if p.get("nodePort") == port), 0)
        raise _invalid(service, f"spec.ports[{index}].nodePort", "FieldValueInvalid", why)

    # -- the transaction

    def _take(self, along: Along, key: bytes, value: bytes) -> None:
        along.compare.append(Compare(key, "VERSION", "EQUAL", 0))
        along.writes.append(PutOp(key, value))

    def _release(self, along: Along, needs: Needs) -> None:
        along.writes += [DeleteOp(self._addresses.storage_key(address)) for address in sorted(needs.addresses)]
        along.writes += [DeleteOp(port_storage_key(str(port))) for port in sorted(needs.ports)]


def family_of(network: Network) -> str:
    return f"IPv{network.version}"


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Raises ValueError, naming what is wrong."""
    networks = tuple(ipaddress.ip_network(text) for text in texts)
    if not 1 <= len(networks) <= 2 or len({network.version for network in networks}) != len(networks):
        raise ValueError("one range, or one of each IP family, is needed")
    if any(network.num_addresses < 4 for network in networks):
        raise ValueError("a range needs at least 4 addresses")
    return networks


def port_storage_key(port: str) -> bytes:
    return keys.ROOT + f"{PORTS_DIRECTORY}/{port}".encode()


def port_object(service: Object, port: str) -> bytes:
    """Seen by nobody outside; it has an object's shape so that the watch cache can keep it."""
    owner = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
    return orjson.dumps({"apiVersion": "v1", "kind": "NodePortAllocation", "metadata": {"name": port}, "service": owner})


def _invalid(service: Object, path: str, reason: str, why: str) -> errors.Invalid:
    return errors.invalid("Service", service["metadata"]["name"], "", [errors.Cause(reason, why, path)])
