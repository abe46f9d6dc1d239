"""Files on machines: compared by content, mode and owner in one round trip, written in another where they differ."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.lib.commands import File, Steps
from roles.lib.facts import Files

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).resolve().parents[2] / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, **values: Any) -> str:
    """A template of `templates/`; a name it uses and is not given is an error."""
    return TEMPLATES.get_template(template).render(**values)


@operation()
def files(wanted: Sequence[File]) -> Generator[Steps, None, None]:
    """Makes the files (and their directories) as they should be."""
    present = host.get_fact(Files, paths=[file.path for file in wanted])
    changed = [file for file in wanted if not _is_as_wanted(file, present.get(file.path))]
    if changed:
        yield Steps(files=changed)


def _is_as_wanted(file: File, state: Any) -> bool:
    return state is not None and (state.sha256, state.mode, state.owner, state.group) == (file.sha256, file.mode, file.owner, file.group)
