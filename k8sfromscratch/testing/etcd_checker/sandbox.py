"""Machines for a cluster on one: a network namespace, a small file system and an address for each member.

    unshare --net --mount --pid --kill-child
      └ this program, process 1 of its own: a bridge with 10.99.0.254, where the clients are
          ├ namespace m1, 10.99.0.1, tmpfs m1/
          ├ namespace m2 ...

Nothing of it is seen from outside, and none of it can be left over: names, mounts and namespaces end with process 1, and process 1 with its parent,
however that ends.  A partition is a packet filter in the namespace of who does not hear; clients reach every member always, so that a member that
was cut off can be asked for what it should not say.
"""

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

CLIENT_ADDRESS = "10.99.0.254"
FS_MIB = 192
"""Upstream reserves two segments of 64 MiB for its log."""
FILL_CHUNK_BYTES = 16 * 1024 * 1024
FILL_LEAST_BYTES = 4096


class SandboxError(Exception):
    """A command that prepares the machines failed."""


def isolated(argv: Sequence[str]) -> list[str]:
    """The command that runs this one in namespaces of its own."""
    return ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *argv]


def address(member: int) -> str:
    return f"10.99.0.{member}"


def namespace(member: int) -> str:
    return f"m{member}"


def in_namespace(member: int, argv: Iterable[str]) -> list[str]:
    return ["ip", "netns", "exec", namespace(member), *argv]


def _do(*argv: str, stdin: str = "") -> None:
    done = subprocess.run(argv, input=stdin, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"{' '.join(argv)}: {done.stderr.strip()}")


class Sandbox:
    """To be made by process 1 of `isolated`."""

    def __init__(self, members: Sequence[int]) -> None:
        if os.getpid() != 1:
            raise SandboxError("this changes the machine it runs on: it must be the first process of its own namespaces")
        self.members = members
        self.directory = Path("/run/etcd-checker")
        _do("mount", "-t", "tmpfs", "-o", f"size={FS_MIB}m", "checker", "/run")
        self.directory.mkdir()
        _do("ip", "link", "set", "lo", "up")
        _do("ip", "link", "add", "br0", "type", "bridge")
        _do("ip", "address", "add", f"{CLIENT_ADDRESS}/24", "dev", "br0")
        _do("ip", "link", "set", "br0", "up")
        for member in members:
            self._add(member)

    def _add(self, member: int) -> None:
        name = namespace(member)
        _do("ip", "netns", "add", name)
        _do("ip", "link", "add", f"v{member}", "type", "veth", "peer", "name", "eth0", "netns", name)
        _do("ip", "link", "set", f"v{member}", "master", "br0", "up")
        _do("ip", "-n", name, "address", "add", f"{address(member)}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _do("ip", "-n", name, "link", "set", link, "up")
        self.disk(member).mkdir()
        _do("mount", "-t", "tmpfs", "-o", f"size={FS_MIB}m", name, str(self.disk(member)))

    def disk(self, member: int) -> Path:
        return self.directory / namespace(member)

    def cut(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Exactly these (from, to) do not get through; the others do."""
        pairs = list(pairs)
        for member in self.members:
            deaf_to = ", ".join(address(a) for a, b in pairs if b == member)
            drop = f"ip saddr {{ {deaf_to} }} drop;" if deaf_to else ""
            rules = f"table inet cut\ndelete table inet cut\ntable inet cut {{\nchain hears {{\ntype filter hook input priority 0;\n{drop}\n}}\n}}\n"
            _do(*in_namespace(member, ["nft", "-f", "-"]), stdin=rules)

    def fill(self, member: int) -> None:
        """Not a byte is left on its disk."""
        size, left = FILL_CHUNK_BYTES, FILL_LEAST_BYTES
        with self._filler(member).open("wb") as file:
            while size >= left:
                try:
                    os.posix_fallocate(file.fileno(), file.tell(), size)
                    file.seek(size, os.SEEK_CUR)
                except OSError:
                    size //= 2

    def free(self, member: int) -> None:
        self._filler(member).unlink(missing_ok=True)

    def _filler(self, member: int) -> Path:
        return self.disk(member) / "filler"
