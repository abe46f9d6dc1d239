"""Every role against a machine that has nothing, and again against what it made: the second run does nothing.

Also: what changes restarts what it must and nothing else, and an interrupted run is finished by the next.
"""

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from k8sfromscratch.lab.environment import Environment
from k8sfromscratch.lab.images import Image
from roles import addons, base, checks, control_plane, etcd, node, pki, runtime
from roles.lib import services
from tests.roles.machine import Machine, run_role

WHEEL = "wheel-1"


@pytest.fixture(scope="session")
def pki_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: making keys is what takes time."""
    return tmp_path_factory.mktemp("pki")


@pytest.fixture
def data(tmp_path: Path, pki_directory: Path) -> dict[str, Any]:
    return {
        "cluster_name": "test",
        "cluster_domain": "cluster.local",
        "pod_cidr": "10.244.0.0/16",
        "service_cidr": "10.96.0.0/16",
        "node_port_range": "30000-32767",
        "api_address": "192.0.2.11",
        "api_service_address": "10.96.0.1",
        "dns_address": "10.96.0.10",
        "node_monitor_grace_period_s": 40.0,
        "pki_directory": str(pki_directory),
        "admin_kubeconfig": str(tmp_path / "admin.kubeconfig"),
        "archives": {},
    }


@pytest.fixture
def master(data: dict[str, Any]) -> Machine:
    return Machine("master-1", "192.0.2.11", ["masters"], data)


@pytest.fixture
def worker(data: dict[str, Any]) -> Machine:
    return Machine("worker-1", "192.0.2.101", ["workers"], data)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    (tmp_path / "dependencies-d1.tar.gz").write_bytes(b"all")
    (tmp_path / "project-p1.tar.gz").write_bytes(b"ours")
    return Environment("3.11", tmp_path / "dependencies-d1.tar.gz", "d1", tmp_path / "project-p1.tar.gz", "p1", True)


def converges(module: ModuleType, role: Any, machine: Machine, *, others: list[Machine], **arguments: Any) -> list[str]:
    first = run_role(module, role, machine, others, **arguments)
    assert first, "a fresh machine needs something"
    assert run_role(module, role, machine, others, **arguments) == []
    return first


def test_base(worker: Machine, master: Machine, environment: Environment) -> None:
    converges(base, base.base, worker, others=[master], wanted=environment)
    assert set(base.PACKAGES) <= worker.packages
    assert worker.sysctls == base.SYSCTLS


def test_base_installs_only_what_changed(worker: Machine, master: Machine, environment: Environment) -> None:
    run_role(base, base.base, worker, [master], wanted=environment)
    ran = run_role(base, base.base, worker, [master], wanted=replace(environment, project_hash="p2"))
    assert "upload /var/tmp/project-p1.tar.gz" in ran
    assert not any("dependencies" in command or "-m venv" in command for command in ran)


def test_base_compiles_where_the_control_host_could_not(worker: Machine, environment: Environment) -> None:
    ran = run_role(base, base.base, worker, [], wanted=replace(environment, compiled=False))
    assert [command for command in ran if "compileall" in command] == [
        f"{base.PYTHON} -m compileall -q -j 0 {environment.site}",
        f"{base.PYTHON} -m compileall -q -j 0 {environment.site}/k8sfromscratch",
    ]


def test_pki(worker: Machine, master: Machine, data: dict[str, Any]) -> None:
    converges(pki, pki.pki, worker, others=[master])
    assert worker.contents["/etc/kubernetes/pki/ca.crt"].startswith(b"-----BEGIN CERTIFICATE-----")
    assert "/etc/kubernetes/pki/ca.key" not in worker.contents, "authorities' keys stay on the control host"
    assert "https://192.0.2.11:6443" in Path(data["admin_kubeconfig"]).read_text()


def test_etcd(master: Machine, worker: Machine) -> None:
    converges(etcd, etcd.etcd, master, others=[worker], wheel=WHEEL)
    assert master.units["etcd.service"].enabled
    assert master.units["etcd.service"].starts == 1
    assert master.modes["/etc/kubernetes/pki/etcd/server.key"] == ("600", "etcd", "etcd")


def test_control_plane(master: Machine, worker: Machine) -> None:
    converges(control_plane, control_plane.control_plane, master, others=[worker], wheel=WHEEL)
    assert {name: unit.starts for name, unit in master.units.items()} == {
        "kube-apiserver.service": 1,
        "kube-controller-manager.service": 1,
        "kube-scheduler.service": 1,
    }
    assert all(mode == "600" for path, (mode, _, _) in master.modes.items() if path.endswith((".key", ".kubeconfig")))


def test_runtime(worker: Machine, master: Machine, tmp_path: Path) -> None:
    image = Image("busybox", "docker.io/library/busybox:latest", tmp_path / "busybox.tar", "sha256:1")
    image.archive.write_bytes(b"image")
    worker.data["archives"]["busybox.tar"] = (image.reference, image.digest)
    converges(runtime, runtime.runtime, worker, others=[master], images=[image])
    assert worker.images == {image.reference: image.digest}


def test_runtime_loads_a_changed_image_of_the_same_name(worker: Machine, master: Machine, tmp_path: Path) -> None:
    image = Image("busybox", "docker.io/library/busybox:latest", tmp_path / "busybox.tar", "sha256:2")
    image.archive.write_bytes(b"image")
    worker.data["archives"]["busybox.tar"] = (image.reference, image.digest)
    worker.images = {image.reference: "sha256:1"}
    run_role(runtime, runtime.runtime, worker, [master], images=[image])
    assert worker.images == {image.reference: "sha256:2"}


def test_node(worker: Machine, master: Machine) -> None:
    converges(node, node.node, worker, others=[master], wheel=WHEEL)
    assert {name: unit.starts for name, unit in worker.units.items()} == {"kubelet.service": 1, "kube-proxy.service": 1, "flanneld.service": 1}


def test_addons(master: Machine, worker: Machine) -> None:
    converges(addons, addons.addons, master, others=[worker], image="docker.io/k8sfromscratch/addons:1")
    assert b"name: master-1" in master.contents["/etc/kubernetes/manifests.d/masters.yaml"], "a node may not label itself control-plane"
    assert b"image: docker.io/k8sfromscratch/addons:1" in master.contents["/etc/kubernetes/manifests.d/dns.yaml"]


def test_checks(worker: Machine, master: Machine) -> None:
    worker.healthy = False
    first = converges(checks, checks.checks, worker, others=[master])
    assert any("kubelet.service node worker-1" in command for command in first)


def test_a_changed_flag_restarts_just_that_service(worker: Machine, master: Machine) -> None:
    run_role(node, node.node, worker, [master], wheel=WHEEL)
    worker.data["cluster_domain"] = "other.local"
    ran = run_role(node, node.node, worker, [master], wheel=WHEEL)
    assert [command for command in ran if "restart" in command] == ["systemctl restart kubelet.service"]


def test_a_changed_wheel_restarts_every_component(worker: Machine, master: Machine) -> None:
    run_role(node, node.node, worker, [master], wheel=WHEEL)
    ran = run_role(node, node.node, worker, [master], wheel="wheel-2")
    assert [command for command in ran if "restart" in command] == ["systemctl restart kubelet.service kube-proxy.service flanneld.service"]


def test_an_interrupted_run_is_finished(worker: Machine, master: Machine) -> None:
    """A unit that was written and not restarted is restarted by the next run: what counts is what the process was started from."""
    run_role(node, node.node, worker, [master], wheel=WHEEL)
    worker.data["cluster_domain"] = "other.local"
    started_from = {name: unit.inputs for name, unit in worker.units.items()}
    run_role(node, node.node, worker, [master], wheel=WHEEL)
    worker.units["kubelet.service"].inputs = started_from["kubelet.service"]
    assert run_role(node, node.node, worker, [master], wheel=WHEEL) == ["systemctl restart kubelet.service"]


def test_a_dead_service_is_started(worker: Machine, master: Machine) -> None:
    run_role(node, node.node, worker, [master], wheel=WHEEL)
    worker.units["kube-proxy.service"].inputs = ""
    assert run_role(node, node.node, worker, [master], wheel=WHEEL) == ["systemctl restart kube-proxy.service"]


def test_a_file_with_the_wrong_mode_or_owner_is_put_right(master: Machine, worker: Machine) -> None:
    run_role(etcd, etcd.etcd, master, [worker], wheel=WHEEL)
    key = "/etc/kubernetes/pki/etcd/server.key"
    master.modes[key] = ("644", "root", "root")
    run_role(etcd, etcd.etcd, master, [worker], wheel=WHEEL)
    assert master.modes[key] == ("600", "etcd", "etcd")


def test_a_slow_machine_is_waited_for_longer_and_asked_less_often(master: Machine, data: dict[str, Any]) -> None:
    def said(patience: int | None) -> str:
        machine = Machine("master-1", "192.0.2.11", ["masters"], {**data, "patience": patience}, healthy=False)
        module = SimpleNamespace(
            healthy=services.healthy, role=SimpleNamespace(_inner=lambda: module.healthy(units={"etcd.service": "run true"}, timeout_s=60))
        )
        return run_role(module, module.role, machine)[0]  # type: ignore[arg-type]

    assert " --within=60 --every=0.1 etcd.service " in said(None)
    assert " --within=300 --every=0.5 etcd.service " in said(5)
