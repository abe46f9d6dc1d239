"""`python -m k8sfromscratch.lab up | down | status | stop NAME | start NAME | kubectl | helm`: what `make lab` and `make lab-down` wrap.

`kubectl` and `helm` make sure that there is one, and print its path.

`up` makes the machines' image and what they install side by side, then does what `pyinfra inventories/lab.py deploy.py` alone would do too,
one thing after the other: `provision`.  It shows a line a host and phase; everything else is in `.lab/logs`.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from k8sfromscratch.lab import artifacts, kubectl, settled
from k8sfromscratch.lab.errors import LabError, SpecError, of_this_host
from k8sfromscratch.lab.phases import THIS_HOST, Event
from k8sfromscratch.lab.progress import Progress
from k8sfromscratch.lab.providers import Provider, provider_for
from k8sfromscratch.lab.record import LAB_DIR, Record
from k8sfromscratch.lab.shell import run
from k8sfromscratch.lab.spec import ROOT, ClusterSpec, load_spec

LOGS_KEPT = 10
INTERRUPTED = 130
"""As shells tell of a program that Ctrl-C has ended."""


def up(spec: ClusterSpec) -> int:
    settled.check(spec)
    provider = provider_for(spec)
    console = Console(highlight=False, soft_wrap=True)
    with _alone():
        console.print(f"Lab {spec.name!r}: {spec.masters} masters, {spec.workers} workers, {spec.provider} machines, {spec.runtime}")
        for name in spec.surplus(provider.names()):
            console.print(f"Removing {name}, which the cluster spec no longer has")
            with Record.locked() as record:
                record.left = sorted({*record.left, name})
            provider.remove(name)
        with Progress(_new_log(), console) as shown:
            status = _provision(provider, shown)
            if status == 0:
                _forget_nodes(spec, provider.kubeconfig)
            took_s = time.monotonic() - shown.began_s
    shown.timings.save(LAB_DIR / "logs" / "phases.json", took_s)
    shown.summary()
    if status != 0:
        console.print(f"The deploy failed.  It can be run again as it is, and goes on from there.  The whole log: {shown.log}")
        return status
    config = LAB_DIR / "admin.kubeconfig"
    console.print(f"The cluster is up after {took_s:.1f} s.  Use it with:\n\n    {kubectl.ensure()} --kubeconfig {config} get nodes\n")
    return 0


def _provision(provider: Provider, shown: Progress) -> int:
    """Starts the provisioner, which loads while this host is prepared, then shows what it tells."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "k8sfromscratch.lab.provision", provider.inventory, str(writing)]
    with shown.log.open("ab") as log, os.fdopen(reading) as events:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYINFRA_PROGRESS": "off", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
        )
        os.close(writing)
        try:
            shown.take(Event("begin", THIS_HOST, "Prepare"))
            _prepare(provider)
            shown.take(Event("done", THIS_HOST, "Prepare"))
            assert child.stdin is not None
            try:
                child.stdin.write(b"go\n")
                child.stdin.close()
            except BrokenPipeError:
                pass  # it has ended already: the log has why
            for line in events:
                shown.take(Event.of_line(line))
            return child.wait()
        finally:
            if child.stdin is not None and not child.stdin.closed:
                child.stdin.close()  # a provisioner that has not begun ends
            child.wait()


def _forget_nodes(spec: ClusterSpec, kubeconfig: Path) -> None:
    """Of machines that were removed: the cluster would wait for them, and show them as lost, for ever."""
    left = Record.load().left
    back = {machine.name for machine in spec.machines}
    if gone := [name for name in left if name not in back]:
        run([kubectl.ensure(), f"--kubeconfig={kubeconfig}", "delete", "node", "--ignore-not-found", *gone])
    if left:
        with Record.locked() as record:
            record.left = []


def _prepare(provider: Provider) -> None:
    with ThreadPoolExecutor() as pool:
        for step in [pool.submit(work) for work in (provider.prepare, artifacts.ensure, kubectl.ensure)]:
            step.result()


@contextmanager
def _alone() -> Iterator[None]:
    """One that makes or takes down at a time: the kernel gives the lock back when the process ends, in whatever way."""
    LAB_DIR.mkdir(parents=True, exist_ok=True)
    with (LAB_DIR / "up.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another `make lab` is at work on this lab: wait for its end") from None
        yield


def _new_log() -> Path:
    """Of this run; the last few stay."""
    directory = LAB_DIR / "logs"
    directory.mkdir(parents=True, exist_ok=True)
    for old in sorted(directory.glob("up-*.log"))[: -LOGS_KEPT + 1]:
        old.unlink()
    return directory / f"up-{time.strftime('%Y%m%d-%H%M%S')}.log"


def down(spec: ClusterSpec) -> int:
    with _alone():
        if Record.load().provider == "" and Record.load().network is None:
            shutil.rmtree(LAB_DIR, ignore_errors=True)  # of a run that ended before it made anything
            _say("There is no lab.")
            return 0
        provider_for(spec).tear_down()
        shutil.rmtree(LAB_DIR)
    _say("The lab is gone: machines, bridge, firewall rules, cgroups, keys and certificates.")
    return 0


def status(spec: ClusterSpec) -> int:
    for name, running in provider_for(spec).names().items():
        address = next((str(machine.address) for machine in spec.machines if machine.name == name), "not in the cluster spec")
        print(f"{name}\t{'running' if running else 'stopped'}\t{address}")
    return 0


def _spec_of_lab() -> ClusterSpec:
    """What this lab was made with, whatever LAB_* says now.  Vagrant's machines are no part of it."""
    spec = load_spec()
    return spec if spec.provider == "vagrant" else load_spec(settled=settled.of_lab(Record.load()))


def _not_vagrants(spec: ClusterSpec) -> ClusterSpec:
    if spec.provider == "vagrant":
        raise SpecError("Vagrant's machines are made and deployed by `vagrant up`, and removed by `vagrant destroy -f`")
    return spec


def _say(text: str) -> None:
    print(text, flush=True)


def main(argv: Sequence[str]) -> int:
    try:
        match list(argv):
            case ["up"]:
                return up(_not_vagrants(load_spec()))
            case ["down"]:
                return down(_not_vagrants(_spec_of_lab()))
            case [("kubectl" | "helm") as program]:
                print(kubectl.ensure(program))
                return 0
            case ["status"]:
                return status(_spec_of_lab())
            case ["stop", name]:
                spec = _spec_of_lab()
                provider_for(spec).stop(spec.machine(name), power_off=True)
                return 0
            case ["start", name]:
                spec = _spec_of_lab()
                provider_for(spec).ensure(spec.machine(name))
                return 0
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"lab: {of_this_host(error, LAB_DIR)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted.  It can be run again as it is, and goes on from there", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
