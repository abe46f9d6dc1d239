"""Builds the container images of `images/*.yaml`, offline but for Debian's packages: there is no registry to pull from.

A recipe names Debian packages, which are extracted (not installed: no maintainer script runs), what to keep of them, and how a
container of it starts.  `links` makes one name after another for one program (busybox's applets), `wheels` adds the nodes' Python environment,
`without` what its programs never import.  An archive is cached under a hash of all that goes in; `:{hash}` in a recipe's reference becomes that hash, so that a
changed image has a changed name and nodes load it, and only it, again.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from k8sfromscratch.lab.environment import SHIPPED, Environment
from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.oci import ImageConfig, Layer, make_layer, manifest_digest, write_archive
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import need_root, run
from k8sfromscratch.lab.spec import ROOT

RECIPES = ROOT / "images"


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
    bytecode: str = ""
    """Where to compile Python's sources: a container cannot keep what it compiles, and would do so at each start."""
    wheels: bool = False
    without: list[str] = Field(default_factory=list)
    """What of the wheels the image's programs never import: globs below site-packages."""
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


def ensure(environment: Environment) -> list[Image]:
    """All images, built where their archive is not there yet."""
    images = []
    for file in sorted(RECIPES.glob("*.yaml")):
        recipe = load_recipe(file)
        name = file.stem
        inputs = [file.read_bytes()]
        if recipe.wheels:
            inputs.append(f"{environment.dependencies_hash} {environment.project_hash}".encode())
        digest = hashlib.sha256(b"\0".join(inputs)).hexdigest()[:12]
        reference = recipe.reference.replace("{hash}", digest)
        archive = SHIPPED / f"{name}-{digest}.tar"
        if not archive.exists():
            _build(recipe, reference, archive, environment)
            for old in SHIPPED.glob(f"{name}-*.tar"):
                if old != archive:
                    old.unlink()
        images.append(Image(name, reference, archive, manifest_digest(archive)))
    return images


def load_recipe(file: Path) -> Recipe:
    try:
        return Recipe.model_validate(yaml.safe_load(file.read_text()))
    except (ValidationError, yaml.YAMLError) as error:
        raise SpecError(f"{file}: {error}") from error


def _build(recipe: Recipe, reference: str, archive: Path, environment: Environment) -> None:
    cache = CACHE_DIR / "images"
    work = cache / f"{archive.stem}.building"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    SHIPPED.mkdir(parents=True, exist_ok=True)
    try:
        base_key = _key(recipe.model_dump_json(exclude={"reference", "entrypoint", "cmd", "env", "user", "wheels", "without"}))
        base = _base(recipe, cache / f"base-{base_key}")
        layers = [make_layer(base, cache / f"layer-{base_key}.tar.gz")]
        if recipe.wheels:
            layers += _wheel_layers(recipe, environment, cache, work)
        config = ImageConfig(entrypoint=recipe.entrypoint, cmd=recipe.cmd, env=recipe.env, user=recipe.user)
        write_archive(archive, reference, layers, config)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _key(*inputs: str) -> str:
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


def _base(recipe: Recipe, base: Path) -> Path:
    """The tree of the recipe's packages; kept for the next image of the same packages."""
    if base.exists():
        return base
    need_root("building the container images (mmdebstrap)")
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
    if recipe.bytecode:
        run(["chroot", tree, "python3", "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", f"/{recipe.bytecode}"], timeout_s=300)
    if recipe.links is not None:
        into = tree / recipe.links.into
        into.mkdir(parents=True, exist_ok=True)
        for name in run(["chroot", tree, *recipe.links.list]).split():
            if not (into / name).exists():
                (into / name).symlink_to(recipe.links.program)


def _wheel_layers(recipe: Recipe, environment: Environment, cache: Path, work: Path) -> list[Layer]:
    """Two layers, dependencies and project: a change of our source leaves the large one as it was."""
    project, dependencies = environment.trees
    key = _key(environment.dependencies_hash, *recipe.without)
    without = [f"{environment.site[1:]}/{pattern}" for pattern in recipe.without]
    return [make_layer(dependencies, cache / f"layer-{key}.tar.gz", without), make_layer(project, work / "project.tar.gz", without)]
