"""From the command to DNS that answers: a lab of nspawn machines, its image and wheels cached, one master and two workers; then again.

    python benchmarks/bench_lab.py [--workers 2] [--runs 3] [--json FILE]

Needs root.  It is a lab of its own (LAB_NAME, LAB_MACHINE_CIDR), which is taken down at the end.  Exits with 1 where a median is above what is
wanted.  A first run fills the caches and is not counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
WANTED_S = {"first": 20.0, "again": 10.0}
OWN = {"LAB_NAME": os.environ.get("LAB_NAME", "kfsben"), "LAB_MACHINE_CIDR": os.environ.get("LAB_MACHINE_CIDR", "10.88.0.0/24"), "LAB_PROVIDER": "nspawn"}
CPUACCT = Path("/sys/fs/cgroup/cpuacct")


@dataclass(frozen=True)
class Run:
    """One `up`: its time by the clock, the processor's time here and in the machines, and each phase from its first host to its last."""

    what: str
    took_s: float
    host_cpu_s: float
    machines_cpu_s: float
    phases: dict[str, tuple[float, float]]


class Lab:
    """In a directory of its own, so that a lab of the checkout stays as it is."""

    def __init__(self, directory: Path, workers: int) -> None:
        self.directory = directory
        self.environment = {**os.environ, **OWN, "LAB_MASTERS": "1", "LAB_WORKERS": str(workers), "KFS_LAB_DIR": str(directory)}

    def command(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "k8sfromscratch.lab", *words],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def up(self, what: str) -> Run:
        children, machines = os.times(), self._machines_cpu_s()
        began_s = time.monotonic()
        self.command("up")
        took_s = time.monotonic() - began_s
        after = os.times()
        host_cpu_s = after.children_user + after.children_system - children.children_user - children.children_system
        spans = json.loads((self.directory / "logs" / "phases.json").read_text())["spans"]
        phases: dict[str, tuple[float, float]] = {}
        for span in sorted(spans, key=lambda span: float(span["from_s"])):
            first, last = phases.get(span["phase"], (span["from_s"], 0.0))
            phases[span["phase"]] = first, max(last, span["from_s"] + span["took_s"])
        return Run(what, took_s, host_cpu_s, self._machines_cpu_s() - machines, phases)

    def _machines_cpu_s(self) -> float:
        """From their cgroups, where this host has the v1 hierarchy that counts it."""
        return sum(int((group / "cpuacct.usage").read_text()) for group in CPUACCT.glob(f"{OWN['LAB_NAME']}-*")) / 1e9


def table(run: Run) -> Table:
    shown = Table(
        title=f"{run.what}: {run.took_s:.1f} s (processor: here {run.host_cpu_s:.1f} s, machines {run.machines_cpu_s:.1f} s)", title_justify="left", box=None
    )
    for title in ("phase", "from", "to"):
        shown.add_column(title, justify="left" if title == "phase" else "right")
    for phase, (from_s, to_s) in run.phases.items():
        shown.add_row(phase, f"{from_s:.1f} s", f"{to_s:.1f} s")
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("bench_lab: needs root, for nspawn machines", file=sys.stderr)
        return 2
    console = Console(width=100, highlight=False)
    with tempfile.TemporaryDirectory(prefix="kfs-bench-", dir="/var/tmp") as directory:
        lab = Lab(Path(directory) / "lab", arguments.workers)
        runs: dict[str, list[Run]] = {what: [] for what in WANTED_S}
        try:
            lab.command("up")
            for _ in range(arguments.runs):
                lab.command("down")
                for what, times in runs.items():
                    times.append(lab.up(what))
        finally:
            lab.command("down")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({what: [asdict(run) for run in times] for what, times in runs.items()}, indent=1) + "\n")
    slow = 0
    for what, times in runs.items():
        times.sort(key=lambda run: run.took_s)
        middle = times[len(times) // 2]
        console.print(table(middle))
        console.print(f"median of {', '.join(f'{run.took_s:.1f}' for run in times)} s; wanted at most {WANTED_S[what]:.0f} s\n")
        slow += middle.took_s > WANTED_S[what]
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
