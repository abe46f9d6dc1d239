"""What the lab asks of whatever makes its machines.

The order of calls is `prepare` once, then `ensure` for each machine, in parallel; every call may be repeated and does only what is missing.
A machine is *ready* when it answers SSH at its address with the host key from `keys`.
"""

import shlex
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from k8sfromscratch.lab import keys
from k8sfromscratch.lab.record import LAB_DIR
from k8sfromscratch.lab.spec import ClusterSpec, Machine


@dataclass(frozen=True)
class Access:
    """How SSH reaches a machine.  A user that is not root has sudo."""

    address: str
    key: Path
    known_hosts: Path
    user: str = "root"
    port: int = 22

    def argv(self, command: str) -> list[str]:
        """ssh's command line that runs this shell command as root."""
        options = [f"-oUserKnownHostsFile={self.known_hosts}", "-oStrictHostKeyChecking=yes", "-oBatchMode=yes", "-oLogLevel=ERROR", f"-i{self.key}"]
        as_root = command if self.user == "root" else f"sudo sh -c {shlex.quote(command)}"
        return ["ssh", *options, f"-p{self.port}", f"{self.user}@{self.address}", as_root]


class Provider(ABC):
    inventory: ClassVar[str] = "inventories/lab.py"
    """Of its machines, for pyinfra."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, which a deploy writes."""
        return LAB_DIR / "admin.kubeconfig"

    def access(self, machine: Machine) -> Access:
        return Access(str(machine.address), keys.KEY_FILE, keys.KNOWN_HOSTS)

    @abstractmethod
    def prepare(self) -> None:
        """What all machines share: keys, node image, network.  Refuses, before anything is changed, what this host cannot do."""

    @abstractmethod
    def ensure(self, machine: Machine) -> bool:
        """The machine exists, runs and is ready.  True if it had to be started."""

    @abstractmethod
    def stop(self, machine: Machine, *, power_off: bool = False) -> None:
        """Shuts the machine down; with `power_off` at once, as if its plug were pulled.  Its disk stays."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Stops the machine, in or out of the present spec, and deletes its disk."""

    def seen_as(self, file: Path) -> str | None:
        """Where its machines see this file of the control host without its being sent to them; None: nowhere."""
        return None

    @abstractmethod
    def names(self) -> dict[str, bool]:
        """The machines that exist, and whether each runs."""

    @abstractmethod
    def tear_down(self) -> None:
        """Removes every machine and then what they share on this host."""


def answers_ssh(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            connection.settimeout(5)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
