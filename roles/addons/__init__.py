"""What the cluster has from the start: the masters' nodes, rights for flannel, and DNS.  Applied by the first master, before the nodes join."""

from collections.abc import Generator, Sequence
from pathlib import Path

from pyinfra.api.deploy import deploy
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.lib.cluster import masters, node_of
from roles.lib.commands import File
from roles.lib.component import PYTHON
from roles.lib.files import files, render
from roles.pki import kubeconfig

DIRECTORY = "/etc/kubernetes/manifests.d"
SCRIPT = "/usr/local/lib/k8sfromscratch/apply.py"


@deploy("Add-ons")
def addons(image: str) -> None:
    """`image` is the add-on image's reference."""
    manifests = [
        File(f"{DIRECTORY}/masters.yaml", render("manifests/masters.yaml.j2", masters=masters())),
        File(f"{DIRECTORY}/flannel.yaml", render("manifests/flannel.yaml.j2")),
        File(
            f"{DIRECTORY}/dns.yaml",
            render("manifests/dns.yaml.j2", image=image, cluster_domain=host.data.cluster_domain, dns_address=host.data.dns_address),
        ),
    ]
    files(
        name="Manifests",
        wanted=[
            File(SCRIPT, Path(__file__).with_name("apply.py").read_text(), mode="755"),
            kubeconfig("admin", user="kubernetes-admin", at="/etc/kubernetes/admin.conf"),
            *manifests,
        ],
    )
    if node_of(host) == masters()[0]:
        applied(name="Objects", manifests=[manifest.path for manifest in manifests])


class Unapplied(FactBase[list[str]]):
    """Objects of the manifests that the cluster does not have as written, and "unknown" where it does not say."""

    default = list

    def command(self, manifests: Sequence[str]) -> str:
        return f"if [ -f {SCRIPT} ]; then {PYTHON} {SCRIPT} --check {' '.join(manifests)} || echo unknown; else echo nothing yet; fi"

    def process(self, output: list[str]) -> list[str]:
        return output


@operation()
def applied(manifests: Sequence[str]) -> Generator[str, None, None]:
    if host.get_fact(Unapplied, manifests=list(manifests)):
        yield f"{PYTHON} {SCRIPT} {' '.join(manifests)}"
