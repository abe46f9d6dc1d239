"""etcd: the cluster's state, one member on each master.  Clients and members show certificates of etcd's own authority.

    all masters: are they those that began? ─► certificates ─► etcd started ─► (all have started) ─► the control plane's role, which waits

A member of a new cluster is healthy when most members are there, so none is waited for before all were started; by then the apiservers may load as
well.  Once it has begun, a member goes by what its data says and not by flags; a cluster whose masters have changed is refused, since new members
that know nothing of it would begin another.
"""

import re
import shlex
from collections.abc import Generator, Mapping

from pyinfra.api.deploy import deploy
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host, inventory

from k8sfromscratch.components.etcd.config import EtcdFlags
from roles.lib.cluster import masters, node_of, unreachable
from roles.lib.component import component_unit
from roles.lib.files import files
from roles.lib.services import services
from roles.pki import REMOTE, certificate

DATA = "/var/lib/etcd"


@deploy("etcd")
def etcd(wheel: str) -> None:
    node = node_of(host)
    # One that cannot be reached is not asked: it would be tried again, and end the deploy of all.
    begun = {node_of(master).name: [] if unreachable(master) else master.get_fact(Begun) for master in inventory.get_group("masters")}
    refuse(name="The masters are those that etcd began with", problem=changed(begun))
    certificates = [
        *certificate(f"etcd/server-{node.name}", at="etcd/server", owner="etcd", authority="etcd/ca"),
        *certificate(f"etcd/peer-{node.name}", at="etcd/peer", owner="etcd"),
    ]
    files(name="Certificates", wanted=certificates)
    flags = EtcdFlags(
        name=node.name,
        data_dir=DATA,
        listen_client_urls=["https://127.0.0.1:2379", f"https://{node.address}:2379"],
        advertise_client_urls=[f"https://{node.address}:2379"],
        listen_peer_urls=[f"https://{node.address}:2380"],
        initial_advertise_peer_urls=[f"https://{node.address}:2380"],
        initial_cluster=",".join(f"{master.name}=https://{master.address}:2380" for master in masters()),
        cert_file=f"{REMOTE}/etcd/server.crt",
        key_file=f"{REMOTE}/etcd/server.key",
        trusted_ca_file=f"{REMOTE}/etcd/ca.crt",
        client_cert_auth=True,
        peer_cert_file=f"{REMOTE}/etcd/peer.crt",
        peer_key_file=f"{REMOTE}/etcd/peer.key",
        peer_trusted_ca_file=f"{REMOTE}/etcd/ca.crt",
        peer_client_cert_auth=True,
        listen_metrics_urls=["http://127.0.0.1:2381"],
    )
    text = component_unit("etcd", "etcd", argv=flags.argv(), reads=certificates, wheel=wheel, description="etcd: the cluster's state")
    services(name="etcd", units={"etcd.service": text})


class Begun(FactBase[list[str]]):
    """Names of the members with which the machine's etcd began; none where it has no data."""

    default = list

    def command(self) -> str:
        return f"[ ! -d {DATA}/member ] || grep -o -e '--initial-cluster=[^ ]*' /etc/systemd/system/etcd.service || true"

    def process(self, output: list[str]) -> list[str]:
        return re.findall(r"[=,]([^=,]+)=https:", "".join(output))


def changed(begun: Mapping[str, list[str]]) -> str:
    """What is wrong with the masters (the keys), by the members that each has begun with; "" where nothing is."""
    for master, members in begun.items():
        if not members or set(members) == set(begun):
            continue
        new, gone = sorted(set(begun) - set(members)), sorted(set(members) - set(begun))
        differs = " and ".join(
            part for part in (f"{', '.join(new)} would be new" if new else "", f"{', '.join(gone)} would be missing" if gone else "") if part
        )
        return (
            f"etcd on {master} began with {', '.join(sorted(members))}; {differs}. Masters cannot be added to a cluster or taken from it yet: put the "
            "inventory's masters back, or begin anew (a lab with `make lab-down`)"
        )
    return ""


@operation()
def refuse(problem: str) -> Generator[str, None, None]:
    if problem:
        yield f"echo {shlex.quote('etcd: ' + problem)} >&2; exit 1"
