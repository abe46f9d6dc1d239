"""One of our components as a systemd unit."""

from collections.abc import Sequence

from roles.lib.commands import File
from roles.lib.services import unit

PYTHON = "/opt/k8sfromscratch/bin/python"


def component_unit(name: str, module: str, *, argv: Sequence[str], reads: Sequence[File], wheel: str, description: str) -> str:
    """The text of NAME.service.  It restarts when a flag, a file in `reads`, or the installed wheel (`wheel` is its hash) changes."""
    return unit(f"{name}.service.j2", reads=[*reads, wheel], python=PYTHON, module=module, argv=argv, description=description)
