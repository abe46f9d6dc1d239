"""kube-proxy's rules: ServicePorts in, an nftables table out (KEP-3866, the nftables mode).

A packet to a service takes this way:

    prerouting/output ─► services ─┬─ map service-ips (address . protocol . port) ───────────► service-… chain
                                   └─ map service-nodeports (protocol . port), to our IPs ─► external-… chain ─► service-… or local-…
    service-…  ─► (affinity) ─► one endpoint-… chain at random ─► dnat
    postrouting ─► masquerade what was marked: traffic from outside, and a pod that reaches itself

A lookup in a map costs the same with ten services as with ten thousand.  A service without endpoints is refused in the filter hooks
(a nat chain cannot reject), and so is any other port of a cluster IP.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from k8sfromscratch.core.network.nft_table import Table
from k8sfromscratch.core.network.services import Endpoint, ServicePort

NAME_LENGTH_MAX = 120
"""nftables allows 128 bytes; the rest is for prefixes."""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    cluster_cidr: str
    node_ips: tuple[str, ...]
    """Addresses on which node ports answer."""
    masquerade_all: bool = False
    masquerade_bit: int = 14

    @property
    def mark(self) -> str:
        return f"0x{1 << self.masquerade_bit:x}"


_ADDRESS_KEY = "type ipv4_addr . inet_proto . inet_service : verdict ;"
_PORT_KEY = "type inet_proto . inet_service : verdict ;"

DECLARED = {
    "set cluster-ips": "type ipv4_addr ;",
    "set nodeport-ips": "type ipv4_addr ;",
    "map service-ips": _ADDRESS_KEY,
    "map service-nodeports": _PORT_KEY,
    "map no-endpoint-services": _ADDRESS_KEY,
    "map no-endpoint-nodeports": _PORT_KEY,
    "map firewall-ips": _ADDRESS_KEY,
}

BASE = {
    "filter-prerouting": "type filter hook prerouting priority -110 ; policy accept ;",
    "filter-input": "type filter hook input priority -110 ; policy accept ;",
    "filter-forward": "type filter hook forward priority -110 ; policy accept ;",
    "filter-output": "type filter hook output priority -110 ; policy accept ;",
    "filter-output-post-dnat": "type filter hook output priority -90 ; policy accept ;",
    "nat-prerouting": "type nat hook prerouting priority -100 ; policy accept ;",
    "nat-output": "type nat hook output priority -100 ; policy accept ;",
    "nat-postrouting": "type nat hook postrouting priority 100 ; policy accept ;",
}


def rules(ports: Mapping[str, ServicePort], settings: ProxySettings) -> Table:
    table = Table("kube-proxy", BASE, DECLARED, chains=_fixed_chains(settings), elements={declared.split()[1]: {} for declared in DECLARED})
    table.elements["nodeport-ips"] = dict.fromkeys(settings.node_ips, "")
    for port in ports.values():
        _add_service(table, port, settings)
    return table


def _fixed_chains(settings: ProxySettings) -> dict[str, tuple[str, ...]]:
    address, port = "ip daddr . meta l4proto . th dport", "meta l4proto . th dport"
    return {
        "filter-prerouting": ("ct state new jump firewall-check",),
        "filter-input": ("ct state new jump nodeport-endpoints-check", "ct state new jump service-endpoints-check"),
        "filter-forward": ("ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"),
        "filter-output": ("ct state new jump service-endpoints-check", "ct state new jump firewall-check"),
        "filter-output-post-dnat": ("ct state new jump cluster-ips-check",),
        "nat-prerouting": ("jump services",),
        "nat-output": ("jump services",),
        "nat-postrouting": ("jump masquerading",),
        "services": (f"{address} vmap @service-ips", f"ip daddr @nodeport-ips {port} vmap @service-nodeports"),
        "service-endpoints-check": (f"{address} vmap @no-endpoint-services",),
        "nodeport-endpoints-check": (f"ip daddr @nodeport-ips {port} vmap @no-endpoint-nodeports",),
        "cluster-ips-check": ("ip daddr @cluster-ips reject",),
        "firewall-check": (f"{address} vmap @firewall-ips",),
        "reject-chain": ("reject",),
        "mark-for-masquerade": (f"meta mark set meta mark or {settings.mark}",),
        "masquerading": (f"meta mark & {settings.mark} == 0 return", f"meta mark set meta mark ^ {settings.mark}", "masquerade fully-random"),
    }


def _add_service(table: Table, port: ServicePort, settings: ProxySettings) -> None:
    ident = _identifier(port)
    table.elements["cluster-ips"][port.cluster_ip] = ""
    outside = [*port.external_ips, *port.balancer_ips]
    keys = {ip: f"{ip} . {port.protocol} . {port.port}" for ip in (port.cluster_ip, *outside)}
    node_key = f"{port.protocol} . {port.node_port}"
    service = f"service-{ident}"
    _endpoint_chains(table, port, {*port.cluster_endpoints, *port.external_endpoints}, ident)

    if port.cluster_endpoints:
        clients = "" if settings.masquerade_all else f"ip saddr != {settings.cluster_cidr} "
        from_outside = f"ip daddr {port.cluster_ip} {clients}jump mark-for-masquerade"
        table.chains[service] = (from_outside, *_pick(port.cluster_endpoints, port, ident))
        table.elements["service-ips"][keys[port.cluster_ip]] = f"goto {service}"
    else:
        table.elements["no-endpoint-services"][keys[port.cluster_ip]] = "drop" if port.has_endpoints else "goto reject-chain"

    if outside or port.node_port:
        if port.external_endpoints:
            external = f"external-{ident}"
            _external_chain(table, port, external, ident, settings)
            _verdict(table, "service-ips", "service-nodeports", [keys[ip] for ip in outside], node_key if port.node_port else "", f"goto {external}")
        else:
            refused = "drop" if port.has_endpoints else "goto reject-chain"
            _verdict(table, "no-endpoint-services", "no-endpoint-nodeports", [keys[ip] for ip in outside], node_key if port.node_port else "", refused)
    if port.source_ranges and port.balancer_ips:
        table.chains[f"firewall-{ident}"] = (f"ip saddr != {{ {', '.join(port.source_ranges)} }} drop",)
        for ip in port.balancer_ips:
            table.elements["firewall-ips"][keys[ip]] = f"goto firewall-{ident}"


def _verdict(table: Table, addresses: str, node_ports: str, keys: Iterable[str], node_key: str, verdict: str) -> None:
    for key in keys:
        table.elements[addresses][key] = verdict
    if node_key:
        table.elements[node_ports][node_key] = verdict


def _external_chain(table: Table, port: ServicePort, external: str, ident: str, settings: ProxySettings) -> None:
    """Under the policy Local the client's address must reach the pod, so nothing is masked and only endpoints here are used; pods
    and the node itself still reach all of them, as if by the cluster IP."""
    if not port.external_local:
        everywhere = f"all-{ident}"
        table.chains[everywhere] = _pick(port.external_endpoints, port, ident)
        table.chains[external] = ("jump mark-for-masquerade", f"goto {everywhere}")
        return
    local = f"local-{ident}"
    table.chains[local] = _pick(port.external_endpoints, port, ident)
    inside: tuple[str, ...] = ()
    if port.cluster_endpoints:
        service = f"service-{ident}"
        inside = (f"ip saddr {settings.cluster_cidr} goto {service}", "fib saddr type local jump mark-for-masquerade", f"fib saddr type local goto {service}")
    table.chains[external] = (*inside, f"goto {local}")


def _endpoint_chains(table: Table, port: ServicePort, endpoints: Iterable[Endpoint], ident: str) -> None:
    for endpoint in sorted(endpoints):
        chain = _endpoint_chain(endpoint, port)
        remember: tuple[str, ...] = ()
        if port.affinity_timeout_s:
            table.sets[_affinity_set(endpoint, port)] = f"type ipv4_addr ; flags dynamic,timeout ; timeout {port.affinity_timeout_s}s ;"
            remember = (f"update @{_affinity_set(endpoint, port)} {{ ip saddr }}",)
        table.chains[chain] = (
            f"ip saddr {endpoint.ip} jump mark-for-masquerade",
            *remember,
            f"meta l4proto {port.protocol} dnat to {endpoint.ip}:{endpoint.port}",
        )


def _pick(endpoints: tuple[Endpoint, ...], port: ServicePort, ident: str) -> tuple[str, ...]:
    """The rules that choose one endpoint: the one this client had before, else any with equal chance."""
    stay = tuple(f"ip saddr @{_affinity_set(e, port)} goto {_endpoint_chain(e, port)}" for e in endpoints) if port.affinity_timeout_s else ()
    choice = ", ".join(f"{i} : goto {_endpoint_chain(e, port)}" for i, e in enumerate(endpoints))
    return (*stay, f"numgen random mod {len(endpoints)} vmap {{ {choice} }}")


def _identifier(port: ServicePort) -> str:
    """`<hash>-ns/name/protocol/port`, the readable part cut to what nftables allows; the hash keeps it unique."""
    name, _, port_name = port.name.partition(":")
    return _hashed(f"{name}/{port.protocol}/{port_name}")


def _endpoint_chain(endpoint: Endpoint, port: ServicePort) -> str:
    name, _, port_name = port.name.partition(":")
    return "endpoint-" + _hashed(f"{name}/{port.protocol}/{port_name}__{endpoint.ip}/{endpoint.port}")


def _affinity_set(endpoint: Endpoint, port: ServicePort) -> str:
    return "affinity-" + _endpoint_chain(endpoint, port).removeprefix("endpoint-")


def _hashed(text: str) -> str:
    digest = base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:8]
    return f"{digest}-{text}"[: NAME_LENGTH_MAX - 12]


def stale_udp(old: Mapping[str, ServicePort], new: Mapping[str, ServicePort]) -> set[tuple[str, int, str, str]]:
    """UDP flows whose endpoint is gone: (address or "", node port or 0, endpoint IP, protocol).  The kernel remembers a flow as long as packets come,
    so a client that keeps asking a dead DNS pod would never be led to a living one unless its entry is removed."""
    stale: set[tuple[str, int, str, str]] = set()
    for name, before in old.items():
        if before.protocol != "udp":
            continue
        after = new.get(name)
        kept = {e.ip for e in (*after.cluster_endpoints, *after.external_endpoints)} if after else set()
        for endpoint in {*before.cluster_endpoints, *before.external_endpoints}:
            if endpoint.ip not in kept:
                for address in (before.cluster_ip, *before.external_ips, *before.balancer_ips):
                    stale.add((address, 0, endpoint.ip, before.protocol))
                if before.node_port:
                    stale.add(("", before.node_port, endpoint.ip, before.protocol))
    return stale
