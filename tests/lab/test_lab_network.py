"""Every way a pod or an outsider reaches a pod: by address over the overlay, by Service address, by name, by node port."""

import subprocess
import urllib.request
from typing import Any

import pytest

from tests.lab.conftest import Lab, Namespace
from tests.lab.workloads import PORT, idle, service, web


@pytest.fixture(scope="module")
def served(lab: Lab, namespace: Namespace) -> Namespace:
    """A Deployment and a NodePort Service `web`, and a pod `client-WORKER` on each worker."""
    clients = [idle(f"client-{worker}", node=worker) for worker in lab.workers]
    namespace.apply(web("web", replicas=2 * len(lab.workers)), service("web", kind="NodePort"), *clients)
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s", timeout_s=100)
    for worker in lab.workers:
        namespace.kubectl("wait", f"pod/client-{worker}", "--for=condition=Ready", "--timeout=60s", timeout_s=70)
    return namespace


def fetch(namespace: Namespace, client: str, url: str) -> str:
    """What `wget` in the pod gets, asked again until the routes and rules behind the address have settled (at most 20 times)."""
    loop = f"for i in $(seq 20); do timeout {2 * namespace.lab.patience} wget -q -O - {url} && exit 0; sleep 1; done; exit 1"
    return namespace.kubectl("exec", client, "--", "sh", "-c", loop).strip()


def pods_of(namespace: Namespace) -> dict[str, Any]:
    return {pod["metadata"]["name"]: pod for pod in namespace.pods("app=web")}


def on_other_machine(lab: Lab, namespace: Namespace) -> tuple[str, str, str]:
    """A client pod's name, and name and address of a web pod that is not on its machine."""
    here = lab.workers[0]
    for name, pod in pods_of(namespace).items():
        if pod["spec"]["nodeName"] != here:
            return f"client-{here}", name, pod["status"]["podIP"]
    pytest.fail("no web pod on another machine")


def test_a_pod_reaches_a_pod_on_another_machine(lab: Lab, served: Namespace) -> None:
    client, name, address = on_other_machine(lab, served)
    assert fetch(served, client, f"http://{address}:{PORT}/") == name


def test_what_goes_between_machines_is_vxlan_on_the_wire(lab: Lab, served: Namespace) -> None:
    client, _, address = on_other_machine(lab, served)
    source = lab.spec.machine(lab.workers[0]).address
    capture = f"timeout {30 * lab.patience} tcpdump -n -l -T vxlan -i any -c 4 udp port 8472 and src host {source}"
    with subprocess.Popen(
        lab.ssh_argv(lab.workers[0], capture), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as tcpdump:
        assert tcpdump.stdout is not None and tcpdump.stderr is not None
        for line in tcpdump.stderr:
            if "listening on" in line:
                break
        fetch(served, client, f"http://{address}:{PORT}/")
        packets = tcpdump.stdout.read()
    assert "VXLAN, flags [I] (0x08), vni 1" in packets
    assert f"> {address}." in packets, "the inner packet is the pod's own, with its address untouched"


def test_a_pod_sees_the_clients_own_address(lab: Lab, served: Namespace) -> None:
    client, name, address = on_other_machine(lab, served)
    fetch(served, client, f"http://{address}:{PORT}/")
    client_address = served.get("pod", client)["status"]["podIP"]
    assert client_address in served.kubectl("logs", name)


def test_service_by_cluster_ip(lab: Lab, served: Namespace) -> None:
    cluster_ip = served.get("service", "web")["spec"]["clusterIP"]
    for worker in lab.workers:
        assert fetch(served, f"client-{worker}", f"http://{cluster_ip}/") in pods_of(served)


def test_service_balances_over_machines(lab: Lab, served: Namespace) -> None:
    cluster_ip = served.get("service", "web")["spec"]["clusterIP"]
    loop = f"for i in $(seq 40); do timeout {2 * lab.patience} wget -q -O - http://{cluster_ip}/ || true; done"
    answers = set(served.kubectl("exec", f"client-{lab.workers[0]}", "--", "sh", "-c", loop).split())
    assert {pods_of(served)[name]["spec"]["nodeName"] for name in answers} == set(lab.workers)


@pytest.mark.parametrize("form", ["web", "web.{namespace}", "web.{namespace}.svc.{domain}"])
def test_service_by_name(lab: Lab, served: Namespace, form: str) -> None:
    name = form.format(namespace=served.name, domain=lab.spec.cluster_domain)
    assert fetch(served, f"client-{lab.workers[-1]}", f"http://{name}/") in pods_of(served)


def test_node_port_from_outside_on_every_machine(lab: Lab, served: Namespace) -> None:
    port = served.get("service", "web")["spec"]["ports"][0]["nodePort"]
    for machine in lab.spec.machines:
        with urllib.request.urlopen(f"http://{machine.address}:{port}/", timeout=10 * lab.patience) as answer:
            assert answer.read().decode().strip() in pods_of(served)


def test_a_pod_reaches_the_apiserver_by_its_service(lab: Lab, served: Namespace) -> None:
    reach = f"nc -w {3 * lab.patience} {lab.spec.api_service_address} 443 </dev/null"
    done = lab.kubectl_result("--namespace", served.name, "exec", f"client-{lab.workers[0]}", "--", "sh", "-c", reach)
    assert done.returncode == 0, done.stderr.decode()
