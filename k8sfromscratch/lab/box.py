"""The node image as a virtual machine's disk, and as a Vagrant box: `make box`.

A virtual machine needs what a container does not: a kernel with its initrd, a network that asks for its address, host keys of its own, and
somebody to log in as.  The disk is one ext4 file system, filled by `mke2fs -d`, without partitions or boot loader: QEMU starts the kernel
directly, from the files beside it.  So nothing is mounted, and no loop device is needed.  Who a machine is, a seed on its second disk may say
(`seed`); without one it asks for its address.

The box works without a network, at any driver of vagrant-libvirt.  The key to log in with is made with it and is inside the box, readable by
whoever has the box: it is for machines on one's own computer.
"""

import hashlib
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from k8sfromscratch.lab import node_image, seed
from k8sfromscratch.lab.errors import LabError, of_this_host
from k8sfromscratch.lab.libvirt_host import Host
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import run
from k8sfromscratch.lab.turns import turn

PACKAGES = ("linux-image-cloud-amd64", "initramfs-tools", "udev", "sudo")
DEBIAN = "bookworm"
USER = "vagrant"
"""With sudo and without a password: what Vagrant expects of a box."""

KEY_OPTIONS = ("-t", "rsa", "-b", "3072", "-m", "PEM")
"""Not ECDSA: the net-ssh of Vagrant 2.3.4 fails on such a key with OpenSSL 3."""

DISK_GB = 10
POOL = "default"
"""Where vagrant-libvirt keeps disks unless it is told otherwise."""
KERNEL_OPTIONS = "root=/dev/vda rw console=ttyS0 net.ifnames=0"

FILES = {
    "/etc/sudoers.d/lab": f"{USER} ALL=(ALL) NOPASSWD: ALL\n",
    "/etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "/etc/systemd/network/80-dhcp.network": "[Match]\nName=eth*\n\n[Network]\nDHCP=yes\n",
    "/etc/ssh/sshd_config.d/box.conf": "HostKey /etc/ssh/ssh_host_ecdsa_key\n",
    "/etc/systemd/system/lab-seed.service": seed.SERVICE,
    "/etc/systemd/system/lab-host-keys.service": """[Unit]
Description=Make the SSH host keys of this machine
Before=ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
# Those that are missing: a seed may have brought one.
ExecStart=sh -c 'for kind in ed25519 ecdsa; do file=/etc/ssh/ssh_host_$${kind}_key; [ -e "$$file" ] || ssh-keygen -q -N "" -t "$$kind" -f "$$file"; done'

[Install]
WantedBy=multi-user.target
""",
}

SETUP = (
    node_image.SETUP
    + rf"""
chroot "$1" systemctl --quiet enable lab-seed.service lab-host-keys.service
chroot "$1" useradd --create-home --shell /bin/bash {USER}
# Present and empty: each machine makes its own, and the first boot does not enable all services again.
: >"$1/etc/machine-id"
echo localhost >"$1/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 box\n' >"$1/etc/hosts"
"""
)

# libvirt's QEMU reads these as a user of its own.
VAGRANTFILE = f"""Vagrant.configure("2") do |config|
  config.ssh.username = "{USER}"
  config.ssh.private_key_path = File.expand_path("ssh_key", __dir__)
  config.ssh.insert_key = false
  config.vm.provider :libvirt do |libvirt|
    libvirt.kernel = File.expand_path("vmlinuz", __dir__)
    libvirt.initrd = File.expand_path("initrd.img", __dir__)
    libvirt.cmd_line = "{KERNEL_OPTIONS}"
    libvirt.disk_bus = "virtio"
  end
end
"""


@dataclass(frozen=True)
class Box:
    """`disk` (qcow2) is started with `kernel` and `initrd`; `key` opens USER's account.  `vagrant_box` holds all of them."""

    name: str
    disk: Path
    kernel: Path
    initrd: Path
    key: Path
    vagrant_box: Path


def name(debian: str = DEBIAN) -> str:
    """Of the box, built or not.  By its recipe: libvirt keeps a box's disk under the box's name, and never looks whether it has changed."""
    recipe = json.dumps([debian, KEY_OPTIONS, node_image.PACKAGES, node_image.FILES, PACKAGES, FILES, SETUP, VAGRANTFILE, DISK_GB], sort_keys=True)
    return f"kfs-node-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure(debian: str = DEBIAN) -> Box:
    """Builds the box unless it is there; boxes of older recipes are removed."""
    called = name(debian)
    digest = called.rpartition("-")[2]
    directory = CACHE_DIR / "box" / digest
    with turn("box"):
        if not directory.exists():
            building = directory.with_suffix(".building")
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir(parents=True)
            _build(debian, building)
            building.rename(directory)
            for other in directory.parent.iterdir():
                if other != directory:
                    shutil.rmtree(other)
    return Box(called, directory / "box.img", directory / "vmlinuz", directory / "initrd.img", directory / "ssh_key", directory / "node.box")


def _build(debian: str, directory: Path) -> None:
    key = directory / "ssh_key"
    run(["ssh-keygen", "-q", *KEY_OPTIONS, "-N", "", "-C", "box", "-f", key])
    authorized = f"/home/{USER}/.ssh/authorized_keys"
    owner = f'chroot "$1" chown -R {USER}: /home/{USER} && chmod 700 "$1/home/{USER}/.ssh" && chmod 440 "$1/etc/sudoers.d/lab"\n'
    root = directory / "root"
    files = {**node_image.FILES, **FILES, authorized: key.with_suffix(".pub").read_text()}
    node_image.make_root(debian, root, (*node_image.PACKAGES, *PACKAGES), files, SETUP + owner)
    for wanted, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd.img", "initrd.img-*")):
        (found,) = (root / "boot").glob(pattern)
        shutil.copyfile(found, directory / wanted)
    raw = directory / "disk.raw"
    run(["mke2fs", "-q", "-t", "ext4", "-d", root, raw, f"{DISK_GB}G"], timeout_s=300)
    shutil.rmtree(root)
    run(["qemu-img", "convert", "-O", "qcow2", raw, directory / "box.img"], timeout_s=300)
    raw.unlink()
    (directory / "metadata.json").write_text(json.dumps({"provider": "libvirt", "format": "qcow2", "virtual_size": DISK_GB}) + "\n")
    (directory / "Vagrantfile").write_text(VAGRANTFILE)
    with tarfile.open(directory / "node.box", "w") as tar:
        for name in ("metadata.json", "Vagrantfile", "box.img", "vmlinuz", "initrd.img", "ssh_key"):
            tar.add(directory / name, arcname=name)


def add() -> str:
    """Builds the box and gives it to Vagrant.  Its name there."""
    box = ensure()
    if box.name not in run(["vagrant", "box", "list"]).split():
        run(["vagrant", "box", "add", "--name", box.name, "--provider", "libvirt", box.vagrant_box], timeout_s=600)
    return box.name


def remove() -> None:
    """Takes all boxes of ours from Vagrant, and from libvirt the copies of their disks, which vagrant-libvirt keeps for the next machine.

    Machines that stand on such a copy must be gone.
    """
    host = Host(os.environ.get("LIBVIRT_DEFAULT_URI", "qemu:///system"))
    for line in run(["vagrant", "box", "list"]).splitlines():
        if line.startswith("kfs-node-"):
            run(["vagrant", "box", "remove", "--force", "--all", line.split()[0]])
    for volume in host.volumes(POOL):
        if volume.startswith("kfs-node-"):
            host.remove_volume(POOL, volume)


def main(argv: Sequence[str]) -> int:
    try:
        match list(argv):
            case []:
                print(f"LAB_BOX={add()}")
            case ["remove"]:
                remove()
            case _:
                print("python -m k8sfromscratch.lab.box [remove]", file=sys.stderr)
                return 2
    except LabError as error:
        print(f"box: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"box: {of_this_host(error, CACHE_DIR)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
