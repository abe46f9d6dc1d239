"""What this machine is and has, read from /proc, /sys, /etc and statvfs.

Everything is read anew at each call, except what cannot change while the machine is up.
"""

import os
import platform
import socket
from dataclasses import dataclass
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}


@dataclass(frozen=True, slots=True)
class Identity:
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel_version: str
    os_image: str
    architecture: str


@dataclass(frozen=True, slots=True)
class Capacity:
    cpus: int
    memory_bytes: int
    memory_available_bytes: int
    """Free, or given back at once when asked for: the kernel's own estimate."""
    filesystem_bytes: int
    filesystem_available_bytes: int
    filesystem_inodes: int
    filesystem_inodes_free: int
    pids_max: int
    pids: int


def identity() -> Identity:
    return Identity(
        machine_id=_text("/etc/machine-id"),
        system_uuid=_text("/sys/class/dmi/id/product_uuid"),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        kernel_version=platform.release(),
        os_image=_os_release().get("PRETTY_NAME", "Linux"),
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
    )


def capacity(root: Path) -> Capacity:
    """`root`: a path on the filesystem that pods use."""
    memory = _meminfo()
    disk = os.statvfs(root)
    return Capacity(
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=memory["MemTotal"],
        memory_available_bytes=memory["MemAvailable"],
        filesystem_bytes=disk.f_blocks * disk.f_frsize,
        filesystem_available_bytes=disk.f_bavail * disk.f_frsize,
        filesystem_inodes=disk.f_files,
        filesystem_inodes_free=disk.f_ffree,
        pids_max=int(_text("/proc/sys/kernel/pid_max") or 32768),
        pids=int(_text("/proc/loadavg").split()[3].partition("/")[2]),
    )


def cpu_total_ns() -> int:
    """Of all processors since boot, idle time left out."""
    ticks = [int(word) for word in _text("/proc/stat").splitlines()[0].split()[1:9]]
    busy = sum(ticks) - ticks[3] - ticks[4]
    return busy * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def default_address() -> str:
    """The address this machine uses towards the rest of the world; no packet is sent.  Raises OSError without a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def _meminfo() -> dict[str, int]:
    """In bytes."""
    found = {}
    for line in _text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * (1024 if rest.rstrip().endswith("kB") else 1)
    return found


def _os_release() -> dict[str, str]:
    pairs = (line.partition("=") for line in _text("/etc/os-release").splitlines())
    return {name: value.strip().strip('"') for name, _, value in pairs}


def _text(path: str) -> str:
    """Empty where the machine has no such file, or hides it."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
