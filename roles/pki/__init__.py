"""The cluster's certificates: made on the control host, checked at each deploy, and spread to the machines that need them.

`wanted` lists them; `python -m k8sfromscratch.components.pki` makes what is missing or about to expire in the directory `pki_directory`
of the inventory's data, and leaves the rest byte for byte, so that machines see a change only when there is one.  The authorities'
keys never leave the control host, but for one: `signer-ca`, with which the controller manager signs approved signing requests, and whose
certificates the apiserver takes from clients and kubelets.  Other roles take their certificates from `certificate` and `kubeconfig`.
"""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from roles.lib.cluster import API_PORT, Node, api_server, masters, nodes
from roles.lib.commands import File
from roles.lib.files import files, render

REMOTE = "/etc/kubernetes/pki"
_LOCK = threading.Lock()


@deploy("PKI")
def pki() -> None:
    files(name="The cluster's authority", wanted=[authority()])
    admin = Path(host.data.admin_kubeconfig)
    text = _kubeconfig("admin", "kubernetes-admin", _administrators_clusters())
    if not admin.exists() or admin.read_text() != text:
        admin.parent.mkdir(parents=True, exist_ok=True)
        admin.touch(mode=0o600)
        admin.write_text(text)


def authority() -> File:
    """What every client checks the apiserver's certificate with."""
    return File(f"{REMOTE}/ca.crt", _text("ca.crt"))


def trusted_authorities() -> File:
    """Whose certificates name users, and kubelets: the cluster's authority, and the one that signs requests."""
    return File(f"{REMOTE}/trusted-ca.crt", _text("ca.crt") + _text("signer-ca.crt"))


def signing_authority(owner: str) -> list[File]:
    return [
        File(f"{REMOTE}/signer-ca.crt", _text("signer-ca.crt")),
        File(f"{REMOTE}/signer-ca.key", _text("signer-ca.key"), mode="600", owner=owner, group=owner),
    ]


def certificate(name: str, at: str, owner: str, *, authority: str | None = None) -> list[File]:
    """The certificate and key of that name for the machine: `AT.crt` and `AT.key` below /etc/kubernetes/pki, the key for its owner only."""
    found = [
        File(f"{REMOTE}/{at}.crt", _text(f"{name}.crt")),
        File(f"{REMOTE}/{at}.key", _text(f"{name}.key"), mode="600", owner=owner, group=owner),
    ]
    return found if authority is None else [File(f"{REMOTE}/{authority}.crt", _text(f"{authority}.crt")), *found]


def service_account_keys(owner: str) -> list[File]:
    return [
        File(f"{REMOTE}/sa.pub", _text("sa.pub")),
        File(f"{REMOTE}/sa.key", _text("sa.key"), mode="600", owner=owner, group=owner),
    ]


def kubeconfig(name: str, *, user: str, at: str, owner: str = "root") -> File:
    """The kubeconfig, for a component of this machine, of the client certificate of that name."""
    return File(at, _kubeconfig(name, user, {host.data.cluster_name: api_server()}), mode="600", owner=owner, group=owner)


def _administrators_clusters() -> dict[str, str]:
    """The cluster by its address, and with several masters also by each: kubectl tries no other server by itself, but takes `--context`."""
    name = host.data.cluster_name
    found = {name: f"https://{host.data.api_address}:{API_PORT}"}
    if len(masters()) > 1:
        found |= {f"{name}-{master.name}": f"https://{master.address}:{API_PORT}" for master in masters()}
    return found


def _kubeconfig(name: str, user: str, clusters: Mapping[str, str]) -> str:
    """`clusters`: name → the apiserver's URL; the first is the current context's."""

    def encoded(file: str) -> str:
        return base64.b64encode(_text(file).encode()).decode()

    return render("kubeconfig.j2", clusters=clusters, ca=encoded("ca.crt"), user=user, certificate=encoded(f"{name}.crt"), key=encoded(f"{name}.key"))


def wanted() -> dict[str, Any]:
    """All authorities, certificates and keys of the cluster, as the pki component reads them."""
    certificates: list[dict[str, Any]] = [
        _client("admin", "kubernetes-admin", "system:masters"),
        _client("controller-manager", "system:kube-controller-manager"),
        _client("scheduler", "system:kube-scheduler"),
        _client("kube-proxy", "system:kube-proxy"),
        _client("flannel", "system:flannel"),
        _client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        _client("apiserver-etcd-client", "kube-apiserver-etcd-client", authority="etcd/ca"),
        _client("front-proxy-client", "front-proxy-client", authority="front-proxy-ca"),
    ]
    for master in masters():
        certificates.append(_server(f"etcd/server-{master.name}", master, common_name=master.name, authority="etcd/ca"))
        # Members call one another and are called, with the same certificate.
        certificates.append(_server(f"etcd/peer-{master.name}", master, common_name=master.name, authority="etcd/ca", usages=["server", "client"]))
        domain = host.data.cluster_domain
        certificates.append(
            _server(
                f"apiserver-{master.name}",
                master,
                common_name="kube-apiserver",
                dns_names=["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{domain}"],
                ip_addresses=[host.data.api_service_address, host.data.api_address],
            )
        )
    for node in nodes():
        certificates.append(_client(f"kubelet-{node.name}", f"system:node:{node.name}", "system:nodes"))
        certificates.append(_server(f"kubelet-server-{node.name}", node, common_name=f"system:node:{node.name}"))
    return {
        "authorities": [
            {"name": "ca", "common_name": "kubernetes-ca"},
            {"name": "etcd/ca", "common_name": "etcd-ca"},
            {"name": "front-proxy-ca", "common_name": "front-proxy-ca"},
            {"name": "signer-ca", "common_name": "kubernetes-signer-ca"},
        ],
        "certificates": certificates,
        "key_pairs": [{"name": "sa", "algorithm": "rsa"}],
    }


def _client(name: str, user: str, *groups: str, authority: str = "ca") -> dict[str, Any]:
    return {"name": name, "authority": authority, "common_name": user, "organizations": list(groups), "usages": ["client"]}


def _server(name: str, node: Node, *, common_name: str, authority: str = "ca", **more: Any) -> dict[str, Any]:
    names = ["localhost", node.name, *more.pop("dns_names", [])]
    addresses = sorted({"127.0.0.1", node.address, *more.pop("ip_addresses", [])})
    return {"name": name, "authority": authority, "common_name": common_name, "dns_names": names, "ip_addresses": addresses, "usages": ["server"], **more}


def _text(file: str) -> str:
    with _LOCK:
        directory = _ensured(host.data.pki_directory, json.dumps(wanted(), indent=1))
    return (directory / file).read_text()


@cache
def _ensured(directory: str, spec: str) -> Path:
    """Once a run, for all hosts: they share the process and the inventory."""
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    (place / "spec.json").write_text(spec)
    command = [sys.executable, "-m", "k8sfromscratch.components.pki", "ensure", f"--dir={place}", f"--spec={place / 'spec.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PyinfraError(f"certificates could not be made: {done.stderr.strip()}")
    return place


__all__ = ["authority", "certificate", "kubeconfig", "pki", "service_account_keys", "signing_authority", "trusted_authorities", "wanted"]
