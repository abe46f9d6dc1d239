"""`vagrant up` with a box built here: a machine that pyinfra reaches through the inventory, and that leaves nothing behind."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k8sfromscratch.lab.box import Box
from k8sfromscratch.lab.spec import ROOT
from k8sfromscratch.testing import libvirtd
from k8sfromscratch.testing.libvirtd import virsh

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]

PREFIX = "kfsvm"
"""Of everything that these tests make: beside a lab of the same host, and with ranges of their own."""


@pytest.fixture(scope="module")
def environment(built_box: Box, needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Vagrant with a home and a state of its own, which has the box; libvirt as it was before, afterwards."""
    needs("vagrant", "libvirtd", "virsh", root=True)
    directory = tmp_path_factory.mktemp("vagrant")
    # libvirt's QEMU, a user of its own, reads the box's kernel: pytest's directories are for root alone, and each of its runs sees to that.
    with tempfile.TemporaryDirectory(prefix="k8sfromscratch-vagrant-", dir="/var/tmp") as home, libvirtd.running(directory):
        Path(home).chmod(0o755)
        before = libvirtd.things()
        given = {
            **os.environ,
            "VAGRANT_HOME": home,
            "VAGRANT_DOTFILE_PATH": str(directory / "state"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            # Machines alone: the night's lab on Vagrant is the one with a cluster.
            "KFS_VAGRANT_HOOKS": "off",
            "LAB_BOX": built_box.name,
            "LAB_DRIVER": "qemu",
            "LAB_NAME": PREFIX,
            "LAB_WORKERS": "0",
            "LAB_MEMORY_MB": "1024",
            "LAB_MACHINE_CIDR": "10.88.77.0/24",
            "LAB_MANAGEMENT_CIDR": "10.88.78.0/24",
        }
        vagrant(given, "box", "add", "--name", built_box.name, "--provider", "libvirt", str(built_box.vagrant_box))
        try:
            yield given
        finally:
            vagrant(given, "destroy", "-f", check=False)
            _remove_what_is_new(before)
        assert libvirtd.things() == before


def _remove_what_is_new(before: dict[str, set[str]]) -> None:
    """The box's disk in libvirt's pool, which Vagrant keeps for the next machine, and the pool, if there was none."""
    now = libvirtd.things()
    for volume in now["volumes"] - before["volumes"]:
        pool, _, name = volume.partition("/")
        virsh("vol-delete", "--pool", pool, name)
    for pool in now["pools"] - before["pools"]:
        virsh("pool-destroy", pool)
        virsh("pool-undefine", pool)


def vagrant(environment: dict[str, str], *words: str, check: bool = True) -> str:
    done = subprocess.run(["vagrant", *words], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False)
    if check and done.returncode != 0:
        pytest.fail(f"vagrant {' '.join(words)} ended with {done.returncode}:\n{done.stderr}{done.stdout}", pytrace=False)
    return done.stdout


def test_up_reach_destroy(environment: dict[str, str], pyinfra: Callable[..., str], built_box: Box, tmp_path: Path) -> None:
    before = libvirtd.things()
    vagrant(environment, "up", "--provider=libvirt")
    assert libvirtd.things()["domains"] - before["domains"] == {f"{PREFIX}-master-1"}

    hostname = pyinfra("inventories/vagrant.py", "fact", "server.Hostname", environment=environment)
    assert '"master-1"' in hostname
    addresses = pyinfra("inventories/vagrant.py", "exec", "--", "ip -4 -brief address", environment=environment)
    assert "10.88.77.11/24" in addresses
    # Through sudo, as the roles go.
    assert "uid=0(root)" in pyinfra("inventories/vagrant.py", "exec", "--", "id", environment=environment)

    vagrant(environment, "destroy", "-f")
    left = libvirtd.things()
    assert {kind: left[kind] - before[kind] for kind in ("domains", "networks")} == {"domains": set(), "networks": set()}
    # The disk of the machine is gone; the box's, which others start from, is Vagrant's to keep.
    assert {volume for volume in left["volumes"] - before["volumes"] if built_box.name not in volume} == set()


def test_two_processes_take_turns(environment: dict[str, str]) -> None:
    """Both machines need the same networks, which are not there yet."""
    given = {**environment, "LAB_WORKERS": "1"}
    quiet: dict[str, Any] = {"cwd": ROOT, "env": given, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    ups = [subprocess.Popen(["vagrant", "up", name, "--provider=libvirt"], **quiet) for name in ("master-1", "worker-1")]
    said = [each.communicate(timeout=900)[0] for each in ups]
    try:
        assert [each.returncode for each in ups] == [0, 0], said
        assert {f"{PREFIX}-master-1", f"{PREFIX}-worker-1"} <= libvirtd.things()["domains"]
    finally:
        vagrant(given, "destroy", "-f")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LAB_DRIVER", "xen", 'LAB_DRIVER: "xen" is neither kvm nor qemu'),
        ("LAB_WORKERS", "many", 'LAB_WORKERS: "many" is not a number from 0 to 90'),
        ("LAB_MEMORY_MB", "64", 'LAB_MEMORY_MB: "64" is not a number from 512 to'),
        ("LAB_MACHINE_CIDR", "10.88.77/24", 'LAB_MACHINE_CIDR: "10.88.77/24" is not a range of addresses'),
    ],
)
def test_a_wrong_value_is_refused(environment: dict[str, str], variable: str, value: str, said: str) -> None:
    done = subprocess.run(
        ["vagrant", "status"], cwd=ROOT, env={**environment, variable: value}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert said in done.stderr + done.stdout
