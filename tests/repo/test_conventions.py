"""The repository's own rules, as tests."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 600
"""A file holds one idea; 400 lines are usual, and no idea of ours needs more than this."""


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [p for p in paths if p.is_file() and (not suffixes or p.suffix in suffixes)]


def test_no_file_is_too_long() -> None:
    long = {str(p.relative_to(ROOT)): n for p in tracked(".py") if (n := len(p.read_text().splitlines())) > LINES_MAX}
    assert long == {}


def test_every_module_of_the_package_says_what_it_is() -> None:
    package = ROOT / "k8sfromscratch"
    silent = [
        str(p.relative_to(ROOT))
        for p in tracked(".py")
        if p.is_relative_to(package) and p.read_text().strip() and not p.read_text().lstrip().startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_nothing_is_left_undone() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|raise NotImplemented" + r"Error")
    found = [f"{p.relative_to(ROOT)}:{i}" for p in tracked(".py", ".md", ".j2") for i, line in enumerate(p.read_text().splitlines(), 1) if marks.search(line)]
    assert found == []


def test_no_path_of_one_persons_machine() -> None:
    paths = re.compile(r"(?<![\w.])/(?:wo" + r"rk|ho" + r"me)/\w")
    found = [
        f"{p.relative_to(ROOT)}:{i}"
        for p in tracked(".py", ".md", ".j2", ".toml")
        for i, line in enumerate(p.read_text().splitlines(), 1)
        if paths.search(line)
    ]
    assert found == []


def test_tests_do_not_sleep() -> None:
    sleeping = re.compile(r"\btime\.sle" + r"ep\(")
    found = [str(p.relative_to(ROOT)) for p in tracked(".py") if p.is_relative_to(ROOT / "tests") and sleeping.search(p.read_text())]
    assert found == []
