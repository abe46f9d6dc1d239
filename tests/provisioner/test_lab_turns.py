"""Two processes that would build the same part of the cache: the second waits, and finds it built."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from k8sfromscratch.lab import turns
from k8sfromscratch.lab.turns import turn

HOLDER = """
import sys
from pathlib import Path
from k8sfromscratch.lab.turns import turn
with turn("image", Path(sys.argv[1])):
    print("begun", flush=True)
    sys.stdin.readline()
    Path(sys.argv[1], "image").write_text("built")
    if len(sys.argv) > 2:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
"""


def holder(directory: Path, *words: str) -> "subprocess.Popen[str]":
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(directory), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "begun\n"
    return other


def test_the_second_waits_until_it_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    with holder(tmp_path) as first:

        def wait(time_s: float) -> None:
            waited.append(time_s)
            first.communicate("\n")

        monkeypatch.setattr(turns, "time", SimpleNamespace(sleep=wait))
        with turn("another", tmp_path), turn("image", tmp_path / "elsewhere"):
            assert waited == []
        with turn("image", tmp_path):
            assert (tmp_path / "image").read_text() == "built"
    assert len(waited) == 1


def test_a_process_that_is_killed_gives_its_turn_back(tmp_path: Path) -> None:
    with holder(tmp_path, "killed") as first:
        first.communicate("\n")
    with turn("image", tmp_path):
        assert (tmp_path / "image").exists()
