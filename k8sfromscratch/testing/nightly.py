"""`make nightly`: everything that takes too long for every change, one after the other, and a report that says what it saw.

    groups of steps ─► run each (`testing.steps`): log, JUnit, times ─► .nightly/index.html, junit/*.xml, logs/*.log

`--group KEY`, as often as wanted, runs these groups only, in this order.  The page is written anew after each group, so that a night that was broken off tells
what it saw.  The exit code is 0 only if every step passed.
"""

import argparse
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from k8sfromscratch.lab import box
from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.spec import ROOT
from k8sfromscratch.testing import libvirtd
from k8sfromscratch.testing.steps import Group, Outcome, Step, run

DIRECTORY = ROOT / ".nightly"
EXCLUSIONS = ROOT / "tests" / "lab" / "exclusions.yaml"
EXCLUDED_MAX = 10
KILLED = "tests/lab/test_lab_killed.py"

VAGRANT_HOME = Path("/var/tmp/k8sfromscratch-nightly")
"""libvirt's QEMU, a user of its own, reads the box's kernel in it: root's home would not do."""

_LIBVIRT = {"LAB_PROVIDER": "libvirt", "LAB_NAME": "kfsn", "LAB_MACHINE_CIDR": "10.83.0.0/24", "KFS_LAB_DIR": str(DIRECTORY / "lab")}
_MASTERS = {
    "LAB_PROVIDER": "nspawn",
    "LAB_NAME": "kfs3",
    "LAB_MASTERS": "3",
    "LAB_WORKERS": "2",
    "LAB_MACHINE_CIDR": "10.82.0.0/24",
    "KFS_LAB_DIR": str(DIRECTORY / "masters"),
}
_PYTHON = sys.executable
_LAB = (_PYTHON, "-m", "k8sfromscratch.lab")


def _pytest(*words: str) -> tuple[str, ...]:
    return (_PYTHON, "-m", "pytest", "-v", *words)


def plan(excluded: Sequence[str], driver: str) -> tuple[Group, ...]:
    """`driver` of libvirt's domains: `kvm` where it works, else `qemu`."""
    others = f"--ignore={KILLED}"  # makes nspawn machines of its own
    suite = Step("the lab's tests", _pytest("tests/lab", others, "--timeout=1800", *(f"--deselect={test}" for test in excluded)), 5400, junit=True)
    return (
        Group("machines", "Virtual machines", (Step("roles, libvirt, Vagrant", _pytest("tests/vm"), 5400, junit=True),)),
        Group(
            "libvirt",
            "A lab on libvirt",
            (
                Step("make lab", (*_LAB, "up"), 2400, deploys=True, phases=DIRECTORY / "lab" / "logs" / "phases.json"),
                suite,
                Step("make lab-down", (*_LAB, "down"), 300, cleans_up=True),
            ),
            _LIBVIRT,
        ),
        Group(
            "vagrant",
            "A lab on Vagrant",
            (
                Step("make box", (_PYTHON, "-m", "k8sfromscratch.lab.box"), 1200),
                Step("vagrant up", ("vagrant", "up", "--provider=libvirt"), 3600, deploys=True),
                suite,
                Step("vagrant destroy", ("vagrant", "destroy", "-f"), 600, cleans_up=True),
                Step("remove the box", (_PYTHON, "-m", "k8sfromscratch.lab.box", "remove"), 300, cleans_up=True),
            ),
            _vagrant(driver),
        ),
        Group(
            "masters",
            "A lab of three masters",
            (
                Step("make lab", (*_LAB, "up"), 1200, deploys=True, phases=DIRECTORY / "masters" / "logs" / "phases.json"),
                Step("the lab's tests", _pytest("tests/lab", others), 3600, junit=True),
                Step("make lab-down", (*_LAB, "down"), 300, cleans_up=True),
            ),
            _MASTERS,
        ),
        Group(
            "killed",
            "The provisioner killed",
            (Step("20 seeds", _pytest(KILLED, "--timeout=7000"), 7200, junit=True),),
            {"KFS_KILL_SEEDS": "20"},
        ),
        Group(
            "simulation",
            "Simulation",
            (
                Step("10,000 seeds of Raft", _pytest("tests/sim/test_raft_seeds.py", "--timeout=7000"), 7200, junit=True),
                Step("every planted bug", _pytest("tests/sim/test_raft_mutants.py"), 3600, junit=True),
            ),
            {"KFS_SEEDS": "10000", "KFS_MUTANTS": "all"},
        ),
        Group(
            "differential",
            "etcd beside upstream's",
            (Step("10,000 histories", _pytest("tests/differential", "--timeout=7000"), 7200, junit=True),),
            {"KFS_HISTORIES": "10000"},
        ),
        Group(
            "checker",
            "etcd's members under faults",
            (Step("3 rounds of 5 seeds", _pytest("tests/checker", "--timeout=7000"), 7200, junit=True),),
            {"KFS_CHECKER_ROUNDS": "3", "KFS_CHECKER_SEEDS": "5"},
        ),
        Group("fuzz", "Fuzzing", (Step("every operation and patch", _pytest("tests/fuzz"), 3600, junit=True),), {"KFS_FUZZ": "all"}),
    )


def _vagrant(driver: str) -> dict[str, str]:
    return {
        "LAB_PROVIDER": "vagrant",
        "LAB_NAME": "kfsm",
        "LAB_MACHINE_CIDR": "10.84.0.0/24",
        "LAB_MANAGEMENT_CIDR": "10.84.1.0/24",
        "LAB_BOX": box.name(),
        "LAB_DRIVER": driver,
        "VAGRANT_HOME": str(VAGRANT_HOME),
        "VAGRANT_DOTFILE_PATH": str(DIRECTORY / "vagrant"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }


def exclusions(file: Path = EXCLUSIONS) -> dict[str, float]:
    """Test → its measured duration in seconds without KVM.  Raises SpecError where there are more than are allowed."""
    entries = (yaml.safe_load(file.read_text()) or []) if file.exists() else []
    if len(entries) > EXCLUDED_MAX:
        raise SpecError(f"{file}: {len(entries)} tests are excluded, at most {EXCLUDED_MAX} may be")
    try:
        return {str(entry["test"]): float(entry["measured_s"]) for entry in entries}
    except (TypeError, KeyError, ValueError) as error:
        raise SpecError(f"{file}: each entry is a test and its measured_s") from error


def report(outcomes: Sequence[Outcome], excluded: Mapping[str, float], started: datetime, version: str) -> str:
    """One page of HTML that needs nothing beside it."""
    templates = Environment(loader=FileSystemLoader(ROOT / "templates" / "nightly"), undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    return templates.get_template("report.html.j2").render(
        outcomes=outcomes, excluded=excluded, started=started, version=version, passed=all(each.outcome == "passed" for each in outcomes)
    )


def main(argv: Sequence[str]) -> int:
    excluded = exclusions()
    keys = [group.key for group in plan((), "qemu")]
    parser = argparse.ArgumentParser(prog="python -m k8sfromscratch.testing.nightly", description="The nightly tests, with a report in .nightly")
    parser.add_argument("--group", action="append", choices=keys, help="run this group; as often as wanted; without it, all", dest="groups")
    wanted = parser.parse_args(argv).groups or keys
    started = datetime.now(UTC)
    version = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    (DIRECTORY / "logs").mkdir(parents=True, exist_ok=True)
    if "vagrant" in wanted:
        VAGRANT_HOME.mkdir(mode=0o755, exist_ok=True)
    # Ended by systemd, it ends as by Ctrl-C: what the group at work has made is taken down.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell's `&` has it ignored, and what ignores it hands that down to all it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    outcomes: list[Outcome] = []
    page = DIRECTORY / "index.html"
    try:
        with libvirtd.running(DIRECTORY / "logs"):
            groups = {group.key: group for group in plan(list(excluded), libvirtd.driver())}
            for key in dict.fromkeys(wanted):
                outcomes += run([groups[key]], DIRECTORY)
                page.write_text(report(outcomes, excluded, started, version))
    except KeyboardInterrupt:
        print("Interrupted; what was at work has been taken down.", file=sys.stderr)
        return 130
    finally:
        if "vagrant" in wanted:  # else it may be another's, who runs other groups beside this
            shutil.rmtree(VAGRANT_HOME, ignore_errors=True)
    print(f"The report: {page}")
    return 0 if all(each.outcome == "passed" for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
