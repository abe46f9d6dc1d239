"""A cloud image that the user names: a disk with a boot loader and cloud-init, as distributions publish them, becomes the machine it is told to be.

The image is built here from Debian's packages, since not every place reaches the published ones: one partition, GRUB, the cloud kernel, cloud-init.
"""

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k8sfromscratch.lab import node_image
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.spec import ROOT
from k8sfromscratch.testing import libvirtd

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

ADDRESS = "10.87.0.11"
DISK_MB = 3072
PARTITION_AT_MB = 1
BOOTABLE = b"\x80\xfe\xff\xff\x83\xfe\xff\xff"
"""The one entry of the partition table, of the type Linux; in cylinders, heads and sectors: beyond what these can say."""
PARTITION = struct.Struct("<II")
"""First sector, and how many."""
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "openssh-server", "python3", "ca-certificates", "iproute2"),
    *("linux-image-cloud-amd64", "initramfs-tools", "cloud-init", "cloud-guest-utils", "grub-pc-bin", "grub-common"),
)
FILES = {
    "/etc/fstab": "/dev/vda1 / ext4 defaults 0 1\n",
    "/etc/cloud/cloud.cfg.d/90_datasources.cfg": "datasource_list: [NoCloud, None]\n",
}
SETUP = r"""
set -e
chroot "$1" systemctl --quiet enable systemd-networkd.service
kernel=$(ls "$1/boot" | grep ^vmlinuz-) initrd=$(ls "$1/boot" | grep ^initrd)
mkdir -p "$1/boot/grub"
cat >"$1/boot/grub/grub.cfg" <<END
linux /boot/$kernel root=/dev/vda1 rw console=ttyS0
initrd /boot/$initrd
boot
END
chroot "$1" grub-mkimage -O i386-pc -o /boot/core.img -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2 linux normal
cp "$1/usr/lib/grub/i386-pc/boot.img" "$1/boot/boot.img"
: >"$1/etc/machine-id"
rm -f "$1"/etc/ssh/ssh_host_*
"""


def build(root: Path, disk: Path) -> None:
    node_image.make_root("bookworm", root, PACKAGES, FILES, SETUP)
    raw = disk.with_suffix(".raw")
    with raw.open("wb") as file:
        file.truncate(DISK_MB << 20)
    size = f"{DISK_MB - PARTITION_AT_MB}M"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, "-E", f"offset={PARTITION_AT_MB << 20}", raw, size], check=True)
    with raw.open("r+b") as file:
        # The boot sector (whose end is the partition table) loads what stands in the sectors behind it, before the partition.
        file.write((root / "boot" / "boot.img").read_bytes()[:440])
        file.seek(446)
        file.write(BOOTABLE + PARTITION.pack(PARTITION_AT_MB << 11, (DISK_MB - PARTITION_AT_MB) << 11) + bytes(48) + b"\x55\xaa")
        file.write((root / "boot" / "core.img").read_bytes())
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, disk], check=True)
    raw.unlink()


@pytest.fixture(scope="module")
def image(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("mmdebstrap", "mke2fs", "qemu-img", "qemu-system-x86_64", root=True)
    directory = tmp_path_factory.mktemp("cloud")
    build(directory / "root", directory / "cloud.qcow2")
    return directory / "cloud.qcow2"


@pytest.fixture(scope="module")
def lab(image: Path, needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    needs("libvirtd", "virsh", root=True)
    directory = tmp_path_factory.mktemp("libvirt")
    wanted = {"NAME": "kfsi", "PROVIDER": "libvirt", "WORKERS": "0", "MEMORY_MB": "1024", "MACHINE_CIDR": "10.87.0.0/24", "IMAGE": str(image)}
    environment = {**os.environ, "KFS_LAB_DIR": str(directory / "lab"), **{f"LAB_{name}": value for name, value in wanted.items()}}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "k8sfromscratch.lab", *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ssh(command: str) -> str:
        keys = directory / "lab" / "ssh"
        options = [f"-oUserKnownHostsFile={keys}/known_hosts", "-oStrictHostKeyChecking=yes", "-oBatchMode=yes", "-oLogLevel=ERROR", f"-i{keys}/id_ed25519"]
        done = subprocess.run(["ssh", *options, f"root@{ADDRESS}", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    converted = set((CACHE_DIR / "cloud-image").glob("*"))
    with libvirtd.running(directory):
        before = libvirtd.things()
        try:
            run("start", "master-1")
            yield ssh
        finally:
            run("down")
            for file in set((CACHE_DIR / "cloud-image").glob("*")) - converted:
                file.unlink()
        assert libvirtd.things() == before


def test_a_cloud_image_becomes_the_machine(lab: Callable[..., str]) -> None:
    """Its name, its address and host key (SSH checked them), the hosts file, a root file system as large as the disk; cloud-init is at its end."""
    assert lab("cloud-init status") == "status: done\n"
    assert lab("hostname") == "master-1\n"
    assert "10.87.0.11 master-1" in lab("cat /etc/hosts")
    assert lab("ip -4 route show default").startswith("default via 10.87.0.1 ")
    kilobytes = int(lab("df --output=size / | tail -1"))
    assert kilobytes > DISK_MB << 10, "the partition grew"
