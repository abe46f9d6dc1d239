"""Three masters: who talks to whom, what is the same on all of them and what is each one's own."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from roles import addons, control_plane, etcd, node, pki
from tests.roles.machine import Machine, run_role

WHEEL = "wheel-1"
MASTERS = ("192.0.2.11", "192.0.2.12", "192.0.2.13")


@pytest.fixture(scope="module")
def pki_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: making keys is what takes time."""
    return tmp_path_factory.mktemp("pki")


@pytest.fixture
def machines(tmp_path: Path, pki_directory: Path) -> list[Machine]:
    """master-1, master-2, master-3, worker-1."""
    data: dict[str, Any] = {
        "cluster_name": "test",
        "cluster_domain": "cluster.local",
        "pod_cidr": "10.244.0.0/16",
        "service_cidr": "10.96.0.0/16",
        "node_port_range": "30000-32767",
        "api_address": MASTERS[0],
        "api_service_address": "10.96.0.1",
        "dns_address": "10.96.0.10",
        "node_monitor_grace_period_s": 40.0,
        "pki_directory": str(pki_directory),
        "admin_kubeconfig": str(tmp_path / "admin.kubeconfig"),
        "archives": {},
    }
    masters = [Machine(f"master-{number}", address, ["masters"], data) for number, address in enumerate(MASTERS, 1)]
    return [*masters, Machine("worker-1", "192.0.2.101", ["workers"], data)]


def run(machines: list[Machine], place: int, module: Any, role: Any, **arguments: Any) -> Machine:
    """Runs it on one of them; twice, and the second time it does nothing."""
    machine = machines[place]
    others = [other for other in machines if other is not machine]
    run_role(module, role, machine, others, **arguments)
    assert run_role(module, role, machine, others, **arguments) == []
    return machine


def flags(machine: Machine, unit: str) -> dict[str, str]:
    lines = machine.contents[f"/etc/systemd/system/{unit}.service"].decode().splitlines()
    pairs = [line.strip().removesuffix(" \\").removeprefix("--").partition("=") for line in lines if line.strip().startswith("--")]
    return {name: value for name, _, value in pairs}


def server_of(machine: Machine, kubeconfig: str) -> str:
    (cluster,) = yaml.safe_load(machine.contents[f"/etc/kubernetes/{kubeconfig}"])["clusters"]
    return str(cluster["cluster"]["server"])


def certificate(machine: Machine, file: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(machine.contents[f"/etc/kubernetes/pki/{file}"])


def alternative_names(machine: Machine, file: str) -> set[str]:
    names = certificate(machine, file).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_apiserver_uses_the_etcd_beside_it_first_and_knows_the_others(machines: list[Machine], place: int) -> None:
    master = run(machines, place, control_plane, control_plane.control_plane, wheel=WHEEL)
    servers = flags(master, "kube-apiserver")["etcd-servers"].split(",")
    assert servers[0] == f"https://{MASTERS[place]}:2379"
    assert sorted(servers) == [f"https://{address}:2379" for address in MASTERS]
    assert flags(master, "kube-apiserver")["advertise-address"] == MASTERS[place]


def test_a_masters_components_use_its_own_apiserver(machines: list[Machine]) -> None:
    master = run(machines, 1, control_plane, control_plane.control_plane, wheel=WHEEL)
    run(machines, 1, node, node.node, wheel=WHEEL)
    configs = ("controller-manager.kubeconfig", "scheduler.kubeconfig", "kubelet.kubeconfig", "kube-proxy.kubeconfig", "flannel.kubeconfig")
    assert {server_of(master, config) for config in configs} == {"https://192.0.2.12:6443"}
    assert "apiserver-balancer.service" not in master.units


def test_a_workers_components_use_its_balancer(machines: list[Machine]) -> None:
    worker = run(machines, 3, node, node.node, wheel=WHEEL)
    assert {server_of(worker, f"{name}.kubeconfig") for name in ("kubelet", "kube-proxy", "flannel")} == {"https://127.0.0.1:6444"}
    assert flags(worker, "apiserver-balancer")["backends"] == ",".join(f"{address}:6443" for address in MASTERS)
    assert worker.units["apiserver-balancer.service"].starts == 1
    assert [path for path in worker.contents if path.endswith(".key")] == ["/etc/kubernetes/pki/kubelet.key"], "the balancer needs no secret"


def test_a_balancer_that_somebody_else_runs_is_used_instead(machines: list[Machine], tmp_path: Path) -> None:
    for machine in machines:
        machine.data.update(api_address="192.0.2.5", pki_directory=str(tmp_path / "pki"))
    worker = run(machines, 3, node, node.node, wheel=WHEEL)
    assert server_of(worker, "kubelet.kubeconfig") == "https://192.0.2.5:6443"
    assert "apiserver-balancer.service" not in worker.units
    master = run(machines, 1, control_plane, control_plane.control_plane, wheel=WHEEL)
    assert "192.0.2.5" in alternative_names(master, "apiserver.crt")


def test_an_apiservers_certificate_holds_by_every_way_that_leads_to_it(machines: list[Machine]) -> None:
    master = run(machines, 2, control_plane, control_plane.control_plane, wheel=WHEEL)
    wanted = {"127.0.0.1", "192.0.2.13", "192.0.2.11", "10.96.0.1", "kubernetes.default.svc.cluster.local"}
    assert wanted <= alternative_names(master, "apiserver.crt")


def test_what_masters_must_agree_on_is_the_same_on_all(machines: list[Machine]) -> None:
    ran = [run(machines, place, control_plane, control_plane.control_plane, wheel=WHEEL) for place in range(3)]
    for shared in ("sa.key", "sa.pub", "signer-ca.key", "signer-ca.crt", "front-proxy-ca.crt", "etcd/ca.crt", "trusted-ca.crt"):
        assert len({master.contents[f"/etc/kubernetes/pki/{shared}"] for master in ran}) == 1, shared
    assert len({master.contents["/etc/kubernetes/pki/apiserver.key"] for master in ran}) == 3


def test_only_the_first_master_applies_the_add_ons(machines: list[Machine]) -> None:
    """All at once they would each create the same objects."""
    image = "docker.io/k8sfromscratch/addons:1"
    first = run(machines, 0, addons, addons.addons, image=image)
    second = run(machines, 1, addons, addons.addons, image=image)
    assert first.applied and not second.applied
    assert first.contents["/etc/kubernetes/manifests.d/masters.yaml"].count(b"kind: Node") == 3
    assert server_of(second, "admin.conf") == "https://192.0.2.12:6443"


def test_the_administrators_kubeconfig_names_the_cluster_and_each_master(machines: list[Machine]) -> None:
    master = run(machines, 0, pki, pki.pki)
    config = yaml.safe_load(Path(master.data["admin_kubeconfig"]).read_text())
    assert config["current-context"] == "kubernetes-admin@test"
    assert {cluster["name"]: cluster["cluster"]["server"] for cluster in config["clusters"]} == {
        "test": "https://192.0.2.11:6443",
        "test-master-1": "https://192.0.2.11:6443",
        "test-master-2": "https://192.0.2.12:6443",
        "test-master-3": "https://192.0.2.13:6443",
    }
    assert [context["name"] for context in config["contexts"]] == [f"kubernetes-admin@{cluster['name']}" for cluster in config["clusters"]]


def test_members_are_started_together_and_know_one_another(machines: list[Machine]) -> None:
    ran = [run(machines, place, etcd, etcd.etcd, wheel=WHEEL) for place in range(3)]
    wanted = ",".join(f"master-{number}=https://{address}:2380" for number, address in enumerate(MASTERS, 1))
    assert {flags(master, "etcd")["initial-cluster"] for master in ran} == {wanted}
    assert [flags(master, "etcd")["name"] for master in ran] == ["master-1", "master-2", "master-3"]
    peer = certificate(ran[1], "etcd/peer.crt")
    usages = peer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}, "members call and are called"
    assert "192.0.2.12" in alternative_names(ran[1], "etcd/peer.crt")
    assert ran[1].modes["/etc/kubernetes/pki/etcd/peer.key"] == ("600", "etcd", "etcd")
    assert flags(ran[1], "etcd")["peer-client-cert-auth"] == "true"


@pytest.mark.parametrize(
    ("begun", "says"),
    [
        ({"a": [], "b": [], "c": []}, ""),
        ({"a": ["c", "b", "a"], "b": [], "c": ["a", "b", "c"]}, ""),
        ({"a": ["a"], "b": [], "c": []}, "etcd on a began with a; b, c would be new."),
        ({"a": ["a", "b", "c"]}, "etcd on a began with a, b, c; b, c would be missing."),
        ({"a": [], "b": ["b", "c"]}, "etcd on b began with b, c; a would be new and c would be missing."),
    ],
)
def test_masters_that_have_changed_are_refused(begun: dict[str, list[str]], says: str) -> None:
    said = etcd.changed(begun)
    assert said.startswith(says) and bool(said) == bool(says)


def test_a_fact_tells_with_whom_a_member_began() -> None:
    line = "--initial-cluster=master-1=https://192.0.2.11:2380,master-2=https://192.0.2.12:2380"
    assert etcd.Begun().process([line]) == ["master-1", "master-2"]
    assert etcd.Begun().process([]) == []


def test_a_refused_change_reaches_no_service(machines: list[Machine]) -> None:
    machines[0].begun = ["master-1"]
    with pytest.raises(AssertionError, match="etcd on master-1 began with master-1"):
        run(machines, 1, etcd, etcd.etcd, wheel=WHEEL)
    assert not machines[1].units
