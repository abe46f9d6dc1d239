"""The short end-to-end check at the end of every deploy; `tests/lab` has the long form.

Every node must be Ready, and every machine must get the right answer from the cluster's DNS by its Service address.  That one answer needs
etcd, apiserver, controllers, scheduler, kubelets, containerd, the overlay between machines, kube-proxy and the DNS itself.  Nothing is
created, so a second run changes nothing: each check waits only if it does not hold already.
"""

import shlex
from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from roles.lib.cluster import node_of
from roles.lib.component import PYTHON
from roles.lib.files import File, files
from roles.lib.services import healthy

PROBE = "/usr/local/lib/k8sfromscratch/probe.py"


@deploy("Checks")
def checks() -> None:
    files(name="Probe", wanted=[File(PROBE, Path(__file__).with_name("probe.py").read_text(), mode="755")])
    me = node_of(host)
    healthy(name="This machine's node is Ready", unit="kubelet.service", check=f"{PYTHON} {PROBE} node {shlex.quote(me.name)}", timeout_s=90)
    domain = f"kubernetes.default.svc.{host.data.cluster_domain}"
    query = f"{PYTHON} {PROBE} dns {host.data.dns_address} {domain} {host.data.api_service_address}"
    healthy(name="The cluster's DNS answers by its Service address", unit="kube-proxy.service", check=query, timeout_s=90)
