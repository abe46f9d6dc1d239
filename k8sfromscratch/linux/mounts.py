"""Mounting and unmounting: the two system calls, and what is mounted now.

Only what the kubelet needs: tmpfs for what must not reach a disk, and a look into the mount table.  Needs CAP_SYS_ADMIN; failures are
OSErrors with the target's path.  What is mounted here is seen by the container runtime only if both live in one mount namespace (or
the kubelet's propagates to it): a unit with PrivateTmp or the like would hide it.
"""

import ctypes
import os
from pathlib import Path

_MS_NOSUID, _MS_NODEV = 2, 4
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(target: Path, *, size_bytes: int = 0, mode: int = 0o777) -> None:
    """An empty tmpfs on a directory; `size_bytes` 0 leaves the kernel's default (half of the memory)."""
    options = f"mode={mode:o}" + (f",size={size_bytes}" if size_bytes else "")
    flags = _MS_NOSUID | _MS_NODEV
    if _libc.mount(b"tmpfs", os.fsencode(target), b"tmpfs", ctypes.c_ulong(flags), options.encode()) != 0:
        raise _error(target)


def unmount(target: Path) -> None:
    """Also while it is in use: it disappears when the last user does."""
    if _libc.umount2(os.fsencode(target), _MNT_DETACH) != 0:
        raise _error(target)


def mount_points(below: Path) -> list[Path]:
    """Everything mounted on or below a path, the deepest first: the order to unmount in."""
    root = str(below.resolve())
    found = [point for point in _table() if point == root or point.startswith(root + "/")]
    return [Path(point) for point in sorted(found, key=len, reverse=True)]


def _table() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [_unescape(line.split(" ")[4]) for line in lines]


def _unescape(field: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes as octal."""
    for code in ("040", "011", "012", "134"):
        field = field.replace("\\" + code, chr(int(code, 8)))
    return field


def _error(target: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(target))
