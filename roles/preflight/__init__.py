"""Looks at every machine before anything is changed on any, and tells what will not do in one table.

    connect ─► look at each (one fact) ─► all looked at: the table ─► refuse

All hosts are read while the deploy is prepared; the first operation fails on those with problems, so that with `--fail-percent=0` nothing at
all is changed, and without it the others go on.  Without a master nobody can: then each is refused.  `deploy.py` prepares nothing more for
a host that will not do.
"""

import time
from collections.abc import Generator
from ipaddress import IPv4Network

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation
from pyinfra.context import host, inventory, state
from rich.console import Console
from rich.table import Table

from k8sfromscratch.lab.own_connector import unreachable as reasons
from k8sfromscratch.lab.wheelhouse import NODE_PYTHON
from roles.base import MODULES, SYSCTLS
from roles.base import PACKAGES as BASE_PACKAGES
from roles.lib.cluster import balanced, node_of, unreachable
from roles.preflight.ground import Ground, ReadGround
from roles.preflight.judge import Wanted, problems
from roles.preflight.releases import PYTHONS
from roles.runtime import PACKAGES as RUNTIME_PACKAGES

_found: dict[str, list[str]] = {}
"""Host → what was found there.  A deploy file runs once for each host, in one process."""
_grounds: dict[str, Ground] = {}


@deploy("Preflight")
def preflight() -> None:
    _found[host.name] = _look()
    expected = {each.name for each in state.activated_hosts}
    if expected <= _found.keys():
        away = {each.name: [reasons.get(each.name, "it could not be reached")] for each in inventory if unreachable(each)}
        if away or any(_found.values()):
            show({**_found, **away}, Console(stderr=True))
    refuse(name="The machine will do")


def passed() -> bool:
    """Whether this host will do."""
    return not _found[host.name]


def python() -> str:
    """The Python of this host's release."""
    return PYTHONS.get(_grounds[host.name].release, NODE_PYTHON)


def _look() -> list[str]:
    before_s = time.time()
    ground = host.get_fact(ReadGround, modules=list(MODULES), packages=[*BASE_PACKAGES, *RUNTIME_PACKAGES], _ignore_errors=True)
    after_s = time.time()
    if not isinstance(ground, Ground):
        return ["it could not be read; what it said is above: may its user use sudo, without a password or with KFS_SUDO_PASSWORD?"]
    _grounds[host.name] = ground
    ranges = {setting: IPv4Network(getattr(host.data, setting)) for setting in ("pod_cidr", "service_cidr")}
    # Workers' ports are every node's: masters run a kubelet too.
    groups = {*host.groups, "workers", *(["balanced"] if balanced() else [])}
    wanted = Wanted(frozenset(groups), node_of(host).address, ranges, SYSCTLS)
    return problems(ground, wanted, (before_s, after_s))


@operation()
def refuse() -> Generator[StringCommand, None, None]:
    """Nothing to do on a machine without problems.  What other hosts have is known when this is carried out: all are looked at by then."""
    said = _found[host.name]
    masters = inventory.get_group("masters")
    untried = [each for each in masters if not state.is_host_in_limit(each)]
    reached = {each.name for each in masters if each in state.activated_hosts}
    if not said and not untried and reached <= _found.keys() and not any(_found[name] == [] for name in reached):
        said = ["none of the masters will do"]
    if said:
        text = "; ".join(said).replace("'", "'\"'\"'")
        yield StringCommand(f"echo 'preflight: {text}' >&2; exit 1")


def show(found: dict[str, list[str]], console: Console) -> None:
    table = Table(title="Preflight", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("HOST", no_wrap=True)
    table.add_column("PROBLEM", overflow="fold")
    for name, said in sorted(found.items()):
        for number, problem in enumerate(said or ["none"]):
            table.add_row(name if number == 0 else "", problem, style="red" if said else "green")
    console.print(table)
