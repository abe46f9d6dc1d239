"""Looks at every machine before anything is changed on any, and tells what will not do in one table.

All hosts are read while the deploy is prepared; the first operation is one that fails on those with problems, so that with
`--fail-percent=0` nothing at all is changed, and without it the others go on.
"""

import time
from collections.abc import Generator
from ipaddress import IPv4Network

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation
from pyinfra.context import host, inventory
from rich.console import Console
from rich.table import Table

from roles.base import MODULES
from roles.lib.cluster import node_of
from roles.preflight.ground import ReadGround, problems

_found: dict[str, list[str]] = {}
"""Host → what was found there.  A deploy file runs once for each host, in one process."""


@deploy("Preflight")
def preflight() -> None:
    found = _look()
    _found[host.name] = found
    if len(_found) == len(inventory) and any(_found.values()):
        show(_found, Console(stderr=True))
    refuse(name="The machine will do", problems=found)


def _look() -> list[str]:
    before_s = time.time()
    ground = host.get_fact(ReadGround, modules=list(MODULES))
    after_s = time.time()
    if ground is None:
        return ["it could not be read: is the user root, or `_sudo` set?"]
    ranges = {setting: IPv4Network(getattr(host.data, setting)) for setting in ("pod_cidr", "service_cidr")}
    # Workers' ports are every node's: masters run a kubelet too.
    groups = {*host.groups, "workers"}
    return problems(ground, groups, node_of(host).address, ranges, (before_s, after_s))


@operation()
def refuse(problems: list[str]) -> Generator[StringCommand, None, None]:
    """Nothing to do on a machine without problems."""
    if problems:
        text = "; ".join(problems).replace("'", "'\"'\"'")
        yield StringCommand(f"echo 'preflight: {text}' >&2; exit 1")


def show(found: dict[str, list[str]], console: Console) -> None:
    table = Table(title="Preflight", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("HOST", no_wrap=True)
    table.add_column("PROBLEM", overflow="fold")
    for name, said in sorted(found.items()):
        for number, problem in enumerate(said or ["none"]):
            table.add_row(name if number == 0 else "", problem, style="red" if said else "green")
    console.print(table)
