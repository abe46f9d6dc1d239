"""Files on machines: compared by content, mode and owner in one round trip, uploaded where they differ."""

import hashlib
import io
import posixpath
import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pyinfra.api.command import FileUploadCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.lib.facts import Files

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).resolve().parents[2] / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True)
class File:
    """A file as it should be.  `mode` is octal text without a leading zero ("640"), as `stat` prints it."""

    path: str
    content: str
    mode: str = "644"
    owner: str = "root"
    group: str = "root"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()


def render(template: str, **values: Any) -> str:
    """A template of `templates/`; a name it uses and is not given is an error."""
    return TEMPLATES.get_template(template).render(**values)


@operation()
def files(wanted: Sequence[File]) -> Generator[Any, None, None]:
    """Makes the files (and their directories) as they should be.  A fresh file is written beside its place and moved there, so nobody reads half of it."""
    present = host.get_fact(Files, paths=[file.path for file in wanted])
    changed = [file for file in wanted if not _is_as_wanted(file, present.get(file.path))]
    directories = sorted({posixpath.dirname(file.path) for file in changed})
    if directories:
        yield "mkdir -p " + " ".join(map(shlex.quote, directories))
    for file in changed:
        fresh = f"{file.path}.new"
        place = f"chown {file.owner}:{file.group} {fresh} && chmod {file.mode} {fresh} && mv {fresh} {file.path}"
        yield FileUploadCommand(io.StringIO(file.content), fresh)
        yield place


def _is_as_wanted(file: File, state: Any) -> bool:
    return state is not None and (state.sha256, state.mode, state.owner, state.group) == (file.sha256, file.mode, file.owner, file.group)
