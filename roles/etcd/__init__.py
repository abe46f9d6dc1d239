"""etcd: the cluster's state, on the masters.  TLS on both ports, each with certificates of etcd's own authority."""

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.lib.cluster import masters, node_of
from roles.lib.component import component_unit
from roles.lib.files import files
from roles.lib.services import health_check, healthy, services
from roles.pki import REMOTE, certificate


@deploy("etcd")
def etcd(wheel: str) -> None:
    node = node_of(host)
    certificates = [
        *certificate(f"etcd/server-{node.name}", at="etcd/server", owner="etcd", authority="etcd/ca"),
        *certificate(f"etcd/peer-{node.name}", at="etcd/peer", owner="etcd"),
    ]
    files(name="Certificates", wanted=certificates)
    argv = [
        f"--name={node.name}",
        "--data-dir=/var/lib/etcd",
        f"--listen-client-urls=https://127.0.0.1:2379,https://{node.address}:2379",
        f"--advertise-client-urls=https://{node.address}:2379",
        f"--listen-peer-urls=https://{node.address}:2380",
        f"--initial-advertise-peer-urls=https://{node.address}:2380",
        "--initial-cluster=" + ",".join(f"{master.name}=https://{master.address}:2380" for master in masters()),
        "--initial-cluster-state=new",
        f"--cert-file={REMOTE}/etcd/server.crt",
        f"--key-file={REMOTE}/etcd/server.key",
        f"--trusted-ca-file={REMOTE}/etcd/ca.crt",
        "--client-cert-auth=true",
        f"--peer-cert-file={REMOTE}/etcd/peer.crt",
        f"--peer-key-file={REMOTE}/etcd/peer.key",
        f"--peer-trusted-ca-file={REMOTE}/etcd/ca.crt",
        "--peer-client-cert-auth=true",
        "--listen-metrics-urls=http://127.0.0.1:2381",
    ]
    text = component_unit("etcd", "etcd", argv=argv, reads=certificates, wheel=wheel, description="etcd: the cluster's state")
    services(name="etcd", units={"etcd.service": text})
    healthy(name="etcd is healthy", unit="etcd.service", check=health_check("http://127.0.0.1:2381/health"))
