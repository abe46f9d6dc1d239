"""The nodes' Python environment, installed once here instead of on every machine.

    wheels ─► pip install --target, compileall ─► dependencies-HASH/, project-HASH/ ─► lower layers of nspawn machines
                                                            │                       └► layers of container images
                                                            └► dependencies-HASH.tar.gz, project-HASH.tar.gz ─► unpacked on other machines

Installing on a machine took longer than all else there, and on a virtual machine without KVM minutes.  Bytecode is made here too, where a
Python of the nodes' version is found: it is of the version alone, and valid whatever its source's time, since the trees are replaced as a
whole and images keep no times.  Machines may have different Pythons: each version is made once.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from k8sfromscratch.lab import layers, wheelhouse
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import attempt, has, run
from k8sfromscratch.lab.wheelhouse import Wheelhouse

VENV = "/opt/k8sfromscratch"
"""Where it is on machines."""

SHIPPED = CACHE_DIR / "shipped"
"""Archives that machines are given."""


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
    trees: tuple[Path, ...] = ()
    """Both as directory trees, ours first, with their stamps, as they stand below a machine's root."""

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
    directory.mkdir(parents=True, exist_ok=True)
    dependencies = directory / f"dependencies-{wheels.python}-{wheels.dependencies_hash}"
    project = directory / f"project-{wheels.python}-{wheels.project_hash}"
    made = Environment(
        wheels.python,
        SHIPPED / f"{dependencies.name}.tar.gz",
        wheels.dependencies_hash,
        SHIPPED / f"{project.name}.tar.gz",
        wheels.project_hash,
        compiler is not None,
        (project, dependencies),
    )
    if not dependencies.exists():
        gathered = directory / f"wheels-{wheels.python}"
        shutil.rmtree(gathered, ignore_errors=True)
        gathered.mkdir()
        run(["tar", "-xf", wheels.dependencies, "-C", gathered])
        # pip itself is among the wheels; a machine has no use for it.
        chosen = sorted(file for file in gathered.iterdir() if not file.name.startswith("pip-"))
        fresh = _install(chosen, made, dependencies, compiler)
        _make_venv(made, fresh)
        (fresh / VENV[1:] / "dependencies.stamp").write_text(f"{made.dependencies_hash}\n")
        fresh.rename(dependencies)
        shutil.rmtree(gathered)
    if not project.exists():
        fresh = _install([wheels.project], made, project, compiler)
        (fresh / VENV[1:] / "project.stamp").write_text(f"{made.project_hash}\n")
        fresh.rename(project)
    _archive(made, dependencies, made.dependencies)
    _archive(made, project, made.project)
    layers.prune(directory, made.trees, f"*-{wheels.python}-*")
    for old in SHIPPED.glob(f"*-{wheels.python}-*.tar.gz"):
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


def _install(wheels: Sequence[Path], made: Environment, tree: Path, compiler: str | None) -> Path:
    """Fills what is to become `tree`, under another name."""
    fresh = tree.with_name(tree.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    site = fresh / made.site[1:]
    site.mkdir(parents=True)
    quiet = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--root-user-action=ignore", "--disable-pip-version-check"]
    # The wheels were chosen for the machines' Python; pip would compare what they require with the one that it runs on.
    quiet.append("--ignore-requires-python")
    run([sys.executable, "-m", "pip", "install", *quiet, *wheelhouse.for_nodes(made.python), "--target", site, *wheels], timeout_s=600)
    shutil.rmtree(site / "bin", ignore_errors=True)  # scripts for this host's Python
    if compiler is not None:
        # As the machine will find them: tracebacks name the path that the bytecode was made with.
        run([compiler, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode=unchecked-hash", "-s", fresh, "-p", "/", site], timeout_s=600)
    return fresh


def _make_venv(made: Environment, root: Path) -> None:
    """What `python3 -m venv --without-pip` makes on a machine."""
    venv = root / VENV[1:]
    (venv / "bin").mkdir()
    (venv / "bin/python").symlink_to(made.interpreter)
    for name in ("python3", f"python{made.python}"):
        (venv / "bin" / name).symlink_to("python")
    (venv / "lib64").symlink_to("lib")
    (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {made.python}\n")


def _archive(made: Environment, tree: Path, archive: Path) -> None:
    if not archive.exists():
        SHIPPED.mkdir(parents=True, exist_ok=True)
        fresh = archive.with_suffix(".new")
        run(["tar", "--owner=0", "--group=0", "--use-compress-program=gzip -1", "-cf", fresh, "-C", tree / made.site[1:], "."], timeout_s=300)
        fresh.replace(archive)
