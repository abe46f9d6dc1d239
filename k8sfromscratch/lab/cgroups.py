"""A cgroup of its own for every machine, in every hierarchy of this host.

Without it nspawn machines on a host without systemd share all cgroups: one machine's `containerd.service` would hold its neighbour's
processes too, and cleaning up there would kill the neighbour's pods.  The launcher moves itself in before it becomes systemd-nspawn; the
cgroup namespace that nspawn makes then shows the machine this cgroup as its root.  v1 hierarchies and the unified one are handled alike.
"""

import os
import signal
import time
from pathlib import Path

from k8sfromscratch.lab.errors import NotReady

ROOT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """Mount points of all cgroup hierarchies: `/sys/fs/cgroup/memory`, …, `/sys/fs/cgroup/unified`, or `/sys/fs/cgroup` alone on a v2 host."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _device, where, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            found.append(Path(where))
    return found


def create(name: str) -> list[Path]:
    """Makes the cgroup everywhere; answers the `cgroup.procs` files that a process joins it by."""
    joins = []
    for hierarchy in hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        # A new v1 cpuset has no processors and no memory, and takes no process until it has.
        for item in ("cpuset.cpus", "cpuset.mems"):
            if (group / item).exists() and not (group / item).read_text().strip():
                (group / item).write_text((hierarchy / item).read_text())
        joins.append(group / "cgroup.procs")
    return joins


def processes(name: str) -> set[int]:
    """All processes in the cgroup or below it, in any hierarchy."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for directory, _, files in os.walk(hierarchy / name):
            if "cgroup.procs" in files:
                try:
                    found.update(int(pid) for pid in Path(directory, "cgroup.procs").read_text().split())
                except OSError:
                    continue  # removed while we walked
    return found


def remove(name: str, *, timeout_s: float = 60) -> None:
    """Ends what still runs in it (of this lab only: the cgroup is its own) and removes it, innermost first."""
    deadline = time.monotonic() + timeout_s
    while left := processes(name):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise NotReady(f"processes {sorted(left)} of cgroup {name} were killed and do not end: /proc/PID/stack says what they wait for; then run it again")
        time.sleep(0.05)
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy / name, topdown=False):
            while True:
                try:
                    os.rmdir(directory)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    # Busy for a moment after its last process was reaped.
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
