"""systemd services: restarted when, and only when, something they were started from has changed.

What a service is started from (its unit, the files it reads, the wheel it runs) is hashed on the control host into its *inputs*; the
unit carries them in its environment (KFS_INPUTS).  The operation compares the inputs of the process that runs now, read from
/proc/PID/environ, with the wanted ones.  So a deploy that was interrupted between writing a file and restarting the service
is finished by the next, a service that nobody changed is left alone, and there is no state besides the machine's own.
"""

import hashlib
import io
import shlex
from collections.abc import Generator, Sequence
from typing import Any

from pyinfra.api.command import FileUploadCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from k8sfromscratch.lab.environment import VENV
from roles.lib.facts import Answers, Files, Units
from roles.lib.files import File, render

UNIT_DIRECTORY = "/etc/systemd/system"


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
def services(units: dict[str, str]) -> Generator[Any, None, None]:
    """Units by name ("etcd.service" → text), in the order they are to start: written, enabled, running from their present inputs."""
    paths = {name: f"{UNIT_DIRECTORY}/{name}" for name in units}
    written = host.get_fact(Files, paths=list(paths.values()))
    states = host.get_fact(Units, units=list(units))
    reload = False
    for name, text in units.items():
        state = written.get(paths[name])
        if state is None or state.sha256 != hashlib.sha256(text.encode()).hexdigest():
            yield FileUploadCommand(io.StringIO(text), paths[name])
            reload = True
        reload = reload or states[name].needs_reload
    if reload:
        yield "systemctl daemon-reload"
    disabled = [name for name in units if not states[name].enabled]
    if disabled:
        yield f"systemctl --quiet enable {' '.join(disabled)}"
    stale = [name for name, text in units.items() if not states[name].active or states[name].inputs != inputs_of(text)]
    if stale:
        yield f"systemctl restart {' '.join(stale)}"


@operation()
def healthy(unit: str, check: str, timeout_s: int = 60) -> Generator[str, None, None]:
    """Waits until `check` (a shell command on the machine) succeeds; if it does not in time, fails with the unit's last log lines.

    The host's `patience` multiplies all times: a virtual machine without KVM is ten times slower, and asking it too often makes it slower yet.
    """
    if host.get_fact(Answers, check=check):
        return
    patience = getattr(host.data, "patience", None) or 1
    timeout_s = int(timeout_s * patience)
    wait = f"timeout {timeout_s} sh -c {shlex.quote(f'until ( {check} ) >/dev/null 2>&1; do sleep {0.2 * patience:g}; done')}"
    yield f"{wait} || {{ echo '{unit} is not healthy after {timeout_s} s; its log ends:'; journalctl --no-pager --lines 40 --unit {unit}; exit 1; }}"


def health_check(url: str, *, ca: str = "") -> str:
    """A shell command that succeeds when the URL answers 200.  Our Python is the client that every machine has."""
    context = f", context=ssl.create_default_context(cafile={ca!r})" if ca else ""
    return f"{VENV}/bin/python -c " + shlex.quote(f"import ssl, urllib.request as r; r.urlopen({url!r}, timeout=5{context})")
