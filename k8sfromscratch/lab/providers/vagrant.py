"""Machines that `vagrant up` has made: looked at, switched off and on by Vagrant's own commands.

They are not made here: the Vagrantfile does, and deploys them by itself (`lab.vagrant_hooks`).  This provider is how everything that works with
any lab's machines, the end-to-end tests first, works with these too.
"""

import os
import time
from pathlib import Path

from k8sfromscratch.lab import vagrant
from k8sfromscratch.lab.errors import NotReady, SpecError
from k8sfromscratch.lab.libvirt_host import Host
from k8sfromscratch.lab.providers.base import Access, Provider, answers_ssh
from k8sfromscratch.lab.shell import run
from k8sfromscratch.lab.spec import ROOT, Machine

COMMAND_TIMEOUT_S = 900
BOOT_TIMEOUT_S = 300
POLL_S = 0.5


class VagrantProvider(Provider):
    inventory = "inventories/vagrant.py"

    @property
    def kubeconfig(self) -> Path:
        return vagrant.directory() / "admin.kubeconfig"

    def access(self, machine: Machine) -> Access:
        for found in vagrant.machines():
            if found.name == machine.name:
                return Access(found.address, found.key, found.known_hosts, found.user, found.port)
        raise NotReady(f"machine {machine.name} does not run: `vagrant up {machine.name}`")

    def prepare(self) -> None:
        raise SpecError("Vagrant's machines are made and deployed by `vagrant up`; `pyinfra inventories/vagrant.py deploy.py` deploys them again")

    def ensure(self, machine: Machine) -> bool:
        if self.names().get(machine.name):
            return False
        # The hooks of a machine that comes back would deploy the cluster, which is what it comes back to.
        run(["vagrant", "up", machine.name], cwd=ROOT, timeout_s=COMMAND_TIMEOUT_S, env={**os.environ, "KFS_VAGRANT_HOOKS": "off"})
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while not answers_ssh(str(machine.address)):
            if time.monotonic() > deadline:
                raise NotReady(f"machine {machine.name} did not answer SSH at {machine.address} within {BOOT_TIMEOUT_S} s; see `vagrant ssh {machine.name}`")
            time.sleep(POLL_S)
        return True

    def stop(self, machine: Machine, *, power_off: bool = False) -> None:
        if power_off and vagrant.by_libvirt(machine.name):
            # vagrant-libvirt's `halt --force` shuts down like `halt`, and fails where that takes a minute.
            Host(os.environ.get("LIBVIRT_DEFAULT_URI", "qemu:///system")).power_off(f"{self.spec.name}-{machine.name}")
        else:
            run(["vagrant", "halt", *(["--force"] if power_off else []), machine.name], cwd=ROOT, timeout_s=COMMAND_TIMEOUT_S)

    def remove(self, name: str) -> None:
        run(["vagrant", "destroy", "--force", name], cwd=ROOT, timeout_s=COMMAND_TIMEOUT_S)

    def names(self) -> dict[str, bool]:
        return {name: state == "running" for name, state in vagrant.all_states().items() if state != "not_created"}

    def tear_down(self) -> None:
        run(["vagrant", "destroy", "--force"], cwd=ROOT, timeout_s=COMMAND_TIMEOUT_S)
