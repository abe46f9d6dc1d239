"""The nodes' Python environment, installed once here instead of on every machine.

    wheels ─► pip install --target, compileall ─► dependencies-HASH.tar.gz, project-HASH.tar.gz ─► unpacked in each machine's venv

Installing on a machine took longer than all else there, and on a virtual machine without KVM minutes.  Bytecode is made here too, where this
Python is of the nodes' version: it is of the version alone, and valid by the source's time and size, which the archive keeps.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from k8sfromscratch.lab import wheelhouse
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import run
from k8sfromscratch.lab.wheelhouse import NODE_PYTHON, Wheelhouse


@dataclass(frozen=True)
class Environment:
    """Two archives of what belongs into site-packages: all but ours, and ours.  The hashes say what they were made from."""

    dependencies: Path
    dependencies_hash: str
    project: Path
    project_hash: str
    compiled: bool
    """False where the machines have to make the bytecode."""


def ensure(wheels: Wheelhouse) -> Environment:
    compiled = f"{sys.version_info.major}.{sys.version_info.minor}" == NODE_PYTHON
    directory = CACHE_DIR / "environment"
    dependencies = directory / f"dependencies-{wheels.dependencies_hash}.tar.gz"
    project = directory / f"project-{wheels.project_hash}.tar.gz"
    if not dependencies.exists():
        gathered = directory / "wheels"
        shutil.rmtree(gathered, ignore_errors=True)
        gathered.mkdir(parents=True)
        run(["tar", "-xf", wheels.dependencies, "-C", gathered])
        # pip itself is among the wheels; a machine that only unpacks has no use for it.
        _install(sorted(file for file in gathered.iterdir() if not file.name.startswith("pip-")), dependencies, compiled)
        shutil.rmtree(gathered)
    if not project.exists():
        _install([wheels.project], project, compiled)
    for old in directory.iterdir():
        if old not in (dependencies, project) and old.is_file():
            old.unlink()
    return Environment(dependencies, wheels.dependencies_hash, project, wheels.project_hash, compiled)


def _install(wheels: list[Path], archive: Path, compiled: bool) -> None:
    site = archive.with_suffix(".site")
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    quiet = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--root-user-action=ignore", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", "install", *quiet, *wheelhouse.for_nodes(), "--target", site, *wheels], timeout_s=600)
    shutil.rmtree(site / "bin", ignore_errors=True)  # scripts for this host's Python
    if compiled:
        # As the machine will find them: tracebacks name the path that the bytecode was made with.
        run(
            [sys.executable, "-m", "compileall", "-q", "-j", "0", "-s", site, "-p", f"/opt/k8sfromscratch/lib/python{NODE_PYTHON}/site-packages", site],
            timeout_s=600,
        )
    fresh = archive.with_suffix(".new")
    run(["tar", "--owner=0", "--group=0", "--use-compress-program=gzip -1", "-cf", fresh, "-C", site, "."], timeout_s=300)
    fresh.replace(archive)
    shutil.rmtree(site)
