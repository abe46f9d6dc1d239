"""What makes a machine a node: the kubelet, kube-proxy and flannel, each with an identity of its own; where there are several masters, a balancer before
them."""

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from k8sfromscratch.components.balancer.config import BalancerFlags
from k8sfromscratch.components.flannel.config import FlannelFlags
from k8sfromscratch.components.kubelet.config import KubeletFlags
from k8sfromscratch.components.proxy.config import ProxyFlags
from roles.lib.cluster import API_PORT, BALANCER_PORT, balanced, masters, node_of
from roles.lib.component import component_unit
from roles.lib.files import files
from roles.lib.services import answers, healthy, services
from roles.pki import REMOTE, authority, certificate, kubeconfig


@deploy("Node")
def node(wheel: str) -> None:
    me = node_of(host)
    serving = certificate(f"kubelet-server-{me.name}", at="kubelet", owner="root")
    configs = {
        name: kubeconfig(certificate_name, user=user, at=f"/etc/kubernetes/{name}.kubeconfig")
        for name, certificate_name, user in (
            ("kubelet", f"kubelet-{me.name}", f"system:node:{me.name}"),
            ("kube-proxy", "kube-proxy", "system:kube-proxy"),
            ("flannel", "flannel", "system:flannel"),
        )
    }
    files(name="Certificates and kubeconfigs", wanted=[*serving, *configs.values()])
    if balanced():
        # Between operations of all hosts: what only workers do is otherwise not behind the start of the masters' apiservers.
        _balancer(wheel)
    kubelet = KubeletFlags(
        kubeconfig=configs["kubelet"].path,
        hostname_override=me.name,
        node_ip=[me.address],
        cluster_dns=[host.data.dns_address],
        cluster_domain=host.data.cluster_domain,
        tls_cert_file=f"{REMOTE}/kubelet.crt",
        tls_private_key_file=f"{REMOTE}/kubelet.key",
        client_ca_file=f"{REMOTE}/ca.crt",
        authentication_token_webhook=True,
    )
    proxy = ProxyFlags(kubeconfig=configs["kube-proxy"].path, hostname_override=me.name, cluster_cidr=host.data.pod_cidr)
    flannel = FlannelFlags(kubeconfig_file=configs["flannel"].path, node_name=me.name, public_ip=me.address, cluster_cidr=host.data.pod_cidr)
    services(
        name="kubelet, kube-proxy and flannel",
        units={
            "kubelet.service": component_unit(
                "kubelet", "kubelet", argv=kubelet.argv(), reads=[authority(), *serving, configs["kubelet"]], wheel=wheel, description="Kubernetes node agent"
            ),
            "kube-proxy.service": component_unit(
                "kube-proxy", "proxy", argv=proxy.argv(), reads=[authority(), configs["kube-proxy"]], wheel=wheel, description="Kubernetes service proxy"
            ),
            "flanneld.service": component_unit(
                "flanneld", "flannel", argv=flannel.argv(), reads=[authority(), configs["flannel"]], wheel=wheel, description="Overlay network of the pods"
            ),
        },
    )
    healthy(
        name="kubelet, kube-proxy and flannel are healthy",
        units={
            "kubelet.service": answers("http://127.0.0.1:10248/healthz"),
            "flanneld.service": answers("http://127.0.0.1:10247/healthz"),
            "kube-proxy.service": answers("http://127.0.0.1:10256/healthz"),
        },
        # Flannel's is up to the control plane, which a worker may be far ahead of.
        timeout_s=180,
    )


def _balancer(wheel: str) -> None:
    flags = BalancerFlags(
        port=BALANCER_PORT,
        backends=[f"{master.address}:{API_PORT}" for master in masters()],
        certificate_authority=f"{REMOTE}/ca.crt",
    )
    text = component_unit(
        "apiserver-balancer", "balancer", argv=flags.argv(), reads=[authority()], wheel=wheel, description="Way to whichever Kubernetes API server is well"
    )
    services(name="apiserver-balancer", units={"apiserver-balancer.service": text})
    healthy(name="An apiserver is reached", units={"apiserver-balancer.service": answers("http://127.0.0.1:10246/healthz")})
