"""What can go wrong with the lab, always said in words a person can act on.

LabError
├── SpecError       the cluster spec is wrong; names the field
├── MissingTool     this machine lacks a program or a privilege; says what to install or do
├── CommandFailed   a program we ran failed; carries its command line and what it wrote to standard error
└── NotReady        a machine did not come up in time
"""

import errno
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM)


class LabError(Exception):
    """The base: `str()` of any of these is the whole message for the user."""


class SpecError(LabError):
    pass


class MissingTool(LabError):
    pass


class CommandFailed(LabError):
    pass


class NotReady(LabError):
    pass


def of_this_host(error: OSError, where: Path) -> str:
    """What to do about a full disk, or what is another user's; `where` is told if the error names no file.  Raises any other: it is a fault of ours."""
    if error.errno in FULL:
        remedy = "free space there (`df -h`), then run it again: it goes on from there"
    elif error.errno in FORBIDDEN:
        remedy = "it is another user's: run it as who began it, or with sudo"
    else:
        raise error
    return f"this host: {error.filename or where}: {error.strerror}: {remedy}"
