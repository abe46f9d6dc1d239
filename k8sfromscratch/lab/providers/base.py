"""What the lab asks of whatever makes its machines.

The order of calls is `prepare` once, then `ensure` for each machine, in parallel; every call may be repeated and does only what is missing.
A machine is *ready* when it answers SSH at its address with the host key from `keys`.
"""

import socket
from abc import ABC, abstractmethod
from typing import ClassVar

from k8sfromscratch.lab.spec import ClusterSpec, Machine


class Provider(ABC):
    system_packages: ClassVar[tuple[str, ...]] = ()
    """Debian packages this provider needs on the control host."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec

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
