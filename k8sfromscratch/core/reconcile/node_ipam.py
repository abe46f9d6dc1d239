"""A pod range for every node, cut from the cluster's.

All nodes are planned in one go: the choice for one depends on what the others have.  The lowest free range is taken, so a range
that a removed node leaves is used again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from k8sfromscratch.api.registry import NODES
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import Emit, Object, Patch, Plan, Step

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Pool:
    """One cluster CIDR and the size of the pieces cut from it."""

    cidr: Network
    node_mask_size: int

    def __post_init__(self) -> None:
        longest = self.cidr.max_prefixlen
        if not self.cidr.prefixlen <= self.node_mask_size <= longest:
            raise ValueError(f"node mask size {self.node_mask_size} must be between {self.cidr.prefixlen} ({self.cidr}) and {longest}")

    def pieces(self) -> Iterator[Network]:
        yield from self.cidr.subnets(new_prefix=self.node_mask_size)


def plan(nodes: Sequence[Object], pools: Sequence[Pool], reserved: Sequence[Network] = ()) -> Plan:
    """`reserved`: ranges (the Services') that no node's may overlap."""
    used = [ip_network(cidr, strict=False) for node in nodes for cidr in _cidrs(node)]
    waiting = objects.by_age(node for node in nodes if not _cidrs(node) and not objects.deleting(node))
    if not waiting:
        return Plan()
    free = [_free(pool, used, reserved) for pool in pools]
    steps: list[Step] = []
    for node in waiting:
        cidrs = [next(pieces, None) for pieces in free]
        if None in cidrs:
            steps.append(Emit(node, "Normal", "CIDRNotAvailable", f"Node {objects.name(node)} status is now: CIDRNotAvailable"))
            continue
        texts = [str(cidr) for cidr in cidrs]
        patch = {"metadata": {"uid": objects.uid(node)}, "spec": {"podCIDR": texts[0], "podCIDRs": texts}}
        steps.append(Patch(NODES, None, objects.name(node), patch, ignore=frozenset({"NotFound"})))
    return Plan(tuple(steps))


def _cidrs(node: Object) -> list[str]:
    spec = objects.spec(node)
    return spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def _free(pool: Pool, used: Sequence[Network], reserved: Sequence[Network]) -> Iterator[Network]:
    """Pieces not in use.  Ranges of the pool's own piece size, as nearly all are, are looked up; others are compared one by one."""
    same_size = {network for network in used if network.prefixlen == pool.node_mask_size}
    others = [network for network in [*used, *reserved] if network.version == pool.cidr.version and network not in same_size]
    for piece in pool.pieces():
        if piece not in same_size and not any(piece.overlaps(other) for other in others):
            yield piece
