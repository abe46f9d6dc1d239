"""Which traffic goes where: Services and EndpointSlices, boiled down to what packet rules need.

    Service + its EndpointSlices ──► ServicePort: addresses and ports that lead to it, and the endpoints it leads to

Endpoints are chosen as upstream does: those that are ready; if there is none, those that are terminating but still serve (KEP-1669).
A policy of `Local` keeps to endpoints of this node: internalTrafficPolicy for the cluster IP, externalTrafficPolicy for the rest.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    ip: str
    port: int
    local: bool = False


@dataclass(frozen=True, slots=True)
class ServicePort:
    """`name` is upstream's service port name, `namespace/name:port`."""

    name: str
    protocol: str
    port: int
    cluster_ip: str
    node_port: int
    external_ips: tuple[str, ...]
    balancer_ips: tuple[str, ...]
    source_ranges: tuple[str, ...]
    """Who may use the load balancer's addresses; empty: all."""
    affinity_timeout_s: int
    """0: no session affinity."""
    cluster_endpoints: tuple[Endpoint, ...]
    """For the cluster IP."""
    external_endpoints: tuple[Endpoint, ...]
    """For node ports and external addresses."""
    external_local: bool
    """externalTrafficPolicy Local: the client's address is kept, nothing is masqueraded."""
    has_endpoints: bool
    """Any usable endpoint at all: without one the traffic is refused, with only remote ones under Local it is dropped."""


def service_ports(services: Iterable[Object], slices: Iterable[Object], node: str) -> dict[str, ServicePort]:
    """All ports of all services that a proxy on `node` serves, by name."""
    by_service: dict[tuple[str, str], list[Object]] = {}
    for item in slices:
        if item.get("addressType") != "IPv4":
            continue
        owner = (item["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL)
        if owner:
            by_service.setdefault((item["metadata"]["namespace"], owner), []).append(item)
    ports: dict[str, ServicePort] = {}
    for service in services:
        for port in _of_service(service, by_service, node):
            ports[port.name] = port
    return ports


def _of_service(service: Object, by_service: Mapping[tuple[str, str], list[Object]], node: str) -> Iterable[ServicePort]:
    meta, spec = service["metadata"], service.get("spec") or {}
    labels = meta.get("labels") or {}
    cluster_ip = _ipv4(spec.get("clusterIPs") or [spec.get("clusterIP") or ""])
    if not cluster_ip or spec.get("type") == "ExternalName" or PROXY_NAME_LABEL in labels or HEADLESS_LABEL in labels:
        return
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    balanced = [i["ip"] for i in ingress if i.get("ip") and i.get("ipMode", "VIP") == "VIP"] if spec.get("type") == "LoadBalancer" else []
    affinity_s = 0
    if spec.get("sessionAffinity") == "ClientIP":
        affinity_s = int(((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds") or 10800)
    mine = by_service.get((meta["namespace"], meta["name"]), [])
    for port in spec.get("ports") or ():
        found = _endpoints(mine, port.get("name") or "", port.get("protocol") or "TCP", node)
        usable = [e for e, ready, _ in found if ready] or [e for e, _, serving in found if serving]
        near = [e for e, ready, _ in found if ready and e.local] or [e for e, _, serving in found if serving and e.local]
        external_local = spec.get("externalTrafficPolicy") == "Local"
        suffix = f":{port['name']}" if port.get("name") else ""
        yield ServicePort(
            name=f"{meta['namespace']}/{meta['name']}{suffix}",
            protocol=(port.get("protocol") or "TCP").lower(),
            port=int(port["port"]),
            cluster_ip=cluster_ip,
            node_port=int(port.get("nodePort") or 0),
            external_ips=tuple(sorted(ip for ip in spec.get("externalIPs") or () if _ipv4([ip]))),
            balancer_ips=tuple(sorted(ip for ip in balanced if _ipv4([ip]))),
            source_ranges=tuple(sorted(spec.get("loadBalancerSourceRanges") or ())),
            affinity_timeout_s=affinity_s,
            cluster_endpoints=tuple(sorted(near if spec.get("internalTrafficPolicy") == "Local" else usable)),
            external_endpoints=tuple(sorted(near if external_local else usable)),
            external_local=external_local,
            has_endpoints=bool(usable),
        )


def _endpoints(slices: Iterable[Object], name: str, protocol: str, node: str) -> list[tuple[Endpoint, bool, bool]]:
    """(endpoint, ready, serving while terminating), each address once: slices may overlap for a moment while one is split."""
    found: dict[tuple[str, int], tuple[Endpoint, bool, bool]] = {}
    for item in slices:
        number = next((p.get("port") for p in item.get("ports") or () if (p.get("name") or "") == name and (p.get("protocol") or "TCP") == protocol), None)
        if not number:
            continue
        for endpoint in item.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            terminating = bool(conditions.get("terminating"))
            ready = conditions.get("ready") is not False and not terminating
            serving = terminating and bool(conditions.get("serving", True))
            for address in (endpoint.get("addresses") or ())[:1]:
                key = (address, int(number))
                known = found.get(key)
                if known is None or (ready and not known[1]):
                    found[key] = (Endpoint(address, int(number), endpoint.get("nodeName") == node), ready, serving)
    return list(found.values())


def _ipv4(addresses: Iterable[str]) -> str:
    """The first IPv4 address of a list that may hold IPv6 ones, "None" or nothing."""
    for address in addresses:
        try:
            return str(ipaddress.IPv4Address(address))
        except ValueError:
            continue
    return ""
