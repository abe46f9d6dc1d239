"""Vagrant's machines, as the inventory needs them: who is up, and how SSH reaches each.

Vagrant decides the address, the user and the key; the machine's name says what it is in the cluster.  Asking takes seconds, so it is
asked once a process.  SSH's host keys are kept beside Vagrant's own record of the machine, under the machine's id: a machine made anew
is another machine, whose key is learnt at the first connection.

What a deploy makes on this host (certificates, kubeconfig) lies in `directory()`, apart from what belongs to a lab of `make lab`.
"""

import os
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from k8sfromscratch.lab.errors import NotReady
from k8sfromscratch.lab.shell import run
from k8sfromscratch.lab.spec import ROOT

ASK_TIMEOUT_S = 300
"""Vagrant loads for seconds, and for long while machines without KVM keep this host busy."""


@dataclass(frozen=True)
class VagrantMachine:
    name: str
    address: str
    port: int
    user: str
    key: Path
    known_hosts: Path


def dotfile() -> Path:
    """Where Vagrant keeps what it knows of this directory's machines."""
    return Path(os.environ.get("VAGRANT_DOTFILE_PATH", ROOT / ".vagrant"))


def directory() -> Path:
    """What belongs to the cluster on Vagrant's machines: `pki/`, `admin.kubeconfig`, who is up."""
    return dotfile() / "cluster"


@cache
def machines() -> tuple[VagrantMachine, ...]:
    """Those that are running."""
    running = [name for name, state in all_states().items() if state == "running"]
    if not running:
        return ()
    directory().mkdir(parents=True, exist_ok=True)  # for their keys: machines that came up without the hooks have none yet
    found = []
    for name, options in ssh_options(run(["vagrant", "ssh-config", *running], cwd=ROOT, timeout_s=ASK_TIMEOUT_S)).items():
        known_hosts = directory() / f"known_hosts-{name}-{machine_id(name)}"
        found.append(VagrantMachine(name, options["HostName"], int(options["Port"]), options["User"], Path(options["IdentityFile"]), known_hosts))
    return tuple(found)


def all_states() -> dict[str, str]:
    return states(run(["vagrant", "status", "--machine-readable"], cwd=ROOT, timeout_s=ASK_TIMEOUT_S))


def machine_id(name: str) -> str:
    """Of the machine that has this name now, with whichever provider.  Raises NotReady where there is none."""
    for file in sorted((dotfile() / "machines" / name).glob("*/id")):
        if text := file.read_text().strip():
            return text
    raise NotReady(f"Vagrant has no machine {name}: `vagrant up` makes it")


def by_libvirt(name: str) -> bool:
    """Whether it is a machine of vagrant-libvirt."""
    return (dotfile() / "machines" / name / "libvirt" / "id").exists()


def states(machine_readable: str) -> dict[str, str]:
    """Machine → state, of `vagrant status --machine-readable`: lines of `time,machine,type,data`."""
    rows = [line.split(",") for line in machine_readable.splitlines()]
    return {row[1]: row[3] for row in rows if len(row) > 3 and row[2] == "state"}


def ssh_options(config: str) -> dict[str, dict[str, str]]:
    """Host → options, of the syntax of ssh_config; of an option that is there twice, the first counts, as for ssh."""
    hosts: dict[str, dict[str, str]] = {}
    options: dict[str, str] = {}
    for line in config.splitlines():
        words = shlex.split(line)
        if len(words) < 2:
            continue
        if words[0] == "Host":
            options = hosts.setdefault(words[1], {})
        else:
            options.setdefault(words[0], words[1])
    return hosts
