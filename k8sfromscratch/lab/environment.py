"""The nodes' Python environment, installed once here instead of on every machine.

    wheels ─► pip install --target, compileall ─► dependencies-HASH.tar.gz, project-HASH.tar.gz ─► unpacked in each machine's venv

Installing on a machine took longer than all else there, and on a virtual machine without KVM minutes.  Bytecode is made here too, where a
Python of the nodes' version is found: it is of the version alone, and valid by the source's time and size, which the archive keeps.
Machines may have different Pythons: each version is made once.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from k8sfromscratch.lab import wheelhouse
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import attempt, has, run
from k8sfromscratch.lab.wheelhouse import Wheelhouse

VENV = "/opt/k8sfromscratch"
"""Where it is on machines."""


@dataclass(frozen=True)
class Environment:
    """Two archives of what belongs into site-packages of `python` ("3.11"): all but ours, and ours.  The hashes say what they were made from."""

    python: str
    dependencies: Path
    dependencies_hash: str
    project: Path
    project_hash: str
    compiled: bool
    """False where the machines have to make the bytecode."""

    @property
    def interpreter(self) -> str:
        """The distribution's own, by its full name: what `python3` is on a machine of one's own, nobody knows."""
        return f"/usr/bin/python{self.python}"

    @property
    def site(self) -> str:
        return f"{VENV}/lib/python{self.python}/site-packages"

    @property
    def identity(self) -> str:
        """What a service runs from: it restarts when this changes."""
        return f"{self.dependencies_hash} {self.project_hash}"


def ensure(wheels: Wheelhouse) -> Environment:
    compiler = _interpreter(wheels.python)
    directory = CACHE_DIR / "environment"
    made = Environment(
        wheels.python,
        directory / f"dependencies-{wheels.python}-{wheels.dependencies_hash}.tar.gz",
        wheels.dependencies_hash,
        directory / f"project-{wheels.python}-{wheels.project_hash}.tar.gz",
        wheels.project_hash,
        compiler is not None,
    )
    if not made.dependencies.exists():
        gathered = directory / f"wheels-{wheels.python}"
        shutil.rmtree(gathered, ignore_errors=True)
        gathered.mkdir(parents=True)
        run(["tar", "-xf", wheels.dependencies, "-C", gathered])
        # pip itself is among the wheels; a machine that only unpacks has no use for it.
        _install(sorted(file for file in gathered.iterdir() if not file.name.startswith("pip-")), made, made.dependencies, compiler)
        shutil.rmtree(gathered)
    if not made.project.exists():
        _install([wheels.project], made, made.project, compiler)
    for old in directory.glob(f"*-{wheels.python}-*.tar.gz"):
        if old not in (made.dependencies, made.project):
            old.unlink()
    return made


def _interpreter(version: str) -> str | None:
    """A Python of that version on this host.  One that is on PATH may be a stand-in that starts another, or none."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        return sys.executable
    name = f"python{version}"
    works = has(name) and attempt([name, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).stdout.strip() == version
    return name if works else None


def _install(wheels: list[Path], made: Environment, archive: Path, compiler: str | None) -> None:
    site = archive.with_suffix(".site")
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    quiet = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--root-user-action=ignore", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", "install", *quiet, *wheelhouse.for_nodes(made.python), "--target", site, *wheels], timeout_s=600)
    shutil.rmtree(site / "bin", ignore_errors=True)  # scripts for this host's Python
    if compiler is not None:
        # As the machine will find them: tracebacks name the path that the bytecode was made with.
        run([compiler, "-m", "compileall", "-q", "-j", "0", "-s", site, "-p", made.site, site], timeout_s=600)
    fresh = archive.with_suffix(".new")
    run(["tar", "--owner=0", "--group=0", "--use-compress-program=gzip -1", "-cf", fresh, "-C", site, "."], timeout_s=300)
    fresh.replace(archive)
    shutil.rmtree(site)
