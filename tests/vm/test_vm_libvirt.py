"""The libvirt provider with a real libvirt: a machine comes up as itself, comes back with its disk, and nothing is left in the end.

And what goes wrong on the way: runs that were killed, no space, keys that are not the machine's.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k8sfromscratch.lab.box import Box
from k8sfromscratch.lab.spec import ROOT
from k8sfromscratch.testing import libvirtd
from k8sfromscratch.testing.libvirtd import virsh

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]

ADDRESS = "10.76.0.11"
POLL_S = 0.05


class Lab:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        wanted = {"NAME": "kfsv", "PROVIDER": "libvirt", "WORKERS": "0", "MEMORY_MB": "1024", "MACHINE_CIDR": "10.76.0.0/24"}
        self.environment = {**os.environ, "KFS_LAB_DIR": str(directory), **{f"LAB_{name}": value for name, value in wanted.items()}}

    def result(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "k8sfromscratch.lab", *words]
        return subprocess.run(command, cwd=ROOT, env={**self.environment, **more}, capture_output=True, text=True, timeout=900, check=False)

    def killed_when(self, there: Callable[[], bool], *words: str) -> bool:
        """SIGKILL to the command and all it started as soon as something is there; False if it ended before."""
        command = [sys.executable, "-m", "k8sfromscratch.lab", *words]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, cwd=ROOT, env=self.environment, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True) as process:
            pause = threading.Event()
            while not there():
                if process.poll() is not None:
                    return False
                pause.wait(POLL_S)
            os.killpg(process.pid, signal.SIGKILL)
        return True

    def __call__(self, *words: str) -> str:
        done = self.result(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ssh(self, command: str) -> str:
        keys = self.directory / "ssh"
        options = [f"-oUserKnownHostsFile={keys}/known_hosts", "-oStrictHostKeyChecking=yes", "-oBatchMode=yes", "-oLogLevel=ERROR", f"-i{keys}/id_ed25519"]
        done = subprocess.run(["ssh", *options, f"root@{ADDRESS}", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def lab(built_box: Box, needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    needs("libvirtd", "virsh", root=True)
    directory = tmp_path_factory.mktemp("libvirt")
    with libvirtd.running(directory):
        before = libvirtd.things()
        made = Lab(directory / "lab")
        try:
            yield made
        finally:
            made("down")
        assert libvirtd.things() == before
        assert "There is no lab" in made("down")


def test_a_run_goes_on_from_what_killed_ones_have_left(lab: Lab) -> None:
    assert lab.killed_when(lambda: "kfsv-machines" in virsh("net-list", "--all", "--name").stdout.split(), "start", "master-1")
    assert lab.killed_when(lambda: "disk-" in virsh("vol-list", "kfsv-machines", check=False).stdout, "start", "master-1")
    assert lab.killed_when(lambda: "master-1.seed" in virsh("vol-list", "kfsv-machines", check=False).stdout, "start", "master-1")
    assert lab.killed_when(lambda: "kfsv-master-1" in virsh("list", "--all", "--name").stdout.split(), "start", "master-1")
    lab("start", "master-1")
    assert lab.ssh("hostname") == "master-1\n"


def test_a_machine_comes_up_as_itself_and_keeps_its_disk(lab: Lab) -> None:
    lab("start", "master-1")
    name, controllers = lab.ssh("hostname; cat /sys/fs/cgroup/cgroup.controllers; echo kept >/root/kept; sync").splitlines()
    assert name == "master-1" and {"cpu", "memory"} <= set(controllers.split())
    lab("start", "master-1")
    assert lab("status") == f"master-1\trunning\t{ADDRESS}\n"
    lab("stop", "master-1")
    assert lab("status") == f"master-1\tstopped\t{ADDRESS}\n"
    lab("start", "master-1")
    assert lab.ssh("cat /root/kept") == "kept\n"


def test_what_others_made_is_refused_and_left_alone(lab: Lab, tmp_path: Path) -> None:
    definition = tmp_path / "network.xml"
    definition.write_text("<network><name>kfsw-machines</name><ip address='10.75.0.1' prefix='24'/></network>")
    virsh("net-define", str(definition))
    try:
        refused = lab.result("start", "master-1", LAB_NAME="kfsw", LAB_MACHINE_CIDR="10.75.0.0/24", KFS_LAB_DIR=str(tmp_path / "other"))
        assert refused.returncode != 0 and "a network 'kfsw-machines' that this lab did not make" in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        virsh("net-undefine", "kfsw-machines")


def test_a_libvirt_that_does_not_answer_is_named(lab: Lab, tmp_path: Path) -> None:
    refused = lab.result("start", "master-1", LAB_LIBVIRT_URI="qemu+unix:///system?socket=/nonexistent", KFS_LAB_DIR=str(tmp_path))
    assert refused.returncode != 0 and "libvirt does not answer at qemu+unix:///system" in refused.stderr and "Traceback" not in refused.stderr


def test_a_machine_that_runs_with_other_keys_is_told_with_the_remedy(lab: Lab, tmp_path: Path) -> None:
    """The lab's directory was lost, or is another's: the machine's host key is not ours, nor does it know our key."""
    lab("start", "master-1")
    refused = lab.result("start", "master-1", KFS_LAB_DIR=str(tmp_path))
    assert refused.returncode != 0 and f"machine master-1 runs at {ADDRESS} but not with this lab's keys" in refused.stderr
    assert "virsh destroy kfsv-master-1" in refused.stderr and "Traceback" not in refused.stderr
    assert lab.ssh("hostname") == "master-1\n", "it is left alone"


def test_a_pool_without_space_is_told_before_anything_is_uploaded(lab: Lab, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    other = {"LAB_NAME": "kfsu", "LAB_MACHINE_CIDR": "10.74.0.0/24", "LAB_LIBVIRT_IMAGES": str(images), "KFS_LAB_DIR": str(tmp_path / "lab")}
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", images], check=True)
    try:
        refused = lab.result("start", "master-1", **other)
        assert refused.returncode != 0 and " MB free, and " in refused.stderr and "LAB_LIBVIRT_IMAGES" in refused.stderr, refused.stderr
        assert list((images / "kfsu-machines").iterdir()) == []
        gone = lab.result("down", **other)
        assert gone.returncode == 0, gone.stderr
    finally:
        subprocess.run(["umount", images], check=True)
