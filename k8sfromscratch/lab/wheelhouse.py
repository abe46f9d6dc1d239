"""The wheels that nodes install, gathered once on the control host, so that nodes need no network.

Two archives, each named by a hash of what it was made from: the dependencies (large, changes when pyproject.toml's lists do) and our
own wheel (small, changes with the source).  Wheels are chosen for the nodes' Python, not for the control host's; where nodes have different
Pythons, there is an archive of dependencies for each.
"""

import hashlib
import os
import shutil
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import run
from k8sfromscratch.lab.spec import ROOT

NODE_EXTRAS = ("node",)
NODE_PYTHON = "3.11"
"""Debian 12's own: what the lab's machines and the container images have."""
NODE_PLATFORMS = tuple(f"manylinux_2_{minor}_x86_64" for minor in (35, 34, 31, 28, 27, 24, 17)) + ("manylinux2014_x86_64",)
"""Up to the oldest glibc of a supported release: Ubuntu 22.04's."""

PROJECT_FILES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE")
PROJECT_DIRECTORIES = ("k8sfromscratch",)
GENERATED = ROOT / "k8sfromscratch" / "api" / "data"
"""Written by the build hook from what is hashed already."""


@dataclass(frozen=True)
class Wheelhouse:
    """`dependencies` is a tar of wheels (pip's own among them) for `python` ("3.11"), `project` our wheel; the hashes say what they were made from."""

    python: str
    dependencies: Path
    dependencies_hash: str
    project: Path
    project_hash: str


def ensure(python: str = NODE_PYTHON) -> Wheelhouse:
    requirements = _requirements()
    dependencies_hash = hashlib.sha256("\n".join((python, *NODE_PLATFORMS, *requirements)).encode()).hexdigest()[:16]
    project_hash = _source_hash()
    dependencies = CACHE_DIR / "wheelhouse" / f"dependencies-{dependencies_hash}.tar"
    if not dependencies.exists():
        _download(requirements, python, dependencies)
    project_directory = CACHE_DIR / "wheelhouse" / f"project-{project_hash}"
    if not project_directory.exists():
        _build(project_directory)
    for old in dependencies.parent.iterdir():
        if old.is_dir() and old != project_directory:
            shutil.rmtree(old, ignore_errors=True)
    (project,) = project_directory.glob("*.whl")
    return Wheelhouse(python, dependencies, dependencies_hash, project, project_hash)


def _requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in NODE_EXTRAS:
        wanted += project["optional-dependencies"][extra]
    return sorted([*wanted, "pip"])


def _source_hash() -> str:
    digest = hashlib.sha256()
    files = [ROOT / name for name in PROJECT_FILES if (ROOT / name).exists()]
    for directory in PROJECT_DIRECTORIES:
        files += [file for file in (ROOT / directory).rglob("*") if file.is_file() and file.suffix != ".pyc" and GENERATED not in file.parents]
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(ROOT)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _download(requirements: list[str], python: str, archive: Path) -> None:
    directory = archive.with_suffix(".wheels")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    run([sys.executable, "-m", "pip", "download", "--quiet", f"--dest={directory}", *for_nodes(python), *requirements], timeout_s=900)
    fresh = archive.with_suffix(".new")
    with tarfile.open(fresh, "w") as tar:
        for wheel in sorted(directory.iterdir()):
            tar.add(wheel, arcname=wheel.name)
    fresh.replace(archive)
    shutil.rmtree(directory)


def _build(directory: Path) -> None:
    """Without pip's isolation, which installs the build's requirements anew each time: that took longer than all else of a changed source."""
    fresh = directory.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    build_environment = {**os.environ, "PYTHONPATH": str(_build_requirements())}
    run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", f"--wheel-dir={fresh}", ROOT],
        timeout_s=600,
        env=build_environment,
    )
    shutil.rmtree(directory, ignore_errors=True)
    fresh.rename(directory)


def _build_requirements() -> Path:
    """What pyproject.toml's `build-system` asks for, installed once."""
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    place = CACHE_DIR / "build" / hashlib.sha256("\n".join((python, *requirements)).encode()).hexdigest()[:16]
    if not place.exists():
        shutil.rmtree(place.parent, ignore_errors=True)
        fresh = place.with_suffix(".new")
        run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"--target={fresh}", *requirements], timeout_s=900)
        fresh.rename(place)
    return place


def for_nodes(python: str = NODE_PYTHON) -> list[str]:
    """pip's options that choose wheels for the nodes' Python, whatever Python runs pip here."""
    return [
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={python}"),
        *(f"--abi={abi}" for abi in (f"cp{python.replace('.', '')}", "abi3", "none")),
        *(f"--platform={platform}" for platform in NODE_PLATFORMS),
    ]
