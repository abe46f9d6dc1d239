"""One's own machines, as a file lists them: validated here, handed to pyinfra as hosts with all the data that the roles read.

    masters:
      - {name: master-1, address: 192.0.2.11}
    workers:
      - {name: worker-1, address: 192.0.2.21}
    ssh: {user: admin, key: ~/.ssh/id_ed25519}

`address` is what the machines reach each other by, and this host them, where `ssh` says nothing else.  `ssh` at the top is for all, a
machine's own has precedence.  A wrong value is refused with its place before any machine is touched.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.spec import ROOT, refuse_even

VARIABLE = "KFS_MACHINES"
PASSWORD_VARIABLE = "KFS_SUDO_PASSWORD"
"""In the environment and not in the file: it is a secret."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class Ssh(BaseModel):
    """How a machine is reached.  What is not set is OpenSSH's: its agent, its keys, ~/.ssh/config, ~/.ssh/known_hosts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = ""
    """Where it is not the machine's address."""
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: str = "root"
    key: str = ""
    known_hosts: str = ""
    sudo: bool | None = None
    """By default: unless the user is root."""


class OwnMachine(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    """Also the node's name in the cluster."""
    address: IPv4Address
    ssh: dict[str, Any] = Field(default_factory=dict)


class OwnMachines(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: Name = "own"
    masters: Annotated[list[OwnMachine], Field(min_length=1)]
    workers: list[OwnMachine] = Field(default_factory=list)
    ssh: dict[str, Any] = Field(default_factory=dict)
    api_address: IPv4Address | None = None
    """Where clients reach the apiserver; by default the first master."""
    pod_cidr: IPv4Network = IPv4Network("10.244.0.0/16")
    service_cidr: IPv4Network = IPv4Network("10.96.0.0/16")
    node_port_range: Annotated[str, Field(pattern=r"^\d{1,5}-\d{1,5}$")] = "30000-32767"
    cluster_domain: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")] = "cluster.local"
    node_monitor_grace_period_s: Annotated[float, Field(gt=0)] = 40.0
    patience: Annotated[float, Field(gt=0)] = 1.0
    """Times the time limits of health checks, for slow machines."""
    directory: str = ""
    """Of certificates and the kubeconfig, on this host; it holds the authorities' keys.  By default .clusters/CLUSTER in the checkout."""

    @model_validator(mode="after")
    def _consistent(self) -> "OwnMachines":
        refuse_even(len(self.masters))
        machines = [*self.masters, *self.workers]
        for what in ("name", "address"):
            values = [getattr(machine, what) for machine in machines]
            twice = sorted({str(value) for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{what} {', '.join(twice)} is there twice")
        for setting in ("pod_cidr", "service_cidr"):
            network: IPv4Network = getattr(self, setting)
            if network.prefixlen > 20:
                raise ValueError(f"{setting} {network} is too small: a /20 or larger is needed")
            inside = [f"{machine.name} ({machine.address})" for machine in machines if machine.address in network]
            if inside:
                raise ValueError(f"{setting} {network} holds machines: {', '.join(inside)}")
        if self.pod_cidr.overlaps(self.service_cidr):
            raise ValueError(f"pod_cidr {self.pod_cidr} and service_cidr {self.service_cidr} overlap")
        low, high = map(int, self.node_port_range.split("-"))
        if not 1 <= low <= high <= 65535:
            raise ValueError(f"node_port_range {self.node_port_range} is not a range of ports")
        for machine in machines:
            self.ssh_of(machine)
        return self

    def ssh_of(self, machine: OwnMachine) -> Ssh:
        try:
            return Ssh.model_validate({**self.ssh, **machine.ssh})
        except ValidationError as error:
            problem = error.errors()[0]
            raise ValueError(f"ssh of {machine.name}: {'.'.join(map(str, problem['loc']))}: {problem['msg']} (got {problem['input']!r})") from None

    def hosts(self, machines: list[OwnMachine], environ: Mapping[str, str] = os.environ) -> list[tuple[str, dict[str, Any]]]:
        """As pyinfra's inventory has them: name and data, which is all that the roles read, so that no group's data of another inventory shows through."""
        return [(f"@own/{machine.name}", {**self._ssh_data(machine, environ), **self.cluster_data(), **_node_data(machine)}) for machine in machines]

    def cluster_data(self) -> dict[str, Any]:
        directory = Path(self.directory).expanduser() if self.directory else ROOT / ".clusters" / self.cluster
        first = self.service_cidr.network_address
        return {
            "cluster_name": self.cluster,
            "cluster_domain": self.cluster_domain,
            "pod_cidr": str(self.pod_cidr),
            "service_cidr": str(self.service_cidr),
            "node_port_range": self.node_port_range,
            "api_address": str(self.api_address or self.masters[0].address),
            "api_service_address": str(first + 1),
            "dns_address": str(first + 10),
            "pki_directory": str(directory / "pki"),
            "admin_kubeconfig": str(directory / "admin.kubeconfig"),
            "node_monitor_grace_period_s": self.node_monitor_grace_period_s,
            "patience": self.patience,
        }

    def _ssh_data(self, machine: OwnMachine, environ: Mapping[str, str]) -> dict[str, Any]:
        ssh = self.ssh_of(machine)
        sudo = ssh.user != "root" if ssh.sudo is None else ssh.sudo
        data: dict[str, Any] = {"ssh_hostname": ssh.host or str(machine.address), "ssh_port": ssh.port, "ssh_user": ssh.user, "_sudo": sudo}
        if ssh.key:
            data |= {"ssh_key": str(Path(ssh.key).expanduser()), "ssh_look_for_keys": False, "ssh_allow_agent": False}
        if ssh.known_hosts:
            data["ssh_known_hosts_file"] = str(Path(ssh.known_hosts).expanduser())
        if sudo and environ.get(PASSWORD_VARIABLE):
            data["_sudo_password"] = environ[PASSWORD_VARIABLE]
        return data


def _node_data(machine: OwnMachine) -> dict[str, Any]:
    return {"node_name": machine.name, "node_address": str(machine.address)}


def load_machines(environ: Mapping[str, str] = os.environ) -> OwnMachines:
    """Of the file that KFS_MACHINES names.  Reads only: pyinfra evaluates inventories more than once."""
    if not environ.get(VARIABLE):
        raise SpecError(f"set {VARIABLE} to the file that lists your machines; docs/machines.md shows one")
    file = Path(environ[VARIABLE]).expanduser()
    try:
        return OwnMachines.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise SpecError(f"{file}: {error}") from error
    except ValidationError as error:
        problems = [(".".join(map(str, problem["loc"])), problem) for problem in error.errors()]
        said = [f"{file}: {f'{place}: ' if place else ''}{str(problem['msg']).removeprefix('Value error, ')}" for place, problem in problems]
        raise SpecError("\n".join(said)) from error
