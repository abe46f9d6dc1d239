"""What a role knows of the cluster it builds: the inventory's groups, each host's name and address, and where it finds an apiserver."""

from dataclasses import dataclass

from pyinfra.api.host import Host
from pyinfra.context import host, inventory, state

API_PORT = 6443
BALANCER_PORT = 6444


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


def unreachable(host: Host) -> bool:
    """It was to be reached in this run, and was not.  One that `--limit` leaves out was not tried, and may be as it should."""
    return state.is_host_in_limit(host) and host not in state.activated_hosts


def balanced() -> bool:
    """Whether this machine's components reach the apiservers by a balancer of its own.

    With one master there is nothing to choose from.  An `api_address` that is no master's is a balancer that somebody else runs.  A master's
    components use the apiserver beside them: where that is down, so is most of what they are for.
    """
    addresses = [master.address for master in masters()]
    return len(addresses) > 1 and host.data.api_address in addresses and node_of(host).address not in addresses


def api_server() -> str:
    """The URL by which this machine's components reach an apiserver."""
    me = node_of(host)
    if me in masters():
        return f"https://{me.address}:{API_PORT}"
    return f"https://127.0.0.1:{BALANCER_PORT}" if balanced() else f"https://{host.data.api_address}:{API_PORT}"
