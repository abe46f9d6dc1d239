"""What cluster is wanted: one validated value that the inventory, the providers and the roles read.

It comes from `inventories/lab.yaml`; every field can be overridden by an environment variable `LAB_<FIELD>` (LAB_WORKERS=3).
A wrong value is refused here, before any machine is touched, with the name of the field.  Whether the ranges collide with
networks of this very host is checked later, by the provider (`network.check_ranges`).
"""

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from k8sfromscratch.lab.errors import SpecError

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: the lab is used from there, since it deploys what is in it."""

SPEC_FILE = ROOT / "inventories" / "lab.yaml"

Role = Literal["master", "worker"]


def refuse_even(masters: int) -> None:
    """Raises ValueError, as pydantic's validators do."""
    if masters % 2 == 0:
        raise ValueError(f"{masters} masters survive the loss of no more of them than {masters - 1} do, and there is one more to lose: choose an odd number")


class Machine(BaseModel):
    """One machine of the lab.  `name` is also the node's name in the cluster."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: Role
    address: IPv4Address


class ClusterSpec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # At most 8 characters: names of network interfaces (15 at most) are made from it.
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,7}$")] = "kfs"
    provider: Literal["nspawn", "libvirt", "vagrant"] = "nspawn"
    masters: Annotated[int, Field(ge=1, le=9)] = 1
    workers: Annotated[int, Field(ge=0, le=90)] = 2
    runtime: Literal["containerd", "docker"] = "containerd"
    debian: Literal["bookworm"] = "bookworm"
    machine_cidr: IPv4Network = IPv4Network("10.89.0.0/24")
    pod_cidr: IPv4Network = IPv4Network("10.244.0.0/16")
    service_cidr: IPv4Network = IPv4Network("10.96.0.0/16")
    node_port_range: Annotated[str, Field(pattern=r"^\d{1,5}-\d{1,5}$")] = "30000-32767"
    # Of virtual machines; nspawn machines share this host's memory and processors.
    memory_mb: Annotated[int, Field(ge=512)] = 2048
    cpus: Annotated[int, Field(ge=1, le=64)] = 2
    driver: Literal["auto", "kvm", "qemu"] = "auto"
    # The file of a cloud image with cloud-init to start from; else the node image is built.
    image: str = ""
    libvirt_uri: str = "qemu:///system"
    # A bridge that is there, instead of a network of the lab's own; a user's session libvirt needs one.
    libvirt_bridge: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,15}$")] = ""
    # Where the host's QEMU can read: the lab makes a directory of its own in it.
    libvirt_images: Annotated[str, Field(pattern=r"^/")] = "/var/lib/libvirt/images"
    cluster_domain: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")] = "cluster.local"

    @field_validator("masters")
    @classmethod
    def _odd(cls, masters: int) -> int:
        refuse_even(masters)
        return masters

    @field_validator("runtime")
    @classmethod
    def _known_runtime(cls, runtime: str) -> str:
        if runtime != "containerd":
            raise ValueError(f"the runtime {runtime!r} is not supported yet, only 'containerd'")
        return runtime

    @field_validator("machine_cidr")
    @classmethod
    def _room_for_machines(cls, network: IPv4Network) -> IPv4Network:
        if network.prefixlen > 24:
            raise ValueError("a /24 or larger is needed: machines have fixed places in it")
        return network

    @field_validator("service_cidr", "pod_cidr")
    @classmethod
    def _room_in_cluster(cls, network: IPv4Network) -> IPv4Network:
        if network.prefixlen > 20:
            raise ValueError("a /20 or larger is needed")
        return network

    @model_validator(mode="after")
    def _disjoint(self) -> "ClusterSpec":
        ranges = [("machine_cidr", self.machine_cidr), ("pod_cidr", self.pod_cidr), ("service_cidr", self.service_cidr)]
        for place, (name, network) in enumerate(ranges):
            for other_name, other in ranges[place + 1 :]:
                if network.overlaps(other):
                    raise ValueError(f"{name} {network} and {other_name} {other} overlap")
        low, high = map(int, self.node_port_range.split("-"))
        if not 1 <= low <= high <= 65535:
            raise ValueError(f"node_port_range {self.node_port_range} is not a range of ports")
        return self

    @cached_property
    def machines(self) -> tuple[Machine, ...]:
        """Masters at .11 and on, workers at .101 and on: adding a machine moves no other."""
        base = self.machine_cidr.network_address
        masters = [Machine(name=f"master-{n}", role="master", address=base + 10 + n) for n in range(1, self.masters + 1)]
        workers = [Machine(name=f"worker-{n}", role="worker", address=base + 100 + n) for n in range(1, self.workers + 1)]
        return (*masters, *workers)

    def machine(self, name: str) -> Machine:
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise SpecError(f"the lab has no machine {name!r}; it has {', '.join(machine.name for machine in self.machines)}")

    def surplus(self, names: Iterable[str]) -> list[str]:
        """Those of the machines that are there which the cluster no longer has.  Raises SpecError for a master: with it would go a part of etcd."""
        wanted = {machine.name for machine in self.machines}
        found = [name for name in names if name not in wanted]
        masters = [name for name in found if name.startswith("master-")]
        if masters:
            raise SpecError(f"cluster spec: masters: {', '.join(masters)} cannot be taken from a running lab: `make lab-down` first, or put LAB_MASTERS back")
        return found

    @property
    def gateway(self) -> IPv4Address:
        """This host's address on the machines' bridge."""
        return self.machine_cidr.network_address + 1

    @property
    def api_address(self) -> IPv4Address:
        """Where the apiserver is reached from this host: the first of them, where there are several."""
        return self.machines[0].address

    @property
    def api_service_address(self) -> IPv4Address:
        """ClusterIP of the Service `kubernetes`: the first of the range."""
        return self.service_cidr.network_address + 1

    @property
    def dns_address(self) -> IPv4Address:
        """ClusterIP of the Service `kube-dns`: the tenth of the range, as everywhere."""
        return self.service_cidr.network_address + 10


def load_spec(file: Path = SPEC_FILE, environ: Mapping[str, str] = os.environ, settled: Mapping[str, str] | None = None) -> ClusterSpec:
    """The file's spec with `LAB_*` on top, and on top of that what is settled.  Reads only, so it may be called any number of times."""
    try:
        values: Any = yaml.safe_load(file.read_text()) if file.exists() else {}
    except (OSError, yaml.YAMLError) as error:
        raise SpecError(f"{file}: {error}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SpecError(f"{file}: a mapping of fields to values is needed")
    origin = {str(field): str(file) for field in values}
    for field in ClusterSpec.model_fields:
        variable = f"LAB_{field.upper()}"
        if variable in environ:
            values[field] = environ[variable]
            origin[field] = variable
        if settled and field in settled:
            values[field] = settled[field]
            origin[field] = "the lab that is there"
    try:
        return ClusterSpec.model_validate(values)
    except ValidationError as error:
        raise SpecError("\n".join(_explain(problem, origin) for problem in error.errors())) from error


def _explain(problem: Any, origin: Mapping[str, str]) -> str:
    """`workers: Input should be a valid integer, … (got 'two', from LAB_WORKERS)`."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    field = ".".join(map(str, problem["loc"]))
    if not field:
        return f"cluster spec: {message}"
    return f"cluster spec: {field}: {message} (got {problem['input']!r}, from {origin.get(field, 'the defaults')})"
