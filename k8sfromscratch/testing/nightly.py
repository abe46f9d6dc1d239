"""`make nightly`: everything that takes too long for every change, one after the other, and a report that says what it saw.

    steps ─► run each: log, JUnit, time ─► .nightly/index.html, junit/*.xml, logs/*.log

A step that fails ends its group (what was to run on a lab that did not come up cannot tell anything), but never the night: what a group has
made is taken down, and the next one begins.  The exit code is 0 only if every step passed.
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.spec import ROOT
from k8sfromscratch.testing import libvirtd

DIRECTORY = ROOT / ".nightly"
EXCLUSIONS = ROOT / "tests" / "lab" / "exclusions.yaml"
EXCLUDED_MAX = 10

_LIBVIRT = {"LAB_PROVIDER": "libvirt", "LAB_NAME": "kfsn", "LAB_MACHINE_CIDR": "10.83.0.0/24"}
_PYTHON = sys.executable
_LAB = (_PYTHON, "-m", "k8sfromscratch.lab")


@dataclass(frozen=True)
class Step:
    """`junit`: a pytest run, whose results are read.  `cleans_up`: runs whatever became of the steps before it."""

    name: str
    command: tuple[str, ...]
    timeout_s: float
    junit: bool = False
    cleans_up: bool = False


@dataclass(frozen=True)
class Group:
    name: str
    steps: tuple[Step, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    name: str
    outcome: str
    """`passed`, `failed` or `skipped`."""
    seconds: float
    text: str = ""


@dataclass(frozen=True)
class Outcome:
    group: str
    step: str
    outcome: str
    """`passed`, `failed`, `timed out` or `not run`."""
    seconds: float
    log: str = ""
    cases: tuple[Case, ...] = ()

    def count(self, outcome: str) -> int:
        return sum(1 for case in self.cases if case.outcome == outcome)


def _pytest(*words: str) -> tuple[str, ...]:
    return (_PYTHON, "-m", "pytest", "-q", *words)


def plan(excluded: Sequence[str]) -> tuple[Group, ...]:
    return (
        Group("Virtual machines", (Step("roles, libvirt, Vagrant", _pytest("tests/vm"), 5400, junit=True),)),
        Group(
            "A lab on libvirt",
            (
                Step("make lab", (*_LAB, "up"), 2400),
                Step("the lab's tests", _pytest("tests/lab", *(f"--deselect={test}" for test in excluded)), 5400, junit=True),
                Step("make lab-down", (*_LAB, "down"), 300, cleans_up=True),
            ),
            _LIBVIRT,
        ),
        Group(
            "Simulation",
            (
                Step("10,000 seeds of Raft", _pytest("tests/sim/test_raft_seeds.py", "--timeout=7000"), 7200, junit=True),
                Step("every planted bug", _pytest("tests/sim/test_raft_mutants.py"), 3600, junit=True),
            ),
            {"KFS_SEEDS": "10000", "KFS_MUTANTS": "all"},
        ),
        Group(
            "etcd beside upstream's", (Step("10,000 histories", _pytest("tests/differential", "--timeout=7000"), 7200, junit=True),), {"KFS_HISTORIES": "10000"}
        ),
        Group("Fuzzing", (Step("every operation and patch", _pytest("tests/fuzz"), 3600, junit=True),), {"KFS_FUZZ": "all"}),
    )


def exclusions(file: Path = EXCLUSIONS) -> dict[str, float]:
    """Test → its measured duration in seconds without KVM.  Raises SpecError where there are more than are allowed."""
    entries = (yaml.safe_load(file.read_text()) or []) if file.exists() else []
    if len(entries) > EXCLUDED_MAX:
        raise SpecError(f"{file}: {len(entries)} tests are excluded, at most {EXCLUDED_MAX} may be")
    try:
        return {str(entry["test"]): float(entry["measured_s"]) for entry in entries}
    except (TypeError, KeyError, ValueError) as error:
        raise SpecError(f"{file}: each entry is a test and its measured_s") from error


def run(groups: Sequence[Group], directory: Path) -> list[Outcome]:
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    (directory / "junit").mkdir(exist_ok=True)
    outcomes = []
    for group in groups:
        well = True
        for step in group.steps:
            if not well and not step.cleans_up:
                outcomes.append(Outcome(group.name, step.name, "not run", 0.0))
                continue
            done = _run_step(group, step, directory)
            well = well and done.outcome == "passed"
            outcomes.append(done)
            print(f"{group.name}: {step.name}: {done.outcome}, {done.seconds:.0f} s", flush=True)
    return outcomes


def _run_step(group: Group, step: Step, directory: Path) -> Outcome:
    label = _label(f"{group.name} {step.name}")
    log, junit = directory / "logs" / f"{label}.log", directory / "junit" / f"{label}.xml"
    junit.unlink(missing_ok=True)
    command = [*step.command, f"--junitxml={junit}"] if step.junit else list(step.command)
    started_s = time.monotonic()
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command, cwd=ROOT, env={**os.environ, **group.environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=step.timeout_s
            )
            outcome = "passed" if done.returncode == 0 else "failed"
        except subprocess.TimeoutExpired:
            outcome = "timed out"
    seconds = time.monotonic() - started_s
    return Outcome(group.name, step.name, outcome, seconds, str(log.relative_to(directory)), read_junit(junit) if step.junit else ())


def read_junit(file: Path) -> tuple[Case, ...]:
    """Nothing where pytest was ended before it wrote any, or while it did."""
    try:
        tree = ElementTree.parse(file)
    except (FileNotFoundError, ElementTree.ParseError):
        return ()
    cases = []
    for element in tree.iter("testcase"):
        bad = [child for child in element if child.tag in ("failure", "error")]
        skipped = element.find("skipped")
        outcome = "failed" if bad else "skipped" if skipped is not None else "passed"
        said = bad[0].text if bad else skipped.get("message") if skipped is not None else ""
        cases.append(Case(f"{element.get('classname')}.{element.get('name')}", outcome, float(element.get("time") or 0), said or ""))
    return tuple(cases)


def report(outcomes: Sequence[Outcome], excluded: Mapping[str, float], started: datetime, version: str) -> str:
    """One page of HTML that needs nothing beside it."""
    templates = Environment(loader=FileSystemLoader(ROOT / "templates" / "nightly"), undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    return templates.get_template("report.html.j2").render(
        outcomes=outcomes, excluded=excluded, started=started, version=version, passed=all(each.outcome == "passed" for each in outcomes)
    )


def _label(text: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())


def main() -> int:
    started = datetime.now(UTC)
    excluded = exclusions()
    version = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    (DIRECTORY / "logs").mkdir(parents=True, exist_ok=True)
    with libvirtd.running(DIRECTORY / "logs"):
        outcomes = run(plan(list(excluded)), DIRECTORY)
    page = DIRECTORY / "index.html"
    page.write_text(report(outcomes, excluded, started, version))
    print(f"The report: {page}")
    return 0 if all(each.outcome == "passed" for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
