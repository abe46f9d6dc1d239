"""What a lab asks of this host: Debian's packages for the machines that are wanted and no others, and libvirt's bindings from wherever they can be had."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from k8sfromscratch.lab.spec import ROOT

PYTHON = """#!/bin/sh
# An environment's Python: it has the bindings as soon as they are in its site-packages.
case "$*" in
    "-c import libvirt") [ -e {site}/libvirt.py ] && [ -e {site}/libvirtmod.{built_for}.so ] ;;
    "-c import sysconfig"*) echo {site} ;;
    "-m pip install"*) echo pip >>{said}; exit {pip} ;;
    *) exit 9 ;;
esac
"""


def packages(needs: Callable[..., None], target: str, **variables: str) -> set[str]:
    """What `make TARGET` would ask for."""
    needs("make")
    words = ["make", "--dry-run", "--no-print-directory", f"PYTHON={sys.executable}", target, *(f"{name}={value}" for name, value in variables.items())]
    # Not as the make that may run the tests was asked.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "MAKE", "MFLAGS"))}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return {word for line in done.stdout.splitlines() if line.startswith("tools/system-packages") for word in line.split()[1:]}


def test_a_lab_asks_for_no_packages_of_other_machines(needs: Callable[..., None]) -> None:
    nspawn, libvirt, box = packages(needs, "lab"), packages(needs, "lab", LAB_PROVIDER="libvirt"), packages(needs, "box")
    assert {"mmdebstrap", "systemd-container"} <= nspawn and not any("libvirt" in name for name in nspawn)
    assert {"mmdebstrap", "libvirt-daemon-system", "qemu-system-x86"} <= libvirt
    assert "vagrant" not in libvirt, "not every release has it, and such a lab needs none"
    assert {"vagrant", "vagrant-libvirt"} <= box
    assert all("debian-archive-keyring" in wanted for wanted in (nspawn, libvirt, box)), "Ubuntu's apt trusts no Debian archive without it"


class Host:
    def __init__(self, directory: Path) -> None:
        self.site, self.distribution, self.said = directory / "site", directory / "dist-packages", directory / "said"
        self.tools = directory / "tools"
        for each in (self.site, self.distribution, self.tools):
            each.mkdir()
        for name in ("libvirt.py", "libvirtmod.cpython-311-x86_64-linux-gnu.so"):
            (self.distribution / name).write_text("")
        shutil.copy(ROOT / "tools" / "libvirt-python", self.tools)
        self._program(self.tools / "system-packages", f"#!/bin/sh\necho packages $1 >>{self.said}\n")
        self.said.write_text("")

    def _program(self, file: Path, text: str) -> None:
        file.write_text(text)
        file.chmod(0o755)

    def run(self, *, pip: int = 0, built_for: str = "cpython-311-x86_64-linux-gnu") -> subprocess.CompletedProcess[str]:
        python = self.tools / "python"
        self._program(python, PYTHON.format(site=self.site, said=self.said, pip=pip, built_for=built_for))
        environment = {"PATH": "/usr/bin:/bin", "DIST_PACKAGES": str(self.distribution)}
        return subprocess.run(
            [str(self.tools / "libvirt-python"), str(python)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )


def test_the_bindings_come_from_pypi(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.run().returncode == 0
    assert host.said.read_text().splitlines() == ["packages libvirt-dev", "pip"]


def test_where_pypi_does_not_build_them_they_are_the_distributions(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.run(pip=1).returncode == 0
    assert host.said.read_text().splitlines() == ["packages libvirt-dev", "pip", "packages python3-libvirt"]
    assert (host.site / "libvirt.py").resolve() == host.distribution / "libvirt.py"
    host.said.write_text("")
    assert host.run(pip=1).returncode == 0
    assert host.said.read_text() == "", "a second run asks for nothing"


def test_bindings_for_another_python_are_told(tmp_path: Path) -> None:
    done = Host(tmp_path).run(pip=1, built_for="cpython-313-x86_64-linux-gnu")
    assert done.returncode == 1 and "make the environment with the distribution's own, PYTHON=/usr/bin/python3" in done.stderr
