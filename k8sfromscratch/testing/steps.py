"""Programs run one after the other for a report: each with a time limit that holds for all it started, its output with the time of every line.

A step that fails ends its group (what was to run on a lab that did not come up cannot tell anything), but nothing else: what a group has made
is taken down, and the next one begins.  A step whose time is up is interrupted, as by Ctrl-C, so that pytest takes its fixtures down; what is
left of its process group a while later is killed.

A run that is killed takes nothing down.  Its step is interrupted all the same, by the kernel; and since a mark says which group was begun, the next run
takes down what is left of it first.
"""

import json
import os
import re
import select
import signal
import subprocess
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from k8sfromscratch.lab.spec import ROOT

GRACE_S = 60.0
"""From the interrupt to the kill."""
OUTPUT_S = 5.0
"""For what is still in the pipe when the program has ended: a daemon that it left may hold the pipe open."""

LINE = re.compile(r"^ *(\d+\.\d)  .*?Starting operation: (.+?) \| ")


@dataclass(frozen=True)
class Step:
    """`junit`: a pytest run, whose results are read.  `deploys`: its output tells of roles, or the file `phases` does.  `cleans_up`: runs whatever became of
    the steps before it."""

    name: str
    command: tuple[str, ...]
    timeout_s: float
    junit: bool = False
    deploys: bool = False
    phases: Path | None = None
    cleans_up: bool = False


@dataclass(frozen=True)
class Group:
    key: str
    """By which it is chosen."""
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
class Phase:
    name: str
    seconds: float


@dataclass(frozen=True)
class Outcome:
    group: str
    step: str
    outcome: str
    """`passed`, `failed`, `timed out` or `not run`."""
    seconds: float
    log: str = ""
    cases: tuple[Case, ...] = ()
    phases: tuple[Phase, ...] = ()

    def count(self, outcome: str) -> int:
        return sum(1 for case in self.cases if case.outcome == outcome)


def run(groups: Sequence[Group], directory: Path, grace_s: float = GRACE_S) -> list[Outcome]:
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    (directory / "junit").mkdir(exist_ok=True)
    (directory / "begun").mkdir(exist_ok=True)
    outcomes = []
    for group in groups:
        begun = directory / "begun" / group.key
        if begun.exists():
            print(f"{group.name}: what an earlier run has left is taken down first", flush=True)
            _take_down(group, directory, grace_s)
        begun.touch()
        well = True
        for step in group.steps:
            if not well and not step.cleans_up:
                outcomes.append(Outcome(group.name, step.name, "not run", 0.0))
                continue
            try:
                done = _run_step(group, step, directory, grace_s)
            except KeyboardInterrupt:
                if _take_down(group, directory, grace_s):
                    begun.unlink()
                raise
            well = well and done.outcome == "passed"
            outcomes.append(done)
            print(f"{group.name}: {step.name}: {done.outcome}, {done.seconds:.0f} s", flush=True)
        if all(done.outcome == "passed" for step, done in zip(group.steps, outcomes[-len(group.steps) :], strict=True) if step.cleans_up):
            begun.unlink()
    return outcomes


def _take_down(group: Group, directory: Path, grace_s: float) -> bool:
    """Whether all of it went well; what goes wrong keeps nothing else from being taken down."""
    outcomes = [_run_step(group, step, directory, grace_s).outcome for step in group.steps if step.cleans_up]
    return all(outcome == "passed" for outcome in outcomes)


def _run_step(group: Group, step: Step, directory: Path, grace_s: float) -> Outcome:
    label = _label(f"{group.name} {step.name}")
    log, junit = directory / "logs" / f"{label}.log", directory / "junit" / f"{label}.xml"
    junit.unlink(missing_ok=True)
    command = [*step.command, f"--junitxml={junit}"] if step.junit else list(step.command)
    started_s = time.monotonic()
    output, of_the_step = os.pipe()
    with log.open("wb") as file:
        reader = threading.Thread(target=_copy, args=(os.fdopen(output, "rb"), file, started_s), daemon=True)
        reader.start()  # before there is a step, which an interrupt would not reach while we wait for a thread
        try:
            # A session of its own: its process group is all that it starts, but for daemons, which make sessions themselves.
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "INT", *command],
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **group.environment},
                stdin=subprocess.DEVNULL,
                stdout=of_the_step,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            os.close(of_the_step)
        try:
            outcome = _wait(process, step.timeout_s, grace_s)
            seconds = time.monotonic() - started_s
        finally:
            reader.join(OUTPUT_S)  # after an interrupt too: how a step took down what it had made is what one wants to read then
    return Outcome(
        group.name,
        step.name,
        outcome,
        seconds,
        str(log.relative_to(directory)),
        read_junit(junit) if step.junit else (),
        _phases_of(step, log, seconds) if step.deploys else (),
    )


def _wait(process: subprocess.Popen[bytes], timeout_s: float, grace_s: float) -> str:
    try:
        if _ends(process, timeout_s):
            return "passed" if process.wait() == 0 else "failed"
        _interrupt(process, grace_s)
        return "timed out"
    except KeyboardInterrupt:
        _interrupt(process, grace_s)  # tests take down what they made
        raise
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nothing is left of it
        process.wait()


def _ends(process: subprocess.Popen[bytes], within_s: float) -> bool:
    # Not Popen.wait: an interrupt in the middle of it may leave its lock taken, and the next call would wait for ever.
    ended = os.pidfd_open(process.pid)
    try:
        return bool(select.select([ended], [], [], within_s)[0])
    finally:
        os.close(ended)


def _interrupt(process: subprocess.Popen[bytes], grace_s: float) -> None:
    os.killpg(process.pid, signal.SIGINT)
    _ends(process, grace_s)


def _copy(output: BinaryIO, file: BinaryIO, started_s: float) -> None:
    with output:
        for line in output:
            try:
                file.write(f"{time.monotonic() - started_s:8.1f}  ".encode() + line)
                file.flush()
            except ValueError:  # closed: the step is over, and this comes from a daemon
                return


def _phases_of(step: Step, log: Path, seconds: float) -> tuple[Phase, ...]:
    if step.phases is not None and step.phases.exists():
        return read_phases(step.phases)
    return phases(log.read_text(errors="replace").splitlines(), seconds)


def read_phases(file: Path) -> tuple[Phase, ...]:
    """What `make lab` has written down of its hosts' phases: of each, from when its first host began it until its last one was through."""
    found: dict[str, tuple[float, float]] = {}
    for span in sorted(json.loads(file.read_text())["spans"], key=lambda span: span["from_s"]):
        first, last = found.get(span["phase"], (span["from_s"], 0.0))
        found[span["phase"]] = first, max(last, span["from_s"] + span["took_s"])
    return tuple(Phase(name, last - first) for name, (first, last) in found.items())


def phases(lines: Iterable[str], seconds: float) -> tuple[Phase, ...]:
    """What a deploy's log says: how long until the first role began (machines, artifacts), and how long each role took."""
    begun: list[tuple[str, float]] = [("before the roles", 0.0)]
    for line in lines:
        if (found := LINE.match(line)) and found[2] != begun[-1][0]:
            begun.append((found[2], float(found[1])))
    ends = [at for _, at in begun[1:]] + [seconds]
    return tuple(Phase(name, end - at) for (name, at), end in zip(begun, ends, strict=True))


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


def _label(text: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())
