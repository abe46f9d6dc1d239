"""`python -m k8sfromscratch.lab.provision INVENTORY EVENTS_FD`: what `pyinfra INVENTORY deploy.py -y` does, with events and in lanes.

A process of its own, since pyinfra runs all hosts as gevent's greenlets and patches the standard library for that.  pyinfra's own output
goes to standard output; the events to the file descriptor.  It loads while `up` prepares, and begins when its standard input says so.
"""

import pyinfra_cli  # noqa: F401, I001  it patches the standard library: before everything else

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click
import gevent
import pyinfra
from pyinfra.api.config import Config
from pyinfra.api.connect import disconnect_all
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.output import set_echo, set_formatter
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.log import setup_logging
from pyinfra_cli.prints import print_results
from pyinfra_cli.util import load_deploy_file

from k8sfromscratch.lab.errors import LabError
from k8sfromscratch.lab.lanes import Lanes
from k8sfromscratch.lab.phases import CONNECT_REMEDY, THIS_HOST, Event, Teller, fatal, remedy_for
from k8sfromscratch.lab.spec import ROOT


def provision(inventory_file: str, teller: Teller) -> int:
    """The exit status: 0 if every host got all it was to get."""
    state = State(check_for_changes=False)
    state.cwd = str(ROOT)
    config = Config()  # type: ignore[no-untyped-call]
    ctx_state.set(state)  # type: ignore[no-untyped-call]
    ctx_config.set(config)  # type: ignore[no-untyped-call]
    config.lock_current_state()
    inventory = make_inventory(inventory_file, cwd=state.cwd)
    ctx_inventory.set(inventory)  # type: ignore[no-untyped-call]
    state.init(inventory, config)
    try:
        return _deploy(state, teller)
    finally:
        disconnect_all(state)


def _deploy(state: State, teller: Teller) -> int:
    state.set_stage(StateStage.Connect)
    certificates = gevent.spawn(_make_certificates, state, teller)
    gevent.joinall([gevent.spawn(_connect, host, teller) for host in state.inventory], raise_error=True)
    certificates.get()
    for host in state.inventory:
        if host.connected:
            state.activate_host(host)
        else:
            state.failed_hosts.add(host)
    if not state.active_hosts:
        return 1
    state.set_stage(StateStage.Prepare)
    load_deploy_file(state, "deploy.py")
    state.set_stage(StateStage.Execute)
    Lanes(state, teller).run()
    state.set_stage(StateStage.Disconnect)
    print_results(state)
    return 1 if state.failed_hosts else 0


def _connect(host: Host, teller: Teller) -> None:
    """The machine boots, if need be, and answers."""
    name = host.data.node_name
    teller.enter(name, "Machine")
    try:
        host.connect(raise_exceptions=True)
    except ConnectError as error:
        teller.tell(Event("failed", name, "Machine", "boot and connect", cause=str(error), remedy=remedy_for([str(error)], CONNECT_REMEDY)))
    else:
        teller.enter(name, "Look")


def _make_certificates(state: State, teller: Teller) -> None:
    """While the machines boot: the inventory says all that certificates need to know."""
    teller.enter(THIS_HOST, "PKI")
    with ctx_host.use(next(iter(state.inventory))):
        import_module("roles.pki").authority()
    teller.tell(Event("done", THIS_HOST, "PKI"))


def main(argv: Sequence[str]) -> int:
    inventory, descriptor = argv
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    pyinfra.is_cli = True
    set_formatter(lambda text, *_words, **_styles: text)
    set_echo(click.echo)
    setup_logging(logging.INFO)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    with os.fdopen(int(descriptor), "w") as stream:
        teller = Teller(stream)
        if not sys.stdin.readline():
            return 1  # `up` has ended, or has found that it cannot begin
        try:
            return provision(inventory, teller)
        except Exception as error:
            traceback.print_exc()
            teller.tell(fatal(error, foreseen=isinstance(error, PyinfraError | LabError)))
            return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
