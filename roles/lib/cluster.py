"""What a role knows of the cluster it builds: the inventory's groups, and each host's name and address."""

from dataclasses import dataclass

from pyinfra.api.host import Host
from pyinfra.context import inventory


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: its node's name, and the address that others reach it by."""

    name: str
    address: str


def node_of(host: Host) -> Node:
    """From the host's data `node_name` and `node_address`, which `@lab` gives and other inventories set."""
    return Node(host.data.node_name, host.data.node_address)


def masters() -> list[Node]:
    return [node_of(host) for host in inventory.get_group("masters")]


def nodes() -> list[Node]:
    return [node_of(host) for host in inventory]
