"""Three masters: etcd as one cluster, an apiserver on each, and nothing that a worker's pods notice when the most important of them loses its power.

Collected where the lab has several masters.  The tests run in this order and build on one another: what is lost, what goes on without it, its return.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.conftest import Lab, Namespace
from tests.lab.workloads import idle, service, web

LEASES = ("kube-controller-manager", "kube-scheduler")


class Etcd:
    """Upstream's etcdctl against the lab's members, with the apiservers' certificate."""

    def __init__(self, lab: Lab) -> None:
        self.addresses = {machine.name: str(machine.address) for machine in lab.spec.machines if machine.role == "master"}
        self._patience = lab.patience
        pki = lab.provider.kubeconfig.parent / "pki"
        certificate = (f"--cert={pki / 'apiserver-etcd-client.crt'}", f"--key={pki / 'apiserver-etcd-client.key'}")
        self._etcdctl = ["etcdctl", f"--cacert={pki / 'etcd' / 'ca.crt'}", *certificate, "--write-out=json"]

    def run(self, *words: str, at: list[str], check: bool = True) -> Any:
        """What etcdctl prints as JSON; None where it fails and may."""
        endpoints = ",".join(f"https://{self.addresses[master]}:2379" for master in at)
        done = subprocess.run(
            [*self._etcdctl, f"--endpoints={endpoints}", *words],
            env={**os.environ, "ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            timeout=60 * self._patience,
            check=False,
        )
        if done.returncode != 0:
            assert not check, f"etcdctl {' '.join(words)}: {done.stderr}"
            return None
        return json.loads(done.stdout)

    def status(self, at: list[str]) -> dict[str, Any]:
        """By master."""
        names = {f"https://{address}:2379": name for name, address in self.addresses.items()}
        return {names[each["Endpoint"]]: each["Status"] for each in self.run("endpoint", "status", at=at)}

    def leader(self, at: list[str]) -> str | None:
        """The master that leads, if all agree that it does."""
        status = self.status(at)
        leaders = {each["leader"] for each in status.values()}
        return next((name for name, each in status.items() if leaders == {each["header"]["member_id"]}), None)


@pytest.fixture(scope="module")
def etcd(lab: Lab, needs: Any) -> Etcd:
    needs("etcdctl")
    return Etcd(lab)


@pytest.fixture(scope="module")
def deployed(lab: Lab, namespace: Namespace) -> Namespace:
    namespace.apply(web("web", replicas=2), service("web"), idle("client", node=lab.workers[0]))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s", timeout_s=100)
    namespace.kubectl("wait", "pod/client", "--for=condition=Ready", "--timeout=60s", timeout_s=70)
    return namespace


def until(lab: Lab, what: str, holds: Any, timeout_s: float) -> float:
    """Asks again until it holds (each question is a program's run, which is pause enough); the seconds that it took."""
    begun_s = time.monotonic()
    while not holds():
        assert time.monotonic() - begun_s < timeout_s * lab.patience, f"{what}: not within {timeout_s * lab.patience:g} s"
    return time.monotonic() - begun_s


def apiservers(lab: Lab) -> set[str]:
    """The endpoints of the Service `kubernetes`."""
    return {address["ip"] for subset in lab.get("endpoints", "kubernetes")["subsets"] for address in subset["addresses"]}


def holders(lab: Lab) -> dict[str, str]:
    """Who holds the lease, of those components that one master's stands in for all: the master's name, before the first underscore."""
    leases = {lease["metadata"]["name"]: lease["spec"].get("holderIdentity") or "" for lease in lab.get("leases", "--namespace=kube-system")["items"]}
    return {name: leases[name].partition("_")[0] for name in LEASES}


def ready_since(lab: Lab, node: str) -> str:
    (ready,) = [condition for condition in lab.get("node", node)["status"]["conditions"] if condition["type"] == "Ready"]
    assert ready["status"] == "True"
    return str(ready["lastTransitionTime"])


def test_etcd_has_one_started_member_on_each_master_and_one_leader(lab: Lab, etcd: Etcd) -> None:
    members = etcd.run("member", "list", at=lab.masters)["members"]
    assert sorted(member["name"] for member in members) == lab.masters
    # A member that was never started has told nobody where its clients are to come.
    assert sorted(url for member in members for url in member["clientURLs"]) == sorted(f"https://{address}:2379" for address in etcd.addresses.values())
    assert etcd.leader(lab.masters) in lab.masters


def test_each_apiserver_serves_and_all_are_the_services_endpoints(lab: Lab, etcd: Etcd) -> None:
    for master in lab.masters:
        assert lab.through(master).kubectl("get", "--raw", "/readyz") == "ok"
    assert apiservers(lab) == set(etcd.addresses.values())


def test_a_worker_reaches_all_of_them_by_its_balancer(lab: Lab, etcd: Etcd) -> None:
    page = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:10246/metrics').read().decode())"
    metrics = lab.ssh(lab.workers[0], f'/opt/k8sfromscratch/bin/python -c "{page}"').splitlines()
    for address in etcd.addresses.values():
        assert f'apiserver_balancer_backend_up{{backend="{address}:6443"}} 1.0' in metrics
    assert "server: https://127.0.0.1:6444" in lab.ssh(lab.workers[0], "cat /etc/kubernetes/kubelet.kubeconfig")


@pytest.fixture(scope="module")
def before(lab: Lab, deployed: Namespace) -> dict[str, str]:
    """Since when each worker has been Ready; taken before anything is lost."""
    return {worker: ready_since(lab, worker) for worker in lab.workers}


@pytest.fixture(scope="module")
def lost(lab: Lab, etcd: Etcd, before: dict[str, str]) -> Iterator[str]:
    """A master without power that led etcd and held all leases; it is back when the module's tests are done."""
    victim = lab.masters[0]
    others = [master for master in lab.masters if master != victim]
    for other in others:
        lab.ssh(other, f"systemctl stop {' '.join(LEASES)}")
    until(lab, f"{victim} holds the leases", lambda: set(holders(lab).values()) == {victim}, 90)
    for other in others:
        lab.ssh(other, f"systemctl start {' '.join(LEASES)}")
    leader = etcd.leader(lab.masters)
    assert leader is not None
    if leader != victim:
        etcd.run("move-leader", f"{etcd.status([victim])[victim]['header']['member_id']:x}", at=[leader], check=False)
    until(lab, f"{victim} leads etcd", lambda: etcd.leader(lab.masters) == victim, 30)
    machine = lab.spec.machine(victim)
    lab.provider.stop(machine, power_off=True)
    yield victim
    lab.provider.ensure(machine)


@pytest.fixture
def left(lab: Lab, lost: str) -> Lab:
    """The lab by a master that is still there."""
    return lab.through(next(master for master in lab.masters if master != lost))


def test_writes_go_on_after_an_election(lab: Lab, etcd: Etcd, deployed: Namespace, left: Lab, lost: str) -> None:
    others = [master for master in lab.masters if master != lost]
    create = ("--namespace", deployed.name, "create", "configmap", "after-the-loss", "--from-literal=key=value", "--request-timeout=5s")

    def created() -> bool:
        done = left.kubectl_result(*create)
        # One whose answer was lost with the leader may have been written.
        return done.returncode == 0 or b"AlreadyExists" in done.stderr

    took_s = until(lab, "a ConfigMap is created", created, 30)
    print(f"writes went on after {took_s:.1f} s")
    assert left.get("configmap", "after-the-loss", "--namespace", deployed.name)["data"] == {"key": "value"}
    until(lab, "one of the others leads", lambda: etcd.leader(others) in others, 10)


def test_controllers_and_the_scheduler_of_another_master_take_over(lab: Lab, deployed: Namespace, left: Lab, lost: str) -> None:
    left.kubectl("--namespace", deployed.name, "scale", "deployment/web", "--replicas=4")
    wait = ("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=4", "--timeout=90s")
    left.kubectl("--namespace", deployed.name, *wait, timeout_s=100)
    assert lost not in holders(left).values()


def test_the_lost_apiserver_is_no_endpoint_any_more(lab: Lab, etcd: Etcd, left: Lab, lost: str) -> None:
    until(lab, "its address is gone", lambda: apiservers(left) == {address for name, address in etcd.addresses.items() if name != lost}, 30)


def test_pods_on_a_worker_have_names_and_services(lab: Lab, deployed: Namespace, left: Lab) -> None:
    loop = "for i in $(seq 20); do timeout 2 wget -q -O - http://web/ && exit 0; sleep 1; done; exit 1"
    answer = left.kubectl("--namespace", deployed.name, "exec", "client", "--", "sh", "-c", loop)
    assert answer.startswith("web-")
    reach = f"nc -w 3 {lab.spec.api_service_address} 443 </dev/null"
    for _ in lab.masters * 2:
        left.kubectl("--namespace", deployed.name, "exec", "client", "--", "sh", "-c", reach)


def test_the_lost_master_is_noticed_and_no_worker_was_ever_missed(lab: Lab, before: dict[str, str], left: Lab, lost: str) -> None:
    left.kubectl("wait", f"node/{lost}", "--for=condition=Ready=Unknown", "--timeout=90s", timeout_s=100)
    assert {worker: ready_since(left, worker) for worker in lab.workers} == before


def test_the_master_comes_back_and_catches_up(lab: Lab, etcd: Etcd, deployed: Namespace, left: Lab, lost: str) -> None:
    lab.provider.ensure(lab.spec.machine(lost))
    left.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=120s", timeout_s=130)
    until(lab, "all apiservers are endpoints", lambda: apiservers(left) == set(etcd.addresses.values()), 60)
    assert lab.through(lost).get("configmap", "after-the-loss", "--namespace", deployed.name)["data"] == {"key": "value"}

    def the_same() -> bool:
        revision = min(status["header"]["revision"] for status in etcd.status(lab.masters).values())
        hashes = etcd.run("endpoint", "hashkv", f"--rev={revision}", at=lab.masters, check=False)
        return hashes is not None and len(hashes) == 3 and len({(each["HashKV"]["hash"], each["HashKV"].get("compact_revision")) for each in hashes}) == 1

    until(lab, "all members hold the same", the_same, 60)
    assert etcd.leader(lab.masters) in lab.masters


def test_all_goes_on_with_three(lab: Lab, deployed: Namespace) -> None:
    """Every master's controllers could do the work; whoever holds the leases now does."""
    deployed.kubectl("scale", "deployment/web", "--replicas=2")
    deployed.kubectl("wait", "deployment/web", "--for=jsonpath={.status.replicas}=2", "--timeout=60s", timeout_s=70)
    lab.kubectl("get", "--raw", "/readyz")
