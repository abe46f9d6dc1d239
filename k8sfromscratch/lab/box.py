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
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from k8sfromscratch.lab import node_image, seed
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import run

PACKAGES = ("linux-image-cloud-amd64", "initramfs-tools", "udev", "sudo")
USER = "vagrant"
"""With sudo and without a password: what Vagrant expects of a box."""

KEY_OPTIONS = ("-t", "rsa", "-b", "3072", "-m", "PEM")
"""Not ECDSA: the net-ssh of Vagrant 2.3.4 fails on such a key with OpenSSL 3."""

DISK_GB = 10
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


def ensure(debian: str = "bookworm") -> Box:
    """Builds the box unless it is there; boxes of older recipes are removed."""
    recipe = json.dumps([debian, KEY_OPTIONS, node_image.PACKAGES, node_image.FILES, PACKAGES, FILES, SETUP, VAGRANTFILE, DISK_GB], sort_keys=True)
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    directory = CACHE_DIR / "box" / digest
    if not directory.exists():
        building = directory.with_suffix(".building")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        _build(debian, building)
        building.rename(directory)
        for other in directory.parent.iterdir():
            if other != directory:
                shutil.rmtree(other)
    # Named by its recipe: libvirt keeps a box's disk under the box's name, and never looks whether it has changed.
    return Box(f"kfs-node-{digest}", directory / "box.img", directory / "vmlinuz", directory / "initrd.img", directory / "ssh_key", directory / "node.box")


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


def main() -> None:
    """Builds the box and gives it to Vagrant."""
    box = ensure()
    if box.name not in run(["vagrant", "box", "list"]).split():
        run(["vagrant", "box", "add", "--name", box.name, "--provider", "libvirt", box.vagrant_box], timeout_s=600)
    print(f"LAB_BOX={box.name}")


if __name__ == "__main__":
    main()
