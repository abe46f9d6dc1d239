"""The simulation finds planted bugs: each patch is one, on a copy of the package, and the unchanged checks must catch it within 200 seeds.

Two take turns, by a hash of the core's text; `KFS_MUTANTS=all` runs every one.
"""

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATCHES = sorted((Path(__file__).parent / "mutants").glob("*.patch"))
SEEDS = 200


def _chosen() -> list[Path]:
    if os.environ.get("KFS_MUTANTS") == "all":
        return PATCHES
    text = b"".join(path.read_bytes() for path in sorted((ROOT / "k8sfromscratch/core/raft").glob("*.py")))
    first = zlib.crc32(text) % len(PATCHES)
    return [PATCHES[first], PATCHES[(first + 1) % len(PATCHES)]]


def _copy(folder: Path) -> Path:
    shutil.copytree(ROOT / "k8sfromscratch", folder / "k8sfromscratch", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _patch(folder: Path, patch: Path) -> None:
    applied = subprocess.run(["patch", "-p1", "--fuzz=0", "--batch", "-i", str(patch)], cwd=folder, capture_output=True, text=True, check=False)
    assert applied.returncode == 0, f"{patch.name} does not apply any more: {applied.stdout}"


def test_there_are_enough_mutants() -> None:
    assert len(PATCHES) >= 8


def test_every_patch_applies(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("patch")
    for patch in PATCHES:
        changed = patch.read_text().splitlines()[0].removeprefix("--- a/")
        target = tmp_path / patch.stem / changed
        target.parent.mkdir(parents=True)
        shutil.copy(ROOT / changed, target)
        _patch(tmp_path / patch.stem, patch)


def test_a_patch_that_no_longer_applies_fails(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("patch")
    patch = PATCHES[0]
    target = tmp_path / patch.read_text().splitlines()[0].removeprefix("--- a/")
    target.parent.mkdir(parents=True)
    target.write_text("another text\n" * 500)
    with pytest.raises(AssertionError, match="does not apply any more"):
        _patch(tmp_path, patch)


@pytest.mark.parametrize("patch", _chosen(), ids=lambda patch: patch.stem)
def test_mutant_is_caught(needs: Callable[..., None], patch: Path, tmp_path: Path) -> None:
    needs("patch")
    folder = _copy(tmp_path)
    _patch(folder, patch)
    command = [sys.executable, "-m", "k8sfromscratch.testing.raftsim", "--seeds", str(SEEDS)]
    found = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False)
    assert found.returncode == 1, f"{patch.stem} survives {SEEDS} seeds: {found.stdout}{found.stderr}"
    assert "good ones" in found.stdout, found.stderr
    assert "AssertionError" in found.stderr or "Violation" in found.stderr, found.stderr
