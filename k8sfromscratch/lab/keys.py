"""SSH keys of the lab: one for us, one for each machine, and a known_hosts file of our own.

Machines' keys are made here and written into their roots, so that every connection is checked strictly from the first one on.  Rebuilt
machines keep their addresses *and* their keys, and the user's own known_hosts is never touched.  All keys are made before the first
connection: pyinfra reads known_hosts once.
"""

from pathlib import Path

from k8sfromscratch.lab.record import LAB_DIR
from k8sfromscratch.lab.shell import run
from k8sfromscratch.lab.spec import ClusterSpec

KEY_FILE = LAB_DIR / "ssh" / "id_ed25519"
KNOWN_HOSTS = LAB_DIR / "ssh" / "known_hosts"


def ensure(spec: ClusterSpec) -> None:
    _ensure_key(KEY_FILE, "lab")
    lines = []
    for machine in spec.machines:
        host_key = host_key_file(machine.name)
        _ensure_key(host_key, machine.name)
        kind, value, *_ = host_key.with_suffix(".pub").read_text().split()
        lines.append(f"{machine.address} {kind} {value}\n")
    text = "".join(lines)
    if not KNOWN_HOSTS.exists() or KNOWN_HOSTS.read_text() != text:
        KNOWN_HOSTS.write_text(text)


def host_key_file(machine: str) -> Path:
    """The machine's private host key; its public half is beside it with the suffix `.pub`."""
    return LAB_DIR / "ssh" / f"host_{machine}"


def _ensure_key(file: Path, comment: str) -> None:
    """Made under another name; the private half is put in place last, so that a pair that is there is whole."""
    if not file.exists() or not file.with_suffix(".pub").exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = file.with_name(f"{file.name}.new")
        for half in (file, fresh, fresh.with_suffix(".new.pub")):
            half.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", fresh])
        fresh.with_suffix(".new.pub").replace(file.with_suffix(".pub"))
        fresh.replace(file)
