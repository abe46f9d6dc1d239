"""What the Vagrantfile runs on this host as machines come and go, so that `vagrant up` alone gives a cluster.

    before up NAME    starting   the machine is not up (any more)
    after up NAME     started    it is; where with it all are, they are deployed
    after destroy     gone       and with the last one, certificates and kubeconfig

Vagrant brings machines up in parallel and has no hook for when all are: each one's is asked under a lock, and the one that finds all of them
up deploys.  `up/NAME` holds the id of the machine that came up under this name; since a host may have been switched off in between, every
machine must also answer.  One run of Vagrant deploys once (KFS_VAGRANT_RUN names it), however many machines it brings up.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from k8sfromscratch.lab import kubectl, vagrant
from k8sfromscratch.lab.errors import LabError, NotReady, of_this_host
from k8sfromscratch.lab.providers.base import answers_ssh
from k8sfromscratch.lab.spec import ROOT, ClusterSpec, Machine, load_spec

DEPLOY = (sys.executable, "-m", "pyinfra", "inventories/vagrant.py", "deploy.py", "-y", "--fail-percent=0")


def starting(name: str) -> None:
    with _locked() as directory:
        (directory / "up" / name).unlink(missing_ok=True)


def started(name: str, spec: ClusterSpec, answers: Callable[[str], bool] = answers_ssh, deploy: Sequence[str] = DEPLOY) -> int:
    """The deploy's exit code; 0 where it was not for this machine to begin one."""
    with _locked() as directory:
        (directory / "up" / name).write_text(vagrant.machine_id(name))
        missing = [machine.name for machine in spec.machines if not _is_up(directory, machine, answers)]
        if missing:
            _say(f"{name} is up; the cluster is deployed when {', '.join(missing)} will be")
            return 0
        run, last = os.environ.get("KFS_VAGRANT_RUN", ""), directory / "deployed-by"
        if run and last.exists() and last.read_text() == run:
            return 0
        last.unlink(missing_ok=True)
        _say(f"All {len(spec.machines)} machines are up: deploying the cluster")
        done = subprocess.run(deploy, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            _say("The deploy failed; what went wrong is above.  `vagrant up` goes on from there, or: pyinfra inventories/vagrant.py deploy.py")
            return done.returncode
        last.write_text(run)
    _say(f"The cluster is up.  Use it with: {kubectl.ensure()} --kubeconfig {directory / 'admin.kubeconfig'} get nodes")
    return 0


def gone(name: str) -> None:
    with _locked() as directory:
        (directory / "up" / name).unlink(missing_ok=True)
        for file in directory.glob(f"known_hosts-{name}-*"):
            file.unlink()
        if not any((vagrant.dotfile() / "machines").glob("*/*/id")):
            shutil.rmtree(directory)


def _is_up(directory: Path, machine: Machine, answers: Callable[[str], bool]) -> bool:
    stamp = directory / "up" / machine.name
    try:
        return stamp.exists() and stamp.read_text() == vagrant.machine_id(machine.name) and answers(str(machine.address))
    except NotReady:
        return False  # removed without the hooks


@contextmanager
def _locked() -> Iterator[Path]:
    """The directory of what belongs to the cluster; one process is at it at a time, whatever Vagrant does in parallel."""
    directory = vagrant.directory()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / "cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (directory / "up").mkdir(parents=True, exist_ok=True)
        yield directory


def _say(text: str) -> None:
    print(text, flush=True)


def main(argv: Sequence[str]) -> int:
    try:
        match list(argv):
            case ["starting", name]:
                load_spec().machine(name)  # a wrong spec is told of before there is a machine
                starting(name)
                return 0
            case ["started", name]:
                return started(name, load_spec())
            case ["gone", name]:
                gone(name)
                return 0
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"lab: {of_this_host(error, vagrant.directory())}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
