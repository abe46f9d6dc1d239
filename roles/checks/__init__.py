"""The short end-to-end check at the end of every deploy; `tests/lab` has the long form.

Every node must be Ready, and every machine must get the right answer from the cluster's DNS by its Service address.  That one answer needs
etcd, apiserver, controllers, scheduler, kubelets, containerd, the overlay between machines, kube-proxy and the DNS itself.  Nothing is
created, so a second run changes nothing: each check waits only if it does not hold already.
"""

import shlex

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.lib.cluster import node_of
from roles.lib.services import healthy


@deploy("Checks")
def checks() -> None:
    ready = {"kubelet.service": shlex.join(("node", node_of(host).name))}
    healthy(name="This machine's node is Ready", units=ready, timeout_s=90)
    domain = f"kubernetes.default.svc.{host.data.cluster_domain}"
    dns = {"kube-proxy.service": shlex.join(("dns", host.data.dns_address, domain, host.data.api_service_address))}
    healthy(name="The cluster's DNS answers by its Service address", units=dns, timeout_s=90)
