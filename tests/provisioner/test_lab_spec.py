"""A wrong cluster spec is refused with the field's name; a right one says where every machine is."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.spec import SPEC_FILE, ClusterSpec, load_spec


def test_the_repositorys_own_spec_is_the_documented_lab() -> None:
    spec = load_spec(SPEC_FILE, {})
    assert [(machine.name, machine.role) for machine in spec.machines] == [("master-1", "master"), ("worker-1", "worker"), ("worker-2", "worker")]
    assert (spec.provider, spec.runtime) == ("nspawn", "containerd")


def test_environment_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("workers: 5\nname: one\n")
    spec = load_spec(file, {"LAB_WORKERS": "3", "LAB_MACHINE_CIDR": "10.99.0.0/24", "LAB_UNRELATED": "x"})
    assert (spec.workers, spec.name, spec.gateway) == (3, "one", IPv4Address("10.99.0.1"))


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ("workers: two", {}, "workers: Input should be a valid integer"),
        ("", {"LAB_WORKERS": "-1"}, "workers: Input should be greater than or equal to 0 (got '-1', from LAB_WORKERS)"),
        ("masters: 2", {}, "masters: 2 masters survive the loss of no more of them than 1 do"),
        ("", {"LAB_MASTERS": "11"}, "masters: Input should be less than or equal to 9 (got '11', from LAB_MASTERS)"),
        ("provider: xen", {}, "provider: Input should be 'nspawn', 'libvirt' or 'vagrant'"),
        ("runtime: docker", {}, "runtime: the runtime 'docker' is not supported yet"),
        ("name: Not_a_name", {}, "name: String should match pattern"),
        ("machine_cidr: 10.0.0.0/28", {}, "machine_cidr: a /24 or larger is needed"),
        ("machine_cidr: 10.0.0.1/24", {}, "machine_cidr: "),
        ("pod_cidr: 10.96.0.0/12", {}, "pod_cidr 10.96.0.0/12 and service_cidr 10.96.0.0/16 overlap"),
        ("node_port_range: 9-1", {}, "node_port_range 9-1 is not a range of ports"),
        ("wrokers: 2", {}, "wrokers: Extra inputs are not permitted"),
        ("- a list", {}, "a mapping of fields to values is needed"),
        ("{", {}, "lab.yaml"),
    ],
)
def test_a_wrong_spec_names_the_field(tmp_path: Path, text: str, environ: dict[str, str], says: str) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as refused:
        load_spec(file, environ)
    assert says in str(refused.value)


@settings(deadline=None)
@given(workers=st.integers(0, 90), more=st.integers(0, 10))
def test_more_workers_move_no_machine(workers: int, more: int) -> None:
    small, large = ClusterSpec(workers=workers), ClusterSpec(workers=min(workers + more, 90))
    assert small.machines == large.machines[: len(small.machines)]
    addresses = [machine.address for machine in large.machines]
    assert len(set(addresses)) == len(addresses)
    assert all(address in large.machine_cidr and address != large.gateway for address in addresses)


def test_masters_have_places_of_their_own_and_the_first_is_reached_from_here() -> None:
    spec = ClusterSpec(masters=3, workers=1)
    assert [(machine.name, str(machine.address)) for machine in spec.machines if machine.role == "master"] == [
        ("master-1", "10.89.0.11"),
        ("master-2", "10.89.0.12"),
        ("master-3", "10.89.0.13"),
    ]
    assert spec.api_address == IPv4Address("10.89.0.11")


def test_workers_may_be_taken_away_and_masters_not() -> None:
    spec = ClusterSpec(masters=1, workers=1)
    assert spec.surplus(["master-1", "worker-1", "worker-2"]) == ["worker-2"]
    with pytest.raises(SpecError, match="master-2, master-3 cannot be taken from a running lab"):
        spec.surplus(["master-1", "master-2", "master-3", "worker-2"])
