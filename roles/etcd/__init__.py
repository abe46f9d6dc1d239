"""etcd: the cluster's state, on the master.  Its clients show certificates of etcd's own authority: only the apiserver has one."""

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from k8sfromscratch.components.etcd.config import EtcdFlags
from roles.lib.cluster import masters, node_of
from roles.lib.component import component_unit
from roles.lib.files import files
from roles.lib.services import health_check, healthy, services
from roles.pki import REMOTE, certificate


@deploy("etcd")
def etcd(wheel: str) -> None:
    node = node_of(host)
    certificates = certificate(f"etcd/server-{node.name}", at="etcd/server", owner="etcd", authority="etcd/ca")
    files(name="Certificates", wanted=certificates)
    flags = EtcdFlags(
        name=node.name,
        data_dir="/var/lib/etcd",
        listen_client_urls=["https://127.0.0.1:2379", f"https://{node.address}:2379"],
        advertise_client_urls=[f"https://{node.address}:2379"],
        listen_peer_urls=[f"https://{node.address}:2380"],
        initial_advertise_peer_urls=[f"https://{node.address}:2380"],
        initial_cluster=",".join(f"{master.name}=https://{master.address}:2380" for master in masters()),
        cert_file=f"{REMOTE}/etcd/server.crt",
        key_file=f"{REMOTE}/etcd/server.key",
        trusted_ca_file=f"{REMOTE}/etcd/ca.crt",
        client_cert_auth=True,
        listen_metrics_urls=["http://127.0.0.1:2381"],
    )
    text = component_unit("etcd", "etcd", argv=flags.argv(), reads=certificates, wheel=wheel, description="etcd: the cluster's state")
    services(name="etcd", units={"etcd.service": text})
    healthy(name="etcd is healthy", unit="etcd.service", check=health_check("http://127.0.0.1:2381/health"))
