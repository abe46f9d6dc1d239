"""`python -m k8sfromscratch.lab up | down | status | stop NAME | start NAME | kubectl | helm`: what `make lab` and `make lab-down` wrap.

`kubectl` and `helm` make sure that there is one, and print its path.

`up` makes the machines' image and what they install side by side, then runs `pyinfra inventories/lab.py deploy.py`, which alone would do
the same, one after the other.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from k8sfromscratch.lab import artifacts, kubectl
from k8sfromscratch.lab.errors import LabError
from k8sfromscratch.lab.providers import provider_for
from k8sfromscratch.lab.record import LAB_DIR, Record
from k8sfromscratch.lab.spec import ROOT, ClusterSpec, load_spec


def up(spec: ClusterSpec) -> int:
    provider = provider_for(spec)
    started = time.monotonic()
    _say(f"Lab {spec.name!r}: {spec.masters} masters, {spec.workers} workers, {spec.provider} machines, {spec.runtime}")
    for name in spec.surplus(provider.names()):
        _say(f"Removing {name}, which the cluster spec no longer has")
        provider.remove(name)
    with ThreadPoolExecutor() as pool:
        steps = [
            pool.submit(_timed, "node image, network, keys", provider.prepare),
            pool.submit(_timed, "wheels and container images", artifacts.ensure),
            pool.submit(_timed, "kubectl", kubectl.ensure),
        ]
        for step in steps:
            step.result()
    command = [sys.executable, "-m", "pyinfra", "inventories/lab.py", "deploy.py", "-y", "--fail-percent=0"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYINFRA_PROGRESS": "off"}, check=False)
    if done.returncode != 0:
        _say("The deploy failed; what went wrong is above.  It can be run again as it is.")
        return done.returncode
    config = LAB_DIR / "admin.kubeconfig"
    _say(f"The cluster is up after {time.monotonic() - started:.0f} s.  Use it with:\n\n    {kubectl.ensure()} --kubeconfig {config} get nodes\n")
    return 0


def down(spec: ClusterSpec) -> int:
    if Record.load().provider == "" and Record.load().network is None:
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


def _timed(what: str, work: Callable[[], object]) -> None:
    started = time.monotonic()
    work()
    _say(f"  {what}: {time.monotonic() - started:.1f} s")


def _say(text: str) -> None:
    print(text, flush=True)


def main(argv: Sequence[str]) -> int:
    try:
        spec = load_spec()
        match list(argv):
            case ["up"]:
                return up(spec)
            case ["down"]:
                return down(spec)
            case [("kubectl" | "helm") as program]:
                print(kubectl.ensure(program))
                return 0
            case ["status"]:
                return status(spec)
            case ["stop", name]:
                provider_for(spec).stop(spec.machine(name), power_off=True)
                return 0
            case ["start", name]:
                provider_for(spec).ensure(spec.machine(name))
                return 0
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
