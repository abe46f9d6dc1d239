"""The cluster's zone: what DNS answers for services and pods (Kubernetes DNS-based service discovery, schema 1.1.0).

    web.default.svc.cluster.local                    A      the cluster IP; headless: one address an endpoint
    db-0.db.default.svc.cluster.local                A      an endpoint with a hostname
    _http._tcp.web.default.svc.cluster.local         SRV    port 80, target web.default.svc.cluster.local
    10.0.96.10.in-addr.arpa                          PTR    the service (or the endpoint's name) of an address
    ext.default.svc.cluster.local                    CNAME  an ExternalName service
    10-244-1-2.default.pod.cluster.local             A      10.244.1.2, while the namespace exists
    dns-version.cluster.local                        TXT    "1.1.0"

A name that exists with no record of the asked type gives NOERROR without records, one that does not exist NXDOMAIN; both carry the SOA, whose
minimum says how long that may be remembered (RFC 2308).
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k8sfromscratch.core.network.dns_message import AAAA, ANY, CNAME, NOERROR, NS, NXDOMAIN, PTR, SOA, SRV, TXT, A, Answer, Name, Query, Record

Object = Mapping[str, Any]

SCHEMA_VERSION = b"1.1.0"
SERVICE_NAME_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Host:
    """One endpoint of a service: its DNS label is its hostname, else its address with dashes."""

    label: str
    address: str
    ports: tuple[tuple[str, str, int], ...]
    """(name, protocol, number)."""


@dataclass(slots=True)
class Zone:
    """`services` and `slices` are looked up by (namespace, name); slices by the service's.  The callables read the caller's caches."""

    domain: Name
    service: Callable[[str, str], Object | None]
    slices: Callable[[str, str], Sequence[Object]]
    namespace_exists: Callable[[str], bool]
    services_of_address: Callable[[str], Sequence[Object]]
    """Services with this cluster IP."""
    slices_of_address: Callable[[str], Sequence[Object]]
    """Slices with an endpoint of this address."""
    service_exists_in: Callable[[str], bool]
    ttl_s: int = 5
    serial: int = 1

    def owns(self, name: Name) -> bool:
        """Whether a forward name lies in the zone."""
        return name[-len(self.domain) :] == self.domain

    def answer(self, query: Query) -> Answer:
        """For a name that the zone owns."""
        found = self._lookup(query.name[: -len(self.domain)])
        if found is None:
            return Answer(NXDOMAIN, authority=(self._soa(),))
        wanted = [r for r in found if query.type in (r.type, ANY) or r.type == CNAME]
        if not wanted:
            return Answer(NOERROR, authority=(self._soa(),))
        return Answer(NOERROR, wanted, additional=self._targets(wanted))

    def reverse(self, query: Query) -> Answer | None:
        """For a name under in-addr.arpa; None where the address is not one of the cluster's, so that it may be asked upstream."""
        address = _reverse_address(query.name)
        if address is None:
            return None
        names = [self._name(s["metadata"]["name"], s["metadata"]["namespace"], "svc") for s in self.services_of_address(address)]
        if not names:
            for item in self.slices_of_address(address):
                owner = (item["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL)
                service = self.service(item["metadata"]["namespace"], owner) if owner else None
                if owner is None or service is None or not _headless(service):
                    continue
                names += [(h.label, *self._name(owner, item["metadata"]["namespace"], "svc")) for h in _hosts([item], service) if h.address == address]
        if not names:
            return None
        records = [Record(query.name, PTR, self.ttl_s, name) for name in dict.fromkeys(names)] if query.type in (PTR, ANY) else []
        return Answer(NOERROR, records, authority=() if records else (self._soa(),))

    # Forward names; `relative` is without the zone's domain.  None: the name does not exist.

    def _lookup(self, relative: Name) -> list[Record] | None:
        if not relative:
            return [self._soa(), Record(self.domain, NS, self.ttl_s, ("ns", "dns", *self.domain))]
        if relative == ("dns-version",):
            return [Record((*relative, *self.domain), TXT, self.ttl_s, (SCHEMA_VERSION,))]
        if relative[-1] == "svc":
            return self._service_name(relative[:-1])
        if relative[-1] == "pod":
            return self._pod_name(relative[:-1])
        return None

    def _service_name(self, parts: Name) -> list[Record] | None:
        if not parts:
            return []
        if len(parts) == 1:
            return [] if self.service_exists_in(parts[0]) else None
        namespace, name, rest = parts[-1], parts[-2], parts[:-2]
        service = self.service(namespace, name)
        if service is None:
            return None
        owner = self._name(name, namespace, "svc")
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            target = tuple(label.lower() for label in str(spec.get("externalName") or "").rstrip(".").split("."))
            return [Record(owner, CNAME, self.ttl_s, target)] if not rest else None
        hosts = _hosts(self.slices(namespace, name), service) if _headless(service) else []
        if _headless(service) and not hosts:
            return None
        if not rest:
            return self._apex(owner, spec, hosts)
        if len(rest) == 2 and rest[0].startswith("_") and rest[1].startswith("_"):
            return self._srv((*rest, *owner), rest[0][1:], rest[1][1:], owner, spec, hosts) or None
        if len(rest) == 1:
            mine = [h for h in hosts if h.label == rest[0]]
            return self._addresses((*rest, *owner), [h.address for h in mine]) or None
        return None

    def _apex(self, owner: Name, spec: Mapping[str, Any], hosts: Sequence[Host]) -> list[Record]:
        """The service's own name: its addresses, and one SRV a port for those who ask for all (as CoreDNS does)."""
        if hosts:
            records = self._addresses(owner, [h.address for h in hosts])
            return records + [Record(owner, SRV, self.ttl_s, (0, 100 // max(len(hosts), 1), n, (h.label, *owner))) for h in hosts for _, _, n in h.ports]
        records = self._addresses(owner, [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None"])
        return records + [Record(owner, SRV, self.ttl_s, (0, 100, int(p["port"]), owner)) for p in spec.get("ports") or ()]

    def _srv(self, name: Name, port: str, protocol: str, owner: Name, spec: Mapping[str, Any], hosts: Sequence[Host]) -> list[Record]:
        if hosts:
            matching = [(h, n) for h in hosts for label, proto, n in h.ports if label == port and proto.lower() == protocol]
            return [Record(name, SRV, self.ttl_s, (0, 100 // len(matching), number, (host.label, *owner))) for host, number in matching]
        ports = [p for p in spec.get("ports") or () if (p.get("name") or "") == port and (p.get("protocol") or "TCP").lower() == protocol]
        return [Record(name, SRV, self.ttl_s, (0, 100, int(p["port"]), owner)) for p in ports]

    def _pod_name(self, parts: Name) -> list[Record] | None:
        if not parts:
            return []
        if not self.namespace_exists(parts[-1]):
            return None
        if len(parts) == 1:
            return []
        try:
            address = str(ipaddress.IPv4Address(parts[0].replace("-", "."))) if len(parts) == 2 else None
        except ValueError:
            address = None
        return self._addresses((*parts, "pod", *self.domain), [address]) if address else None

    def _targets(self, records: Iterable[Record]) -> list[Record]:
        """The addresses of SRV targets, so that the client need not ask again."""
        extra: dict[tuple[Name, object], Record] = {}
        for record in records:
            if record.type == SRV and isinstance(record.data, tuple):
                for found in self._lookup(record.data[3][: -len(self.domain)]) or ():
                    if found.type in (A, AAAA):
                        extra[(found.name, found.data)] = found
        return list(extra.values())

    def _addresses(self, name: Name, addresses: Iterable[str]) -> list[Record]:
        return [Record(name, AAAA if ":" in address else A, self.ttl_s, address) for address in dict.fromkeys(addresses)]

    def _name(self, name: str, namespace: str, kind: str) -> Name:
        return (name, namespace, kind, *self.domain)

    def _soa(self) -> Record:
        return Record(self.domain, SOA, self.ttl_s, (("ns", "dns", *self.domain), ("hostmaster", *self.domain), self.serial, 7200, 1800, 86400, self.ttl_s))


def _headless(service: Object) -> bool:
    return (service.get("spec") or {}).get("clusterIP") == "None"


def _hosts(slices: Iterable[Object], service: Object) -> list[Host]:
    """Endpoints that are ready, or all where the service publishes those that are not."""
    publish_all = bool((service.get("spec") or {}).get("publishNotReadyAddresses"))
    hosts: dict[tuple[str, str], Host] = {}
    for item in slices:
        ports = tuple((p.get("name") or "", p.get("protocol") or "TCP", int(p["port"])) for p in item.get("ports") or () if p.get("port"))
        for endpoint in item.get("endpoints") or ():
            if not publish_all and (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            for address in endpoint.get("addresses") or ():
                label = (endpoint.get("hostname") or address.replace(".", "-").replace(":", "-")).lower()
                hosts[(label, address)] = Host(label, address, ports)
    return list(hosts.values())


def _reverse_address(name: Name) -> str | None:
    if name[-2:] != ("in-addr", "arpa") or len(name) != 6:
        return None
    try:
        return str(ipaddress.IPv4Address(".".join(reversed(name[:4]))))
    except ValueError:
        return None
