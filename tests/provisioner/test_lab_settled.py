"""A lab is gone on with, looked at and taken down as what it was made as, whatever the environment says by then."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from k8sfromscratch.lab import settled
from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.record import Record
from k8sfromscratch.lab.spec import ROOT, ClusterSpec, load_spec

NO_LIBVIRT = "qemu+unix:///system?socket=/nonexistent"
LIBVIRT_LAB: dict[str, Any] = {
    "provider": "libvirt",
    "made_with": {"provider": "libvirt", "name": "mine", "machine_cidr": "10.77.0.0/24", "masters": "1", "libvirt_uri": NO_LIBVIRT, "libvirt_bridge": ""},
    "libvirt": {"uri": NO_LIBVIRT, "network": "mine-machines", "pool": "mine-machines"},
    "machines": {"master-1": {"root": "mine-master-1"}},
}


def record_of(spec: ClusterSpec) -> Record:
    record = Record()
    settled.settle(spec, record)
    return record


def lab(directory: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
    return subprocess.run(
        [sys.executable, "-m", "k8sfromscratch.lab", *words],
        cwd=ROOT,
        env={**kept, "KFS_LAB_DIR": str(directory), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"provider": "libvirt"}, "provider: the lab that is there was made with 'nspawn', .* put LAB_PROVIDER back, or `make lab-down` first"),
        ({"name": "other"}, "name: the lab that is there was made with 'kfs'"),
        ({"machine_cidr": "10.99.0.0/24"}, "machine_cidr: the lab that is there was made with '10.89.0.0/24'"),
        ({"masters": "3"}, r"masters: the lab that is there was made with '1', and this cannot be changed .got '3'.: put LAB_MASTERS back"),
    ],
)
def test_what_is_settled_is_not_changed_while_the_lab_is_there(monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], said: str) -> None:
    record = record_of(ClusterSpec())
    monkeypatch.setattr(Record, "load", classmethod(lambda cls: record))
    with pytest.raises(SpecError, match=said):
        settled.check(ClusterSpec(**changed))


def test_what_may_change_does(monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(ClusterSpec())
    monkeypatch.setattr(Record, "load", classmethod(lambda cls: record))
    settled.check(ClusterSpec(workers=5, libvirt_uri="qemu:///session", cluster_domain="other.local"))
    record = Record()
    settled.check(ClusterSpec(name="other", masters=3))


@pytest.mark.parametrize(("field", "value"), [("memory_mb", 4096), ("cpus", 4)])
def test_what_would_have_no_effect_on_machines_that_are_there_is_refused(monkeypatch: pytest.MonkeyPatch, field: str, value: int) -> None:
    record = record_of(ClusterSpec(provider="libvirt"))
    monkeypatch.setattr(Record, "load", classmethod(lambda cls: record))
    with pytest.raises(SpecError, match=rf"{field}: .* cannot be changed .got '{value}'.: put LAB_{field.upper()} back"):
        settled.check(ClusterSpec.model_validate({"provider": "libvirt", field: value}))


def test_another_libvirt_would_get_a_second_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(ClusterSpec(provider="libvirt"))
    monkeypatch.setattr(Record, "load", classmethod(lambda cls: record))
    with pytest.raises(SpecError, match="libvirt_uri: the lab that is there was made with 'qemu:///system'"):
        settled.check(ClusterSpec(provider="libvirt", libvirt_uri="qemu:///session", libvirt_bridge="br0"))


def test_machines_of_one_image_are_not_started_as_those_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(ClusterSpec(provider="libvirt", image="/srv/debian.qcow2"))
    monkeypatch.setattr(Record, "load", classmethod(lambda cls: record))
    with pytest.raises(SpecError, match=r"image: the lab that is there was made with '/srv/debian\.qcow2', .*got ''.: put LAB_IMAGE back"):
        settled.check(ClusterSpec(provider="libvirt"))


def test_a_lab_of_an_earlier_version_is_known_by_its_provider(tmp_path: Path) -> None:
    record = Record(provider="libvirt")
    spec = load_spec(tmp_path / "absent", {"LAB_NAME": "mine"}, settled.of_lab(record))
    assert (spec.provider, spec.name) == ("libvirt", "mine")


def test_status_is_of_the_lab_that_is_there(tmp_path: Path) -> None:
    nspawn = {"provider": "nspawn", "made_with": {"provider": "nspawn", "name": "mine", "machine_cidr": "10.77.0.0/24", "masters": "1"}}
    (tmp_path / "record.json").write_text(json.dumps({**nspawn, "machines": {"master-1": {"root": "/nowhere"}}}))
    assert lab(tmp_path, "status").stdout == "master-1\tstopped\t10.77.0.11\n"
    assert lab(tmp_path, "status", LAB_PROVIDER="libvirt", LAB_MASTERS="3", LAB_MACHINE_CIDR="10.99.0.0/24").stdout == "master-1\tstopped\t10.77.0.11\n"


@pytest.mark.parametrize("left_out", [(), ("made_with",)], ids=["now", "of an earlier version"])
def test_a_lab_is_not_forgotten_because_the_environment_names_another_provider(tmp_path: Path, left_out: tuple[str, ...]) -> None:
    record = {key: value for key, value in LIBVIRT_LAB.items() if key not in left_out}
    (tmp_path / "record.json").write_text(json.dumps(record))
    done = lab(tmp_path, "down")
    assert done.returncode == 1 and "libvirt" in done.stderr and "Traceback" not in done.stderr
    assert Record.load(tmp_path).machines.keys() == {"master-1"}, "its machines may run: they are still known"


def test_vagrants_machines_are_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps(LIBVIRT_LAB))
    for word in ("up", "down"):
        done = lab(tmp_path, word, LAB_PROVIDER="vagrant")
        assert done.returncode == 1 and "removed by `vagrant destroy -f`" in done.stderr
    assert Record.load(tmp_path).machines.keys() == {"master-1"}


def test_a_lab_that_is_being_made_is_not_taken_down(tmp_path: Path) -> None:
    """Two commands at once: what one makes the other would have forgotten."""
    (tmp_path / "record.json").write_text(json.dumps(LIBVIRT_LAB))
    lock = tmp_path / "up.lock"
    holder = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holder, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        done = lab(tmp_path, "down")
        other.communicate()
    assert done.returncode == 1 and "another `make lab` is at work" in done.stderr
