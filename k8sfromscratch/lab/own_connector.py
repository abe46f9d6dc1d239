"""pyinfra's connector `@own`: a machine of one's own by SSH, which tells why it could not be reached and what to do.

What went wrong is also kept, so that the preflight's table has it beside what is wrong with machines that were reached.  As a user with
sudo, files go to a directory that only that user may read before root copies them to their places: keys are among them.
"""

from collections.abc import Iterator
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, InventoryError, PyinfraError
from pyinfra.connectors.ssh import SSHConnector

from k8sfromscratch.lab.keepalive import keep_alive

UNANSWERED_S = 60
"""Longer than for machines on this host: there is a network in between."""

unreachable: dict[str, str] = {}
"""Host → why, of this run."""

UPLOADS = ".k8sfromscratch-uploads"
"""Below the user's home."""

REMEDIES = (
    ("Authentication error", "is the user right, and this key among its authorized_keys?"),
    ("does not match", "if the machine was made anew: ssh-keygen -R with its address, and -f with the known_hosts of the file"),
    ("resolve hostname", "is its name right?  An address will do as well"),
    ("No such private key", "is the path of the key right?"),
    ("timed out", "is it on, is the address right, does a firewall let SSH through?"),
    ("", "is it on, and does its SSH server listen at this address and port?"),
)
"""What the error has in it → what to look at, the first that fits."""


def explained(error: str) -> str:
    """What SSH said, and what to look at."""
    return f"{error}: {next(remedy for part, remedy in REMEDIES if part in error)}"


class OwnConnector(SSHConnector):
    """`@own/NAME`: a machine of the file that KFS_MACHINES names, as `inventories/example_ssh.py` reads it, or one that Vagrant made."""

    handles_execution = True

    @staticmethod
    def make_names_data(name: str | None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """All data comes with the host, from the inventory."""
        if name is None:
            raise InventoryError("@own needs a machine's name: use inventories/example_ssh.py or inventories/vagrant.py")
        yield f"@own/{name}", {}, []

    def connect(self) -> None:
        try:
            super().connect()
        except PyinfraError as error:
            said = unreachable[self.host.name] = f"{self.data['ssh_hostname']}: {explained(str(error.args[0]))}"
            raise ConnectError(said) from error
        keep_alive(self, unanswered_s=UNANSWERED_S)
        self.run_shell_command(StringCommand(f"umask 077; mkdir -p {UPLOADS} && chmod 700 {UPLOADS}"))

    def put_file(self, filename_or_io: Any, remote_filename: str, remote_temp_filename: str | None = None, *words: Any, **more: Any) -> bool:
        there = remote_temp_filename or f"{UPLOADS}/{self.host.get_temp_filename(remote_filename).rpartition('/')[2]}"
        return bool(super().put_file(filename_or_io, remote_filename, there, *words, **more))
