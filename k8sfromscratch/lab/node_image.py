"""The root file system every machine starts from: Debian with systemd, SSH, Python and containerd, made by mmdebstrap in about 20 s.

It is cached under a hash of its recipe (the package list and the files below), so a changed recipe makes a new image and an unchanged
one is never made twice.  It holds nothing of the cluster: the roles install that, as they would on any machine of one's own.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from k8sfromscratch.lab import layers
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import need_root, run
from k8sfromscratch.lab.turns import turn

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "libstdc++6", "ca-certificates", "procps", "kmod"),
    *("containerd", "runc", "containernetworking-plugins"),
    *("nftables", "iptables", "iproute2", "iputils-ping", "conntrack", "tcpdump"),
)

FILES = {
    "/etc/ssh/sshd_config.d/lab.conf": "PasswordAuthentication no\nUseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n",
    # Under nspawn the v1 controllers come mounted read-only; containerd and runc must make cgroups in them.
    "/usr/local/sbin/lab-writable-cgroups": """#!/bin/sh
set -e
mount -o remount,rw,bind /sys/fs/cgroup
for mount in $(awk '$3 ~ /^cgroup/ && $4 ~ /^ro/ { print $2 }' /proc/self/mounts); do
    mount -o remount,rw,bind "$mount"
done
""",
    "/etc/systemd/system/lab-writable-cgroups.service": """[Unit]
Description=Make the cgroup hierarchies writable
DefaultDependencies=no
Before=sysinit.target
ConditionVirtualization=container

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-writable-cgroups

[Install]
WantedBy=sysinit.target
""",
}

SETUP = r"""
set -e
chmod 755 "$1/usr/local/sbin/lab-writable-cgroups"
chroot "$1" systemctl --quiet enable systemd-networkd.service lab-writable-cgroups.service
# The runtime role starts containerd, once it is configured.
chroot "$1" systemctl --quiet disable containerd.service
chroot "$1" systemctl --quiet mask getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-networkd-wait-online.service
# Each machine gets its own.
rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/machine-id" "$1/etc/hostname"
rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/*
"""


def recipe_hash(debian: str) -> str:
    recipe = json.dumps([debian, PACKAGES, FILES, SETUP], sort_keys=True)
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def path(debian: str) -> Path:
    """Where the image is or will be."""
    return CACHE_DIR / "node-image" / recipe_hash(debian)


def ensure(debian: str) -> Path:
    """Builds the image unless it is there; other images beside it are of older recipes and are removed,
    except those that a machine stands on."""
    image = path(debian)
    with turn("node-image"):
        if not image.exists():
            building = image.with_suffix(".building")
            make_root(debian, building, PACKAGES, FILES, SETUP)
            building.rename(image)
            layers.prune(image.parent, (image,))
    return image


def make_root(debian: str, root: Path, packages: Sequence[str], files: Mapping[str, str], setup: str) -> None:
    """A Debian root file system with these packages and files, and `setup` (a shell script that is given the root) run at the end."""
    need_root("building a root file system (mmdebstrap)")
    source = root.with_suffix(".files")
    for leftover in (root, source):
        shutil.rmtree(leftover, ignore_errors=True)
    for name, text in files.items():
        file = source / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--mode=root",
            f"--include={','.join(packages)}",
            '--aptopt=APT::Install-Recommends "false"',
            f"--customize-hook=copy-in {' '.join(str(entry) for entry in sorted(source.iterdir()))} /",
            f"--customize-hook={setup}",
            debian,
            root,
        ],
        timeout_s=600,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    shutil.rmtree(source)
