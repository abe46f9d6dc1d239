"""The machines that `vagrant up` made, as a pyinfra inventory: `pyinfra inventories/vagrant.py deploy.py` deploys the cluster on them again.

What machines there are comes from the Vagrantfile (and so from `lab.yaml` and LAB_*), how they are reached from Vagrant.
pyinfra evaluates this file more than once: it only reads.
"""

from typing import Any

from k8sfromscratch.lab import vagrant
from k8sfromscratch.lab.errors import LabError
from k8sfromscratch.lab.spec import load_spec

try:
    _spec = load_spec()
    _running = vagrant.machines()
except LabError as _error:
    raise SystemExit(str(_error)) from None
if not _running:
    raise SystemExit("Vagrant has no running machine here: `vagrant up` first")


def _host(machine: vagrant.VagrantMachine) -> tuple[str, dict[str, Any]]:
    data = {
        "ssh_hostname": machine.address,
        "ssh_port": machine.port,
        "ssh_user": machine.user,
        "ssh_key": str(machine.key),
        "ssh_known_hosts_file": str(machine.known_hosts),
        "ssh_strict_host_key_checking": "accept-new",
        "ssh_look_for_keys": False,
        "node_name": machine.name,
        "node_address": str(_spec.machine(machine.name).address),
        "pki_directory": str(vagrant.directory() / "pki"),
        "admin_kubeconfig": str(vagrant.directory() / "admin.kubeconfig"),
        # There may be no KVM: health checks and leases get more time.
        "patience": 6,
        "node_monitor_grace_period_s": 80.0,
        "_sudo": True,
    }
    # As a machine of one's own: one that dies in the middle is noticed, and what keeps one from being reached is told with a remedy.
    return f"@own/{machine.name}", data


masters = [_host(machine) for machine in _running if _spec.machine(machine.name).role == "master"]
workers = [_host(machine) for machine in _running if _spec.machine(machine.name).role == "worker"]
