"""Several commands as one: what an operation has to do on a machine is one round trip, with the files that it needs.

A round trip costs more than most commands do, and a file that is sent by SFTP takes five of them.  So files come by the command's standard
input, as a tar archive.  That is also where they are safe: an argument can be read by every process of the machine, and what SFTP writes
can be until its mode is changed, which for a private key is too late.
"""

import hashlib
import io
import posixpath
import shlex
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyinfra.api.command import StringCommand

FRESH = ".new"


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


class Steps(StringCommand):
    """The files are put in their places, then the shell commands run, one after the other up to the first that fails.

    A fresh file is written beside its place and moved there, so nobody reads half of it.
    """

    def __init__(self, *commands: str, files: Sequence[File] = ()) -> None:
        self.commands = commands
        self.files = tuple(files)
        words = " && ".join((*_placing(files), *commands))
        if files:
            super().__init__(words, _stdin=archive(files))
        else:
            super().__init__(words)


def _placing(files: Sequence[File]) -> Iterable[str]:
    if not files:
        return
    # tar takes a user that the machine does not have for root.
    for owner in sorted({file.owner for file in files} - {"root"}):
        yield f"id {shlex.quote(owner)} >/dev/null"
    yield "mkdir -p " + " ".join(shlex.quote(directory) for directory in sorted({posixpath.dirname(file.path) for file in files}))
    # With the mode and the owner of the archive, and this moment's time.  It makes a file with the rights of its mode at most.
    yield "tar --extract --absolute-names --preserve-permissions --same-owner --touch --file -"
    yield f'for file in {" ".join(shlex.quote(file.path) for file in files)}; do mv --force "$file{FRESH}" "$file" || exit 1; done'


def archive(files: Sequence[File]) -> str:
    """As text, which is what pyinfra sends: our files are text, and of what tar writes around them nothing is not."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for file in files:
            content = file.content.encode()
            entry = tarfile.TarInfo(file.path + FRESH)
            entry.size, entry.mode, entry.uname, entry.gname = len(content), int(file.mode, 8), file.owner, file.group
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue().decode()
