"""What every benchmark beside a peer shares: processes and what they cost, medians of runs that alternate, and the table with its verdicts.

Wanted(figure, text, ratio, …) + medians of ours and of upstream's ─► a line of the table, and whether the ratio holds
"""

import contextlib
import os
import site
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
SITE_PACKAGES = site.getsitepackages()
STOP_S = 30.0

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`more_is_better`: ours must be at least `ratio` times upstream's; otherwise at most."""

    figure: str
    text: str
    ratio: float
    more_is_better: bool
    unit: str

    def judge(self, ours: Figures, upstream: Figures) -> tuple[float, bool]:
        """The ratio, and whether it holds."""
        found = ours[self.figure] / upstream[self.figure]
        return found, found >= self.ratio if self.more_is_better else found <= self.ratio

    def told(self, ours: Figures, upstream: Figures | None) -> tuple[str, str]:
        """The last two columns of a table's line; empty where nothing is compared."""
        if upstream is None:
            return "", ""
        found, held = self.judge(ours, upstream)
        return f"{found:.2f}", f"{'≥' if self.more_is_better else '≤'} {self.ratio:.2f}{'' if held else ', missed'}"


def figure(of: Figures | None, name: str) -> str:
    """Three digits of what was measured."""
    if of is None:
        return ""
    value = of[name]
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def medians_of(runs: Sequence[Figures]) -> Figures:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def server_python() -> list[str]:
    """What runs our servers: the system's interpreter where it is of this one's version, as on machines that the provisioner sets up, else this
    one.  A Python that was compiled without its own optimizations, as many development machines have one, takes a sixth more time."""
    system, here = Path("/usr/bin/python3"), sys.version_info[:2]
    same = system.exists() and subprocess.run([system, "-c", f"import sys; sys.exit(sys.version_info[:2] != {here})"]).returncode == 0
    return ["env", f"PYTHONPATH={os.pathsep.join([str(REPOSITORY), *SITE_PACKAGES])}", str(system)] if same else [sys.executable]


@contextlib.contextmanager
def process(argv: Sequence[str], log: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Runs until the block ends."""
    started = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(STOP_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def children_cpu_s() -> float:
    """Processor time of the programs that this process has run and that have ended: of generators."""
    spent = os.times()
    return spent.children_user + spent.children_system
