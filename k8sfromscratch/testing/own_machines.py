"""Machines such as people have already, for tests: a server of some release with SSH and a user with sudo, and nothing of ours.

    KFS_LAB_DIR=… LAB_NAME=own LAB_MACHINE_CIDR=… python -m k8sfromscratch.testing.own_machines up RELEASE DIRECTORY | down

They are nspawn machines made like the lab's, from a plain image of the release.  Root may not log in; `admin` may, with the key
DIRECTORY/id_ed25519, and may use sudo.  `up` writes DIRECTORY/machines.yaml for `inventories/example_ssh.py`.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from k8sfromscratch.lab import keys, node_image
from k8sfromscratch.lab.errors import LabError
from k8sfromscratch.lab.providers.nspawn import NspawnProvider
from k8sfromscratch.lab.record import CACHE_DIR, LAB_DIR
from k8sfromscratch.lab.spec import ClusterSpec, Machine, load_spec

PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "sudo", "iproute2", "procps", "kmod", "iputils-ping")
"""A small server's.  The roles have to install what else they need."""
USER = "admin"

FILES = {
    **{path: text for path, text in node_image.FILES.items() if "cgroups" in path},
    "/etc/ssh/sshd_config.d/own.conf": "PermitRootLogin no\nPasswordAuthentication no\nUseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n",
    f"/etc/sudoers.d/{USER}": f"{USER} ALL=(ALL) NOPASSWD: ALL\n",
}
SETUP = f"""
set -e
chroot "$1" useradd --create-home --shell /bin/bash {USER}
chmod 440 "$1/etc/sudoers.d/{USER}"
chmod 755 "$1/usr/local/sbin/lab-writable-cgroups"
chroot "$1" systemctl --quiet enable systemd-networkd.service lab-writable-cgroups.service
chroot "$1" systemctl --quiet mask getty.target console-getty.service systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer
rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/machine-id" "$1/etc/hostname"
rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/*
"""


class OwnMachines(NspawnProvider):
    def __init__(self, spec: ClusterSpec, release: str) -> None:
        super().__init__(spec)
        self._release = release

    def image(self) -> Path:
        recipe = json.dumps([PACKAGES, FILES, SETUP], sort_keys=True)
        made = CACHE_DIR / "own-image" / f"{self._release}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
        if not made.exists():
            building = made.with_suffix(".building")
            node_image.make_root(self._release, building, PACKAGES, FILES, SETUP)
            building.rename(made)
            for other in made.parent.glob(f"{self._release}-*"):
                if other != made:
                    shutil.rmtree(other)
        return made

    def _own_files(self, machine: Machine) -> dict[str, tuple[int, str]]:
        files = super()._own_files(machine)
        key = files.pop("root/.ssh/authorized_keys")
        # Where sshd looks for everybody's: the home's own would have to be its user's.
        return {
            **files,
            f"etc/ssh/keys/{USER}": (0o644, key[1]),
            "etc/ssh/sshd_config.d/keys.conf": (0o644, "AuthorizedKeysFile /etc/ssh/keys/%u\n"),
        }


def listed(spec: ClusterSpec, directory: Path) -> Mapping[str, object]:
    """The file of `inventories/example_ssh.py`."""

    def of(role: str) -> list[dict[str, str]]:
        return [{"name": machine.name, "address": str(machine.address)} for machine in spec.machines if machine.role == role]

    return {
        "cluster": spec.name,
        "masters": of("master"),
        "workers": of("worker"),
        "ssh": {"user": USER, "key": str(keys.KEY_FILE), "known_hosts": str(keys.KNOWN_HOSTS)},
        "directory": str(directory / "cluster"),
    }


def up(release: str, directory: Path) -> None:
    spec = load_spec()
    provider = OwnMachines(spec, release)
    provider.prepare()
    with ThreadPoolExecutor() as pool:
        list(pool.map(provider.ensure, spec.machines))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "machines.yaml").write_text(yaml.safe_dump(listed(spec, directory), sort_keys=False))


def main(argv: list[str]) -> int:
    try:
        match argv:
            case ["up", release, directory]:
                up(release, Path(directory))
            case ["down"]:
                OwnMachines(load_spec(), "").tear_down()
                shutil.rmtree(LAB_DIR, ignore_errors=True)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except LabError as error:
        print(f"own machines: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
