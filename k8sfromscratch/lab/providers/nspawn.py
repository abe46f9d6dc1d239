"""Machines as systemd-nspawn containers: systemd, sshd and a full kernel network stack each, ready in about 3 s.

A machine is a directory (`.lab/machines/NAME`, copied from the node image) and one process, `systemd-nspawn`, that leads it.  There is no
systemd on every host we run on, so nspawn neither registers the machine nor makes its cgroup: the launcher does the latter
(`cgroups`), and the record keeps the process.  The interface inside is `host0`, configured in the root before boot.
"""

import os
import shutil
import signal
import threading
import time
import uuid
from pathlib import Path

from k8sfromscratch.lab import cgroups, keys, network, node_image, seed
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


class NspawnProvider(Provider):
    system_packages = ("systemd-container", "mmdebstrap", "iproute2", "nftables", "openssh-client")

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
            self._refuse_another_lab()
            network.check_ranges(self.spec)
            self.image()
            keys.ensure(self.spec)
            network.ensure(self.spec)
            self._prepared = True

    def image(self) -> Path:
        """The root that machines are copies of, made unless it is there."""
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
        """The machine's root: a copy of the image with its address, name and keys.  An unfinished copy has another name."""
        root = LAB_DIR / "machines" / machine.name
        with Record.locked() as record:
            record.provider = self.spec.provider
            record.machines.setdefault(machine.name, MachineRecord(root=str(root)))
        if root.exists():
            return
        root.parent.mkdir(parents=True, exist_ok=True)
        copy = root.with_suffix(".new")
        shutil.rmtree(copy, ignore_errors=True)
        run(["cp", "--archive", "--reflink=auto", self.image(), copy])
        for name, (mode, text) in self._own_files(machine).items():
            file = copy / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
            file.write_text(text)
            file.chmod(mode)
        copy.rename(root)

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
        command = [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={known.root}",
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
            # SIGTERM makes nspawn ask its systemd to power off; its death takes the whole machine with it.
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


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None if there is no such process, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])
