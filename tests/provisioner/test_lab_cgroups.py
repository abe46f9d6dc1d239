"""A machine's cgroup, which is removed with all that runs in it."""

import os
import signal

import pytest

from k8sfromscratch.lab import cgroups
from k8sfromscratch.lab.errors import LabError


def test_what_does_not_end_is_told_with_what_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits for a disk in the kernel cannot be killed.  It stands for one machine, and is no fault of the lab's."""
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(cgroups, "processes", lambda _name: {4711})
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    with pytest.raises(LabError, match=r"processes \[4711\] of cgroup kfs-worker-1 were killed and do not end: /proc/PID/stack"):
        cgroups.remove("kfs-worker-1", timeout_s=-1)
    assert killed == [(4711, signal.SIGKILL)]
