"""Builds the container images of `images/*.yaml`, offline but for Debian's packages: there is no registry to pull from.

A recipe names Debian packages, which are extracted (not installed: no maintainer script runs), what to keep of them, and how a
container of it starts.  `links` makes one name after another for one program (busybox's applets), `wheels` adds our own wheel with its
dependencies.  An archive is cached under a hash of all that goes in; `:{hash}` in a recipe's reference becomes that hash, so that a
changed image has a changed name and nodes load it, and only it, again.
"""

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from k8sfromscratch.lab import wheelhouse
from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.oci import ImageConfig, Layer, make_layer, manifest_digest, write_archive
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import run
from k8sfromscratch.lab.spec import ROOT
from k8sfromscratch.lab.wheelhouse import Wheelhouse

RECIPES = ROOT / "images"
SITE = "opt/k8sfromscratch"
"""Where `wheels` go in an image; PYTHONPATH names it."""


class Links(BaseModel):
    """`bin/NAME -> program` for every NAME that `list` prints when run in the image."""

    model_config = ConfigDict(extra="forbid")

    program: str
    list: list[str]
    into: str = "bin"


class Recipe(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reference: str
    debian: str = "bookworm"
    packages: list[str]
    keep: list[str] = Field(default_factory=list)
    """Paths to keep; empty: all."""
    drop: list[str] = Field(default_factory=list)
    """Paths (globs) to leave out."""
    directories: list[str] = Field(default_factory=list)
    files: dict[str, str] = Field(default_factory=dict)
    links: Links | None = None
    wheels: bool = False
    entrypoint: list[str] = Field(default_factory=list)
    cmd: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    user: str = ""


@dataclass(frozen=True)
class Image:
    """`digest` is the manifest's: what a runtime says it has under `reference`."""

    name: str
    reference: str
    archive: Path
    digest: str


def ensure(wheels: Wheelhouse) -> list[Image]:
    """All images, built where their archive is not there yet."""
    images = []
    for file in sorted(RECIPES.glob("*.yaml")):
        recipe = load_recipe(file)
        name = file.stem
        inputs = [file.read_bytes()]
        if recipe.wheels:
            inputs.append(f"{wheels.dependencies_hash} {wheels.project_hash}".encode())
        digest = hashlib.sha256(b"\0".join(inputs)).hexdigest()[:12]
        reference = recipe.reference.replace("{hash}", digest)
        archive = CACHE_DIR / "images" / f"{name}-{digest}.tar"
        if not archive.exists():
            _build(recipe, reference, archive, wheels)
            for old in archive.parent.glob(f"{name}-*.tar"):
                if old != archive:
                    old.unlink()
        images.append(Image(name, reference, archive, manifest_digest(archive)))
    return images


def load_recipe(file: Path) -> Recipe:
    try:
        return Recipe.model_validate(yaml.safe_load(file.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        raise SpecError(f"{file}: {error}") from error


def _build(recipe: Recipe, reference: str, archive: Path, wheels: Wheelhouse) -> None:
    work = archive.with_suffix(".building")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        base_key = _key(recipe.model_dump_json(exclude={"reference", "entrypoint", "cmd", "env", "user"}))
        base = _base(recipe, archive.parent / f"base-{base_key}")
        layers = [make_layer(base, archive.parent / f"layer-{base_key}.tar.gz")]
        if recipe.wheels:
            layers += _wheel_layers(base, base_key, work, wheels)
        config = ImageConfig(entrypoint=recipe.entrypoint, cmd=recipe.cmd, env=recipe.env, user=recipe.user)
        write_archive(archive, reference, layers, config)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _key(*inputs: str) -> str:
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


def _base(recipe: Recipe, base: Path) -> Path:
    """The tree of the recipe's packages; kept, since wheels are compiled with the Python that is in it."""
    if base.exists():
        return base
    extracted, kept = base.with_suffix(".extracted"), base.with_suffix(".kept")
    for leftover in (extracted, kept):
        shutil.rmtree(leftover, ignore_errors=True)
    run(
        [
            *("mmdebstrap", "--quiet", "--variant=extract", "--mode=root", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"),
            f"--include={','.join(recipe.packages)}",
            *(recipe.debian, extracted),
        ],
        timeout_s=600,
    )
    if recipe.keep:
        for path in recipe.keep:
            (kept / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(extracted / path, kept / path)
        shutil.rmtree(extracted)
    else:
        extracted.rename(kept)
    _adjust(recipe, kept)
    kept.rename(base)
    return base


def _adjust(recipe: Recipe, tree: Path) -> None:
    for pattern in recipe.drop:
        for dropped in sorted(tree.glob(pattern)):
            if dropped.is_dir() and not dropped.is_symlink():
                shutil.rmtree(dropped)
            else:
                dropped.unlink()
    for directory in recipe.directories:
        (tree / directory).mkdir(parents=True, exist_ok=True)
    if "tmp" in recipe.directories:
        (tree / "tmp").chmod(0o1777)
    for name, text in recipe.files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
        (tree / name).chmod(0o755 if text.startswith("#!") else 0o644)
    if recipe.links is not None:
        into = tree / recipe.links.into
        into.mkdir(parents=True, exist_ok=True)
        for name in run(["chroot", tree, *recipe.links.list]).split():
            if not (into / name).exists():
                (into / name).symlink_to(recipe.links.program)


def _wheel_layers(base: Path, base_key: str, work: Path, wheels: Wheelhouse) -> list[Layer]:
    """Two layers, dependencies and project: a change of our source leaves the large one as it was."""
    dependencies = base.parent / f"layer-{_key(base_key, wheels.dependencies_hash)}.tar.gz"
    if not dependencies.exists():
        gathered = work / "wheels"
        gathered.mkdir()
        run(["tar", "-xf", wheels.dependencies, "-C", gathered])
        _install(base, work / "dependencies", [file for file in sorted(gathered.iterdir()) if not file.name.startswith("pip-")])
    _install(base, work / "project", [wheels.project])
    return [make_layer(work / "dependencies", dependencies), make_layer(work / "project", work / "project.tar.gz")]


def _install(base: Path, layer: Path, files: list[Path]) -> None:
    """Wheels below `layer`, with bytecode made by the image's own Python: the tree is moved into the base for that, and out again."""
    quiet = ("--quiet", "--no-index", "--no-deps", "--no-compile", "--root-user-action=ignore", "--disable-pip-version-check")
    run([sys.executable, "-m", "pip", "install", *quiet, *wheelhouse.for_nodes(), "--target", layer / SITE, *files], timeout_s=300)
    mounted = base / SITE
    shutil.rmtree(mounted, ignore_errors=True)
    mounted.parent.mkdir(parents=True, exist_ok=True)
    (layer / SITE).rename(mounted)
    run(["chroot", base, "python3", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", f"/{SITE}"], timeout_s=300)
    mounted.rename(layer / SITE)
