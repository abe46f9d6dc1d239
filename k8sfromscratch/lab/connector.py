"""pyinfra's connector `@lab`: `@lab/NAME` is a machine of the lab, booted if need be, then reached by SSH.

So `pyinfra inventories/lab.py deploy.py` is all there is.  pyinfra evaluates inventories twice, so `make_names_data` only reads; machines
are made in `connect`, which runs in one greenlet a host: they boot in parallel.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import ConnectError, InventoryError
from pyinfra.connectors.ssh import SSHConnector

from k8sfromscratch.lab import keys
from k8sfromscratch.lab.errors import LabError
from k8sfromscratch.lab.keepalive import keep_alive
from k8sfromscratch.lab.providers import Provider, provider_for
from k8sfromscratch.lab.spec import ClusterSpec, load_spec

UNANSWERED_S = 20

_providers: dict[ClusterSpec, Provider] = {}
"""One provider a run, shared by the greenlets of all hosts: it prepares once."""


class LabConnector(SSHConnector):
    """Machines of the local lab, as `inventories/lab.yaml` and LAB_* describe it."""

    handles_execution = True

    @staticmethod
    def make_names_data(name: str | None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        try:
            spec = load_spec()
            machines = [spec.machine(name)] if name else list(spec.machines)
        except LabError as error:
            raise InventoryError(str(error)) from error
        for machine in machines:
            data = {
                "ssh_hostname": str(machine.address),
                "ssh_user": "root",
                "ssh_key": str(keys.KEY_FILE),
                "ssh_known_hosts_file": str(keys.KNOWN_HOSTS),
                "ssh_strict_host_key_checking": "yes",
                "ssh_look_for_keys": False,
                "node_name": machine.name,
                "node_address": str(machine.address),
            }
            yield f"@lab/{machine.name}", data, []

    def connect(self) -> None:
        try:
            spec = load_spec()
            if _provider(spec).ensure(spec.machine(self.host.data.node_name)):
                logger.info(f"{self.host.print_prefix}machine started")
        except (LabError, OSError) as error:
            # An OSError is this host's: no space for the machine's files, for one.
            raise ConnectError(str(error)) from error
        super().connect()
        keep_alive(self, unanswered_s=UNANSWERED_S)

    def put_file(self, filename_or_io: Any, remote_filename: str, *more: Any, **arguments: Any) -> bool:
        """By SFTP, but for files that the machine sees already: those get another name there."""
        seen = _provider(load_spec()).seen_as(Path(filename_or_io)) if isinstance(filename_or_io, str) else None
        if seen is None:
            return super().put_file(filename_or_io, remote_filename, *more, **arguments)
        done, _ = self.run_shell_command(StringCommand("ln", "--symbolic", "--force", QuoteString(seen), QuoteString(remote_filename)))
        return done


def _provider(spec: ClusterSpec) -> Provider:
    return _providers.setdefault(spec, provider_for(spec))
