"""Environments are made here for the machines' Python, which may be another than this host's."""

import sys
import zipfile
from pathlib import Path

from k8sfromscratch.lab import environment
from k8sfromscratch.lab.environment import Environment

OTHER = f"{sys.version_info.major}.{sys.version_info.minor + 1}"
"""A Python that this is not."""


def wheel_for(python: str, directory: Path) -> Path:
    file = directory / f"only_newer-1.0-cp{python.replace('.', '')}-none-manylinux_2_28_x86_64.whl"
    described = {
        "METADATA": f"Metadata-Version: 2.1\nName: only-newer\nVersion: 1.0\nRequires-Python: >={python}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("only_newer.py", "answer = 42\n")
        for name, text in described.items():
            wheel.writestr(f"only_newer-1.0.dist-info/{name}", text)
    return file


def test_a_wheel_that_only_the_machines_python_will_take_is_installed(tmp_path: Path) -> None:
    """pip 23, which an environment of Python 3.11 begins with, compares with the Python that it runs on; newer ones do not."""
    made = Environment(OTHER, tmp_path / "d.tar.gz", "d", tmp_path / "p.tar.gz", "p", False, (tmp_path / "project", tmp_path / "dependencies"))
    fresh = environment._install([wheel_for(OTHER, tmp_path)], made, tmp_path / "dependencies", None)
    assert (fresh / made.site[1:] / "only_newer.py").read_text() == "answer = 42\n"
