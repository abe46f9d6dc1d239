"""What can go wrong with the lab, always said in words a person can act on.

LabError
├── SpecError       the cluster spec is wrong; names the field
├── MissingTool     this machine lacks a program or a privilege; says what to install or do
├── CommandFailed   a program we ran failed; carries its command line and what it wrote to standard error
└── NotReady        a machine did not come up in time
"""


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
