"""The provisioner killed at any moment: the next `make lab` finishes what it began, and the one after that changes nothing.

A seed says in which phase and how far into it; SIGKILL goes to the whole process group, as a closed terminal's or a CI job's end would.
Three seeds here; KFS_KILL_SEEDS=20 has every phase twice or more, and machines that end in the middle too.  It is a lab of its own, beside
the suite's.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from k8sfromscratch.lab import cgroups
from k8sfromscratch.lab.spec import ROOT
from tests.conftest import skip_or_fail

SEEDS = int(os.environ.get("KFS_KILL_SEEDS", "3"))
NAME = "kfskill"
NETWORK = os.environ.get("KFS_KILL_CIDR", "10.87.0.0/24")
PHASES = ("Machine", "PKI", "Control plane", "Machine", "etcd", "PKI", "Node", "Runtime", "Add-ons", "Base", "Look", "Prepare", "Checks")
"""Of seed 0, 1, 2, …, and over again."""
USUAL_S = {"Prepare": 0.3, "Machine": 2.0, "PKI": 1.0}
"""Before a first run has told; of the others a second."""
RUN_TIMEOUT_S = 900
TRIES = 3


class KilledLab:
    def __init__(self, directory: Path, workers: int) -> None:
        self.directory = directory
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
        own = {"LAB_NAME": NAME, "LAB_MACHINE_CIDR": NETWORK, "LAB_MASTERS": "1", "LAB_WORKERS": str(workers), "KFS_LAB_DIR": str(directory)}
        self.environment = {**kept, **own}
        self.usual_s = dict(USUAL_S)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "k8sfromscratch.lab", "up"]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )

    def run(self, *words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "k8sfromscratch.lab", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def up(self) -> str:
        status, output = self.run("up")
        assert status == 0, output
        return output

    def log(self) -> str:
        """Of the latest run."""
        logs = sorted((self.directory / "logs").glob("up-*.log"), key=lambda log: log.stat().st_mtime_ns)
        return logs[-1].read_text(errors="replace") if logs else ""

    def wait_for(self, process: subprocess.Popen[bytes], phase: str, host: str = "") -> bool:
        """Until some host begins that phase; False if the run ended before."""
        before = time.time_ns()
        begun = re.compile(rf"^# [\d.]+ (?:.*)?{re.escape(host)} begin {re.escape(phase)}$", re.MULTILINE)
        while process.poll() is None:
            logs = [log for log in (self.directory / "logs").glob("up-*.log") if log.stat().st_mtime_ns >= before - 10**9]
            if any(begun.search(log.read_text(errors="replace")) for log in logs):
                return True
            self.wait(process, 0.01)
        return False

    @staticmethod
    def wait(process: subprocess.Popen[bytes], at_most_s: float) -> None:
        try:
            process.wait(timeout=at_most_s)
        except subprocess.TimeoutExpired:
            return

    def killed_in(self, phase: str, fraction: float) -> bool:
        """One run, killed that far into the phase; False if it was through before."""
        process = self.start()
        try:
            if self.wait_for(process, phase):
                self.wait(process, fraction * self.usual_s.get(phase, 1.0))
            if process.poll() is not None:
                return False
            os.killpg(process.pid, signal.SIGKILL)
            return True
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def learn(self) -> None:
        spans = json.loads((self.directory / "logs" / "phases.json").read_text())["spans"]
        self.usual_s.update({span["phase"]: span["took_s"] for span in spans})

    def take_down(self) -> None:
        if self.directory.exists():
            status, output = self.run("down")
            assert status == 0, output

    def left(self) -> list[str]:
        """What a lab that was taken down has left on this host: nothing."""
        found = [str(self.directory)] if self.directory.exists() else []
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        found += [line for line in (links + tables).splitlines() if NAME in line]
        found += [str(group) for hierarchy in cgroups.hierarchies() for group in hierarchy.glob(f"{NAME}-*")]
        found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.directory) in line]
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(self.directory) in words or f"--machine={NAME}-" in words:
                found.append(words)
        return found


def unchanged(log: str) -> bool:
    """Whether pyinfra's results in the run's log have neither a change nor a failure."""
    total = re.search(r"Grand total +(\d+) +(-|\d+) +(-|\d+) +(-|\d+)", log)
    assert total is not None, log[-2000:]
    ran, changed, failed, same = total.groups()
    return (changed, failed, same) == ("-", "-", ran)


@pytest.fixture(scope="module")
def usual() -> dict[str, float]:
    return {}


@pytest.fixture
def make_lab(needs: Callable[..., None], usual: dict[str, float]) -> Iterator[Callable[[int], KilledLab]]:
    needs("systemd-nspawn", "ip", "nft", root=True)
    if os.environ.get("LAB_PROVIDER", "nspawn") != "nspawn":
        skip_or_fail("nspawn machines: this suite runs on others")
    made: list[KilledLab] = []
    # Not below pytest's own directory, which is kept for a while: machines are large.
    directory = Path("/var/tmp") / f"{NAME}-{os.getpid()}"

    def make(workers: int) -> KilledLab:
        lab = KilledLab(directory, workers)
        lab.usual_s.update(usual)
        made.append(lab)
        return lab

    yield make
    for lab in made:
        lab.take_down()
        usual.update(lab.usual_s)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_killed_run_is_finished_by_the_next(make_lab: Callable[[int], KilledLab], seed: int) -> None:
    lab = make_lab(0)
    chance = random.Random(seed)
    phase, fraction = PHASES[seed % len(PHASES)], chance.random()
    for attempt in range(TRIES):
        # Where a phase was over before its moment came: again, from nothing, and earlier in it.
        if lab.killed_in(phase, fraction / 2**attempt):
            break
        lab.take_down()
    else:
        pytest.fail(f"the run ended before it could be killed in phase {phase}: {lab.log()[-2000:]}")
    lab.up()
    lab.learn()
    lab.up()
    assert unchanged(lab.log())
    lab.take_down()
    assert lab.left() == []


if SEEDS >= 20:

    @pytest.mark.timeout(3600)
    def test_a_machine_that_ends_in_the_middle_is_told_and_the_others_finish(make_lab: Callable[[int], KilledLab]) -> None:
        lab = make_lab(1)
        process = lab.start()
        try:
            assert lab.wait_for(process, "Runtime", "worker-1"), lab.log()
            for pid in cgroups.processes(f"{NAME}-worker-1"):  # nspawn's own among them; the machine would outlive that alone
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            said = process.communicate(timeout=RUN_TIMEOUT_S)[0].decode()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        assert process.returncode == 1
        assert re.search(r"^worker-1: .* failed$", said, re.MULTILINE), said
        assert "running it again starts it" in said
        assert re.search(r"^# [\d.]+ master-1 done", lab.log(), re.MULTILINE), "the others finish"
        lab.up()
        lab.up()
        assert unchanged(lab.log())
