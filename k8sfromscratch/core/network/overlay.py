"""The VXLAN overlay: which entries a node needs to reach every other node's pods.

Flannel's own scheme and annotations, so that our nodes and those that run flannel understand each other.  Each node has a subnet of the
cluster's pod range (spec.podCIDR) and a VXLAN device `flannel.<VNI>` whose address is the subnet's first, /32.  For each *other* node:

    route       10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink     to its pods, through its tunnel end
    neighbour   10.244.2.0 is at <its VtepMAC>                        so that nobody needs ARP over the tunnel
    FDB         <its VtepMAC> is behind <its public IP>               so that the kernel knows where to send the UDP packet
"""

import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "flannel.alpha.coreos.com"
BACKEND_TYPE, BACKEND_DATA = f"{PREFIX}/backend-type", f"{PREFIX}/backend-data"
PUBLIC_IP, KUBE_MANAGER = f"{PREFIX}/public-ip", f"{PREFIX}/kube-subnet-manager"
PUBLIC_IP_OVERWRITE = f"{PREFIX}/public-ip-overwrite"

VXLAN_OVERHEAD_BYTES = 50
"""Outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8 (RFC 7348 §5)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node's end of the overlay."""

    node: str
    subnet: str
    public_ip: str
    vtep_mac: str

    @property
    def vtep_ip(self) -> str:
        return self.subnet.split("/", 1)[0]


@dataclass(frozen=True, slots=True)
class Entries:
    """What is, or shall be, in the kernel for one VXLAN device."""

    routes: Mapping[str, str]
    """Subnet -> gateway."""
    neighbours: Mapping[str, str]
    """Tunnel address -> MAC."""
    fdb: Mapping[str, str]
    """MAC -> public IP."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Removals first, then what is put in its place."""

    remove: Entries
    put: Entries

    @property
    def empty(self) -> bool:
        return not any((*self.remove.routes, *self.remove.neighbours, *self.remove.fdb, *self.put.routes, *self.put.neighbours, *self.put.fdb))


def annotations(public_ip: str, vtep_mac: str, vni: int) -> dict[str, str]:
    """What a node publishes of itself, in flannel's form."""
    return {
        BACKEND_TYPE: "vxlan",
        BACKEND_DATA: json.dumps({"VNI": vni, "VtepMAC": vtep_mac}, separators=(",", ":")),
        PUBLIC_IP: public_ip,
        KUBE_MANAGER: "true",
    }


def read_peer(node: Mapping[str, Any], vni: int) -> Peer | None:
    """A node as a peer; None while it has no subnet or has not published a VXLAN end of our VNI.  Raises ValueError where what it
    published makes no sense."""
    name = node["metadata"]["name"]
    subnet = (node.get("spec") or {}).get("podCIDR")
    notes = node["metadata"].get("annotations") or {}
    if not subnet or notes.get(BACKEND_TYPE) != "vxlan" or PUBLIC_IP not in notes:
        return None
    try:
        data = json.loads(notes.get(BACKEND_DATA) or "null")
        if not isinstance(data, dict):
            raise ValueError("backend-data is not an object")
        if int(data.get("VNI", 1)) != vni:
            return None
        mac = _mac(data.get("VtepMAC"))
        public_ip = str(ipaddress.IPv4Address(notes.get(PUBLIC_IP_OVERWRITE) or notes[PUBLIC_IP]))
        return Peer(name, str(ipaddress.IPv4Network(subnet)), public_ip, mac)
    except (ValueError, TypeError) as error:
        raise ValueError(f"node {name}: its overlay annotations cannot be used: {error}") from error


def wanted(peers: Iterable[Peer]) -> Entries:
    routes, neighbours, fdb = {}, {}, {}
    for peer in peers:
        routes[peer.subnet] = peer.vtep_ip
        neighbours[peer.vtep_ip] = peer.vtep_mac
        fdb[peer.vtep_mac] = peer.public_ip
    return Entries(routes, neighbours, fdb)


def changes(present: Entries, target: Entries) -> Changes:
    """What turns `present` into `target`.  A changed entry is only put: the kernel replaces it, and no packet finds a gap."""

    def gone(now: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in now.items() if key not in then}

    def new(now: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in then.items() if now.get(key) != value}

    return Changes(
        remove=Entries(gone(present.routes, target.routes), gone(present.neighbours, target.neighbours), gone(present.fdb, target.fdb)),
        put=Entries(new(present.routes, target.routes), new(present.neighbours, target.neighbours), new(present.fdb, target.fdb)),
    )


def cni_config(subnet: str, mtu: int, cluster_cidr: str, *, bridge: str = "cni0", name: str = "cbr0") -> dict[str, Any]:
    """The CNI network of a node: the reference `bridge` with `host-local` addresses from the node's subnet, and `portmap`.

    Masquerading is ours (one rule for the cluster's range), so the bridge plugin's is off."""
    network = ipaddress.IPv4Network(subnet)
    return {
        "cniVersion": "0.3.1",
        "name": name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "mtu": mtu,
                "isGateway": True,
                "isDefaultGateway": True,
                "hairpinMode": True,
                "ipMasq": False,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": str(network)}]], "routes": [{"dst": cluster_cidr}]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        ],
    }


def masquerade_rules(cluster_cidr: str, table: str = "flannel-ipv4") -> str:
    """The nftables transaction that makes pods' traffic to the outside leave with the node's address, and lets pods be forwarded."""
    return "\n".join(
        (
            f"add table ip {table}",
            f"delete table ip {table}",
            f'add table ip {table} {{ comment "rules of k8sfromscratch\'s flannel" ; }}',
            f"add chain ip {table} postrtg {{ type nat hook postrouting priority srcnat ; }}",
            f"add rule ip {table} postrtg meta mark & 0x4000 == 0x4000 return",
            f"add rule ip {table} postrtg ip saddr {cluster_cidr} ip daddr {cluster_cidr} return",
            f"add rule ip {table} postrtg ip saddr {cluster_cidr} ip daddr != 224.0.0.0/4 masquerade fully-random",
            f"add rule ip {table} postrtg ip saddr != {cluster_cidr} ip daddr {cluster_cidr} return",
            f"add chain ip {table} forward {{ type filter hook forward priority filter ; policy accept ; }}",
            f"add rule ip {table} forward ip saddr {cluster_cidr} accept",
            f"add rule ip {table} forward ip daddr {cluster_cidr} accept",
            "",
        )
    )


FORWARD_CHAIN = "FLANNEL-FWD"


def forward_commands(cluster_cidr: str) -> list[tuple[list[str], list[str]]]:
    """(test, change) pairs for iptables: where its FORWARD policy is DROP (Docker sets it) only a rule in that chain lets pods through."""
    chain = ["-t", "filter"]
    jump = ["FORWARD", "-m", "comment", "--comment", "flanneld forward", "-j", FORWARD_CHAIN]
    pairs = [([*chain, "-n", "-L", FORWARD_CHAIN], [*chain, "-N", FORWARD_CHAIN]), ([*chain, "-C", *jump], [*chain, "-I", *jump])]
    for side in ("-s", "-d"):
        rule = [FORWARD_CHAIN, side, cluster_cidr, "-m", "comment", "--comment", "flanneld forward", "-j", "ACCEPT"]
        pairs.append(([*chain, "-C", *rule], [*chain, "-A", *rule]))
    return pairs


def _mac(value: Any) -> str:
    parts = str(value).lower().split(":")
    if len(parts) != 6 or any(len(p) != 2 or not set(p) <= set("0123456789abcdef") for p in parts):
        raise ValueError(f"VtepMAC {value!r} is not a MAC address")
    return ":".join(parts)
