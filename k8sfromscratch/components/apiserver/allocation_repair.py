"""What is wrong with the allocations of Services, and what to do about it.  Pure; `allocation` takes and gives, `allocation_loop` repairs.

A Service and what it holds are written in one transaction, so nothing goes wrong by itself.  But people delete IPAddress objects, edit
etcd, restore half of a backup, or start us with other ranges:

    Service with a cluster IP    no IPAddress, one of somebody who is gone, or one without our labels     take it (again)
                                 one of another Service that has the same IP                              tell: one must be made anew
                                 outside of all ranges, or no address at all                              tell
    Service with a node port     the same
    our IPAddress, node port     of no Service that has it                                                give it back

Source: pkg/registry/core/service/{ipallocator,portallocator}/controller, whose reasons of events these are.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from k8sfromscratch.components.apiserver import service_needs
from k8sfromscratch.components.apiserver.entries import Object

IP_FAMILY_LABEL, MANAGED_BY_LABEL, MANAGER = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Problem:
    """`about`: the Service or IPAddress that the event is about."""

    about: Object
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Take(Problem):
    """`what`: an address or a port, for the Service that the event is about."""

    what: str


@dataclass(frozen=True, slots=True)
class Release(Problem):
    what: str


def address_labels(address: str) -> dict[str, str]:
    return {IP_FAMILY_LABEL: _family(address), MANAGED_BY_LABEL: MANAGER}


def address_problems(services: Sequence[Object], addresses: Mapping[str, Object], networks: Sequence[Network]) -> Iterator[Problem]:
    """`addresses`: every IPAddress by its name."""
    by_key = {_key(service): service for service in services}
    for service in services:
        for address in sorted(service_needs.held(service).addresses):
            problem = _address_problem(service, address, addresses.get(address), by_key, networks)
            if problem is not None:
                yield problem
    for address, record in addresses.items():
        if (record["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) != MANAGER:
            continue
        owner = _parent(record)
        if not _holds(by_key.get(owner), address):
            text = f"IPAddress: {address} for Service {owner} appears to have leaked: cleaning up"
            yield Release(record, "IPAddressNotAllocated", text, address)


def _address_problem(service: Object, address: str, record: Object | None, by_key: Mapping[str, Object], networks: Sequence[Network]) -> Problem | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return Problem(service, "ClusterIPNotValid", f"Cluster IP {address} is not a valid IP; please recreate Service")
    family = _family(address)
    if not any(parsed in network for network in networks):
        text = f"Cluster IP [{family}]: {address} is not within any configured Service CIDR; please recreate service"
        return Problem(service, "ClusterIPOutOfRange", text)
    if record is None:
        return Take(service, "ClusterIPNotAllocated", f"Cluster IP [{family}]: {address} is not allocated; repairing", address)
    owner = _parent(record)
    if owner != _key(service):
        if _holds(by_key.get(owner), address):
            text = f"Cluster IP [{family}]:{address} was assigned to multiple services; please recreate service"
            return Problem(service, "ClusterIPAlreadyAllocated", text)
        text = f"the ClusterIP [{family}]: {address} for Service {_key(service)} has a wrong reference; repairing"
        return Take(service, "ClusterIPNotAllocated", text, address)
    if not address_labels(address).items() <= (record["metadata"].get("labels") or {}).items():
        return Take(service, "ClusterIPNotAllocated", f"Cluster IP [{family}]: {address} has wrong labels; repairing", address)
    return None


def port_problems(services: Sequence[Object], ports: Mapping[str, Object], first: int, last: int) -> Iterator[Problem]:
    """`ports`: every record of a taken node port, by its number."""
    by_key = {_key(service): service for service in services}
    for service in services:
        for port in sorted(service_needs.held(service).ports):
            owner = ports.get(str(port), {}).get("service")
            if not first <= port <= last:
                text = f"Port {port} is not within the port range {first}-{last}; please recreate service"
                yield Problem(service, "PortOutOfRange", text)
            elif owner is None or (owner != _key(service) and port not in _ports(by_key.get(owner))):
                yield Take(service, "PortNotAllocated", f"Port {port} is not allocated; repairing", str(port))
            elif owner != _key(service):
                yield Problem(service, "PortAlreadyAllocated", f"Port {port} was assigned to multiple services; please recreate service")
    for number, record in ports.items():
        owner = str(record.get("service"))
        if int(number) not in _ports(by_key.get(owner)):
            yield Release(record, "PortNotAllocated", f"Port {number} of Service {owner} appears to have leaked: cleaning up", number)


def _key(service: Object) -> str:
    return f"{service['metadata']['namespace']}/{service['metadata']['name']}"


def _parent(record: Object) -> str:
    """`namespace/name` of the Service; something else where it is none."""
    parent = (record.get("spec") or {}).get("parentRef") or {}
    if parent.get("group") or parent.get("resource") != "services":
        return ""
    return f"{parent.get('namespace')}/{parent.get('name')}"


def _holds(service: Object | None, address: str) -> bool:
    return service is not None and address in service_needs.held(service).addresses


def _ports(service: Object | None) -> frozenset[int]:
    return service_needs.held(service).ports if service is not None else frozenset()


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"
