"""What ends a process with one line for its user instead of a traceback.

    Fatal
    ├── StartError      a component cannot start as it was configured
    ├── TlsError        a certificate or key cannot be used (process.tls)
    ├── KubeconfigError a kubeconfig cannot be used (client.kubeconfig)
    └── LostLease       it led, and cannot any more (client.leader_election)

A wrong flag is `process.flags.FlagError`: it has an exit code of its own.
"""


class Fatal(Exception):
    """The message says what is wrong, where, and what to do."""


class StartError(Fatal):
    pass


class TlsError(Fatal):
    """The message names the file."""
