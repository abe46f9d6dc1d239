"""The order in which operations run: masters in step, every other host at its own pace.

pyinfra's command line makes every operation a barrier for all hosts, so a worker would wait while a master starts its control plane.  But
what a worker needs of others it waits for itself (`healthy`).  So hosts are put into lanes that run side by side: within a lane each
operation is a barrier, as roles for several masters count on; between lanes there is none, but for the first operation of all, the
preflight: if it fails anywhere, nothing is changed anywhere.  They meet once more before the last role, the checks: those wait for what
other hosts do, and their time is to count from when all have done it.

A host that fails leaves its lane, and the others go on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import gevent
from pyinfra.api.host import Host
from pyinfra.api.operations import run_host_op
from pyinfra.api.state import State
from pyinfra.context import ctx_host, ctx_state

from k8sfromscratch.lab.phases import Event, Teller, remedy_for

CAUSE_LINES = 25
"""Of what a failed operation printed."""
GONE = "the connection to it broke"
GONE_REMEDY = "if the machine has ended, running it again starts it; else look at its console or its SSH server"


@dataclass
class Lanes:
    state: State
    teller: Teller

    def run(self) -> None:
        """Everything prepared, on all hosts.  Who failed is in `state.failed_hosts` afterwards."""
        order: list[str] = self.state.get_op_order()  # type: ignore[no-untyped-call]
        self._totals = {host: sum(op in self.state.ops[host] for op in order) for host in self.state.inventory}
        self._behind = dict.fromkeys(self.state.inventory, 0)
        self.state.is_executing = True
        with ctx_state.use(self.state):
            everyone = self._active(self.state.inventory)
            self._together(order[0], everyone)
            if len(self._active(everyone)) < len(everyone):
                return  # a machine that did not come up at all has been told of, and stops nobody
            masters = [host for host in everyone if "masters" in host.groups]
            lanes = [lane for lane in (masters, *([host] for host in everyone if host not in masters)) if lane]
            last = self._phase(order[-1])
            checks = next(place for place, op in enumerate(order) if self._phase(op) == last)
            for part in (order[1:checks], order[checks:]):
                gevent.joinall([gevent.spawn(self._lane, lane, part) for lane in lanes], raise_error=True)
            for host in self._active(everyone):
                self.teller.tell(Event("done", host.data.node_name, "", place=self._behind[host], of=self._totals[host]))

    def _lane(self, hosts: Sequence[Host], order: Sequence[str]) -> None:
        for op in order:
            self._together(op, self._active(hosts))

    def _phase(self, op: str) -> str:
        return self._title(op).rpartition(" | ")[0]

    def _title(self, op: str) -> str:
        return ", ".join(sorted(self.state.get_op_meta(op).names))

    def _active(self, hosts: Iterable[Host]) -> list[Host]:
        return [host for host in hosts if host in self.state.active_hosts]

    def _together(self, op: str, hosts: Sequence[Host]) -> None:
        """One operation on those hosts that have it; serial where it asks for that."""
        having = [host for host in hosts if op in self.state.ops[host]]
        if self.state.get_op_meta(op).global_arguments["_serial"]:
            for host in having:
                self._one(op, host)
        else:
            gevent.joinall([gevent.spawn(self._one, op, host) for host in having], raise_error=True)

    def _one(self, op: str, host: Host) -> None:
        phase, _, operation = self._title(op).rpartition(" | ")
        name = host.data.node_name
        self.teller.enter(name, phase, self._behind[host], self._totals[host])
        broke = ""
        try:
            with ctx_host.use(host):
                succeeded = run_host_op(self.state, host, op)
        except Exception as error:
            # Of a machine that ended: paramiko has many names for it, and pyinfra does not know them all.
            succeeded, broke = False, f"{GONE}: {type(error).__name__} {error}".strip()
        self._behind[host] += 1
        if succeeded:
            changed = bool(self.state.ops[host][op].operation_meta._commands)
            self.teller.tell(Event("step", name, phase, operation, changed, self._behind[host], self._totals[host]))
            return
        self.state.failed_hosts.add(host)
        self.state.active_hosts.discard(host)
        said = [] if broke else _said(self.state, op, host)
        if broke or not (said or self._alive(host)):
            self.teller.tell(Event("lost", name, phase, operation, cause=broke or GONE, remedy=GONE_REMEDY))
        else:
            cause = said or ["it says nothing"]
            self.teller.tell(Event("failed", name, phase, operation, cause="\n".join(cause[-CAUSE_LINES:]), remedy=remedy_for(cause)))

    def _alive(self, host: Host) -> bool:
        client = getattr(host.connector, "client", None)
        transport = client.get_transport() if client is not None else None
        return transport is not None and transport.is_active()


def _said(state: State, op: str, host: Host) -> list[str]:
    meta = state.ops[host][op].operation_meta
    return [line for line in (*meta.stdout_lines, *meta.stderr_lines) if line.strip()] if meta.is_complete() else []
