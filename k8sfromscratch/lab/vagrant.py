"""Vagrant's machines, as the inventory needs them: who is up, and how SSH reaches each.

Vagrant decides the address, the user and the key; the machine's name says what it is in the cluster.  Asking takes seconds, so it is
asked once a process.  SSH's host keys are kept beside Vagrant's own record of the machine, under the machine's id: a machine made anew
is another machine, whose key is learnt at the first connection.
"""

import os
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from k8sfromscratch.lab.shell import run
from k8sfromscratch.lab.spec import ROOT


@dataclass(frozen=True)
class VagrantMachine:
    name: str
    address: str
    port: int
    user: str
    key: Path
    known_hosts: Path


@cache
def machines() -> tuple[VagrantMachine, ...]:
    """Those that are running."""
    dotfile = Path(os.environ.get("VAGRANT_DOTFILE_PATH", ROOT / ".vagrant"))
    running = [name for name, state in states(run(["vagrant", "status", "--machine-readable"], cwd=ROOT)).items() if state == "running"]
    found = []
    for name in running:
        options = ssh_options(run(["vagrant", "ssh-config", name], cwd=ROOT))
        directory = dotfile / "machines" / name / "libvirt"
        known_hosts = directory / f"known_hosts-{(directory / 'id').read_text().strip()}"
        found.append(VagrantMachine(name, options["HostName"], int(options["Port"]), options["User"], Path(options["IdentityFile"]), known_hosts))
    return tuple(found)


def states(machine_readable: str) -> dict[str, str]:
    """Machine → state, of `vagrant status --machine-readable`: lines of `time,machine,type,data`."""
    rows = [line.split(",") for line in machine_readable.splitlines()]
    return {row[1]: row[3] for row in rows if len(row) > 3 and row[2] == "state"}


def ssh_options(config: str) -> dict[str, str]:
    """The options of one host in the syntax of ssh_config; of an option that is there twice, the first counts, as for ssh."""
    options: dict[str, str] = {}
    for line in config.splitlines():
        words = shlex.split(line)
        if len(words) >= 2:
            options.setdefault(words[0], words[1])
    return options
