"""systemd services: restarted when, and only when, something they were started from has changed.

What a service is started from (its unit, the files it reads, the wheel it runs) is hashed on the control host into its *inputs*; the
unit carries them in its environment (KFS_INPUTS).  The operation compares the inputs of the process that runs now, read from
/proc/PID/environ, with the wanted ones.  So a deploy that was interrupted between writing a file and restarting the service
is finished by the next, a service that nobody changed is left alone, and there is no state besides the machine's own.
"""

import hashlib
import shlex
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyinfra.api.operation import operation
from pyinfra.context import host

from k8sfromscratch.lab.environment import VENV
from roles.lib.commands import File, Steps
from roles.lib.facts import Answers, Files, Units
from roles.lib.files import render

UNIT_DIRECTORY = "/etc/systemd/system"
PROBE = File("/usr/local/lib/k8sfromscratch/probe.py", Path(__file__).with_name("probe.py").read_text(), mode="755")
POLL_S = 0.1


def unit(template: str, reads: Sequence[File | str] = (), **values: Any) -> str:
    """The text of a unit from a template in `templates/systemd/`, with the inputs of all that the service reads: files, and names of other things."""
    body = render(f"systemd/{template}", inputs="@inputs@", **values)
    digest = hashlib.sha256(body.encode())
    for thing in reads:
        digest.update(b"\0" + (thing.sha256 if isinstance(thing, File) else thing).encode())
    return body.replace("@inputs@", digest.hexdigest()[:20])


def inputs_of(text: str) -> str:
    """What `unit` put in: the value of KFS_INPUTS."""
    for line in text.splitlines():
        if line.startswith("Environment=KFS_INPUTS="):
            return line.rpartition("=")[2]
    raise ValueError("a unit without Environment=KFS_INPUTS")


@operation()
def services(units: dict[str, str]) -> Generator[Steps, None, None]:
    """Units by name ("etcd.service" → text), in the order they are to start: written, enabled, running from their present inputs."""
    wanted = {name: File(f"{UNIT_DIRECTORY}/{name}", text) for name, text in units.items()}
    written = host.get_fact(Files, paths=[file.path for file in wanted.values()])
    states = host.get_fact(Units, units=list(units))
    fresh = [file for file in wanted.values() if file.path not in written or written[file.path].sha256 != file.sha256]
    commands = []
    disabled = [name for name in units if not states[name].enabled]
    if disabled:
        commands.append(f"systemctl --quiet --no-reload enable {' '.join(disabled)}")
    if fresh or disabled or any(state.needs_reload for state in states.values()):
        commands.append("systemctl daemon-reload")
    stale = [name for name, text in units.items() if not states[name].active or states[name].inputs != inputs_of(text)]
    if stale:
        commands.append(f"systemctl restart {' '.join(stale)}")
    if commands:
        yield Steps(*commands, files=fresh)


@operation()
def healthy(units: Mapping[str, str], timeout_s: int = 60) -> Generator[str, None, None]:
    """Unit → what the probe is to ask about it (see `probe.py`).  Waits until each is well; if one is not in time, fails with its last log lines.

    The host's `patience` multiplies all times: a virtual machine without KVM is ten times slower, and asking it too often makes it slower yet.
    """
    if host.get_fact(Answers, check=probe(units)):
        return
    patience = getattr(host.data, "patience", None) or 1
    yield probe(units, f"--within={timeout_s * patience:g}", f"--every={POLL_S * patience:g}")


def probe(units: Mapping[str, str], *options: str) -> str:
    """The probe's command line.  Our Python is the client that every machine has."""
    return " ".join((f"{VENV}/bin/python", PROBE.path, *options, " , ".join(f"{unit} {check}" for unit, check in units.items())))


def answers(url: str, *, ca: str = "") -> str:
    """What the probe is to ask: whether the URL answers 200."""
    return shlex.join(filter(None, ("http", url, ca)))
