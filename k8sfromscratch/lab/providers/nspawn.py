"""Machines as systemd-nspawn containers: systemd, sshd and a full kernel network stack each, ready in about 3 s.

A machine is a directory (`.lab/machines/NAME`) and one process, `systemd-nspawn`, that leads it.  Its root is an overlay of what all machines
have in common (the Python environment, the node image) and of what is its own, so making one copies nothing and programs are in memory once:

    .lab/machines/NAME/upper        what differs: its address, name and keys, and all it ever writes
                       containerd   /var/lib/containerd: an overlay cannot hold the overlays of containers; has the images from the start (`image_store`)
                       root, work   where the overlay is mounted, and the kernel's scratch space
    .cache/shipped                  seen by the machine as /var/cache/k8sfromscratch, so that archives need no upload

The overlay is mounted in a mount namespace of the machine's own: when its process ends, in whatever way, no mount is left on this host.
There is no systemd on every host we run on, so nspawn neither registers the machine nor makes its cgroup: the launcher does the latter
(`cgroups`), and the record keeps the process.  The interface inside is `host0`, configured in the root before boot.
"""

import os
import shutil
import signal
import threading
import time
import uuid
from pathlib import Path

from k8sfromscratch.lab import artifacts, cgroups, image_store, keys, layers, network, node_image, seed, settled
from k8sfromscratch.lab.environment import SHIPPED
from k8sfromscratch.lab.errors import LabError, MissingTool, NotReady
from k8sfromscratch.lab.providers.base import Provider, answers_ssh
from k8sfromscratch.lab.record import LAB_DIR, MachineRecord, Record
from k8sfromscratch.lab.shell import attempt, run
from k8sfromscratch.lab.spec import ClusterSpec, Machine

BOOT_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
POLL_S = 0.05

# Starts the rest of its arguments as a process that outlives us, with $1 as its output, and prints its id.
LAUNCH = 'console=$1; shift; "$@" </dev/null >"$console" 2>&1 & echo $!'
# Joins the machine's cgroups ($1 cgroup.procs files follow), then becomes what comes after them.
JOIN = 'count=$1; shift; while [ "$count" -gt 0 ]; do echo $$ >"$1"; shift; count=$((count - 1)); done; exec "$@"'
# In a mount namespace of its own: mounts the root ($1 options, $2 where), then becomes what comes after them.
MOUNT = 'mount -t overlay -o "$1" overlay "$2" || exit 1; shift 2; exec "$@"'
SHIPPED_INSIDE = "/var/cache/k8sfromscratch"


class NspawnProvider(Provider):
    def __init__(self, spec: ClusterSpec) -> None:
        super().__init__(spec)
        self._preparing = threading.Lock()
        self._prepared = False

    def prepare(self) -> None:
        with self._preparing:
            if self._prepared:
                return
            if os.geteuid() != 0:
                raise MissingTool("nspawn machines need root: run it as root, or with sudo")
            settled.check(self.spec)
            self._refuse_another_lab()
            network.check_ranges(self.spec)
            network.check_bridge(self.spec)
            self.image()
            keys.ensure(self.spec)
            with Record.locked() as record:
                settled.settle(self.spec, record)
            network.ensure(self.spec)
            self._prepared = True

    def image(self) -> Path:
        """The root that machines stand on, made unless it is there."""
        return node_image.ensure(self.spec.debian)

    def ensure(self, machine: Machine) -> bool:
        self.prepare()
        started = not self._running(machine.name)
        if started:
            self._define(machine)
            self._start(machine)
        self._wait_ready(machine)
        return started

    def stop(self, machine: Machine, *, power_off: bool = False) -> None:
        self._end(machine.name, power_off=power_off)

    def remove(self, name: str) -> None:
        self._end(name, power_off=True)
        with Record.locked() as record:
            known = record.machines.get(name)
        if known is not None:
            shutil.rmtree(known.root, ignore_errors=True)
        with Record.locked() as record:
            record.machines.pop(name, None)

    def seen_as(self, file: Path) -> str | None:
        return f"{SHIPPED_INSIDE}/{file.name}" if file.parent == SHIPPED else None

    def names(self) -> dict[str, bool]:
        return {name: self._running(name) for name in Record.load().machines}

    def tear_down(self) -> None:
        for name in Record.load().machines:
            self.remove(name)
        network.remove()

    def _refuse_another_lab(self) -> None:
        """A lab of the same name from another checkout has the same cgroups and the same bridge: starting ours would end its machines."""
        machines = Record.load().machines
        for machine in self.spec.machines:
            name = self._full_name(machine)
            ours = machine.name in machines and machines[machine.name].cgroup == name
            if not ours and cgroups.processes(name):
                raise LabError(f"another lab named {self.spec.name!r} runs on this host: take it down where it was made, or set LAB_NAME and LAB_MACHINE_CIDR")

    def _full_name(self, machine: Machine) -> str:
        return f"{self.spec.name}-{machine.name}"

    def _define(self, machine: Machine) -> None:
        """What is the machine's own, ready to be booted.  Under another name until it is whole."""
        place = LAB_DIR / "machines" / machine.name
        with Record.locked() as record:
            known = record.machines.setdefault(machine.name, MachineRecord(root=str(place)))
        if place.exists():
            if not known.layers:
                raise LabError(f"machine {machine.name} was made by an earlier version of this lab: `make lab-down` first")
            return
        image = self.image()
        made = artifacts.ensure()
        environment = made.environment
        fits = environment.compiled and (image / environment.interpreter.lstrip("/")).exists()
        trees = [*(environment.trees if fits else ()), image]
        fresh = place.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        for part in ("upper", "work", "root", "containerd"):
            (fresh / part).mkdir(parents=True)
        (fresh / "upper").chmod(0o755)
        if (image / "usr/bin/containerd").exists():  # else the roles install it
            image_store.give(image_store.ensure(image, made.images), fresh / "containerd")
        for name, (mode, text) in self._own_files(machine).items():
            file = fresh / "upper" / name
            _make_directories_like(image, fresh / "upper", Path(name).parent)
            file.write_text(text)
            file.chmod(mode)
        with Record.locked() as record:
            record.machines[machine.name].layers = [str(tree) for tree in trees]
        fresh.rename(place)
        for tree in trees:
            layers.use(tree, place)

    def _own_files(self, machine: Machine) -> dict[str, tuple[int, str]]:
        own = seed.files(self.spec, machine, {"Name": "host0"}, name_servers=seed.host_name_servers())
        return {**own, "etc/machine-id": (0o444, f"{uuid.uuid4().hex}\n")}

    def _start(self, machine: Machine) -> None:
        full_name = self._full_name(machine)
        with Record.locked() as record:
            known = record.machines[machine.name]
            known.cgroup = full_name
        cgroups.remove(full_name)
        # The kernel takes the interface of a machine that ended away a moment later; nspawn would find its name taken.
        attempt(["ip", "link", "delete", f"vb-{full_name}"])
        joins = cgroups.create(full_name)
        place = Path(known.root)
        for tree in known.layers:
            if not Path(tree).is_dir():
                raise LabError(f"machine {machine.name} stands on {tree}, which is gone: `make lab-down`, then `make lab`")
        SHIPPED.mkdir(parents=True, exist_ok=True)
        (place / "root").mkdir(exist_ok=True)
        options = f"lowerdir={':'.join(known.layers)},upperdir={place / 'upper'},workdir={place / 'work'}"
        mounted = ["unshare", "--mount", "--propagation=private", "sh", "-c", MOUNT, "mount", options, str(place / "root")]
        command = [
            *mounted,
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={place / 'root'}",
            f"--bind={place / 'containerd'}:/var/lib/containerd",
            f"--bind-ro={SHIPPED}:{SHIPPED_INSIDE}",
            f"--machine={full_name}",
            f"--hostname={machine.name}",
            f"--network-bridge={network.bridge_name(self.spec)}",
            "--register=no",
            "--keep-unit",
            "--capability=all",
            "--system-call-filter=@module bpf keyctl add_key",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=passive",
        ]
        console = LAB_DIR / "machines" / f"{machine.name}.console"
        launcher: list[str | Path] = ["setsid", "sh", "-c", LAUNCH, "launch", console, "sh", "-c", JOIN, "join", str(len(joins)), *joins]
        pid = int(run([*launcher, *command], env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}))
        with Record.locked() as record:
            record.machines[machine.name].pid = pid
            record.machines[machine.name].start_time = _start_time(pid)

    def _wait_ready(self, machine: Machine) -> None:
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while not answers_ssh(str(machine.address)):
            if not self._running(machine.name):
                console = LAB_DIR / "machines" / f"{machine.name}.console"
                raise NotReady(f"machine {machine.name} ended while it booted; its console's last words: {console.read_text(errors='replace')[-1500:]}")
            if time.monotonic() > deadline:
                raise NotReady(f"machine {machine.name} did not answer SSH at {machine.address} within {BOOT_TIMEOUT_S} s")
            time.sleep(POLL_S)

    def _running(self, name: str) -> bool:
        known = Record.load().machines.get(name)
        return known is not None and known.pid is not None and known.start_time is not None and _start_time(known.pid) == known.start_time

    def _end(self, name: str, *, power_off: bool) -> None:
        with Record.locked() as record:
            known = record.machines.get(name)
        if known is None:
            return
        if known.pid is not None and self._running(name):
            # SIGTERM makes nspawn ask its systemd to power off; what a killed one leaves goes with the cgroup.
            os.kill(known.pid, signal.SIGKILL if power_off else signal.SIGTERM)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while self._running(name):
                if time.monotonic() > deadline:
                    os.kill(known.pid, signal.SIGKILL)
                time.sleep(POLL_S)
        if known.cgroup:
            cgroups.remove(known.cgroup)
        with Record.locked() as record:
            record.machines[name].pid = record.machines[name].start_time = None


def _make_directories_like(image: Path, upper: Path, directory: Path) -> None:
    """The directory and those above it, with the modes that they have in the image: an upper layer's hide those of lower ones."""
    for each in reversed((directory, *directory.parents)):
        if each != Path() and not (upper / each).exists():
            (upper / each).mkdir()
            if (image / each).is_dir():
                shutil.copystat(image / each, upper / each)
            elif each.name == ".ssh":
                (upper / each).chmod(0o700)


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None if there is no such process, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])
