"""What of a machine's ground will not do: each problem says what is wrong and what to do about it.

No effects here, so that each judgement is a case of a test.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from roles.preflight.ground import Ground
from roles.preflight.releases import PYTHONS, known

MEMORY_MB = {"masters": 900, "workers": 450}
DISK_MB = 1500
"""Free where /opt and /var/lib are: environment, images, etcd."""
DEPLOYED_DISK_MB = 300
"""Where they are there already: room to replace them, one after the other."""
CLOCK_APART_S = 5
"""From the control host, so that two machines are at most twice that apart: certificates and leases are compared by the clock."""
PORTS = {
    "masters": {
        2379: "etcd's clients",
        2380: "etcd's peers",
        2381: "etcd's health",
        6443: "the apiserver",
        10257: "the controller manager",
        10259: "the scheduler",
    },
    "workers": {
        10247: "flannel's health",
        10248: "the kubelet's health",
        10249: "kube-proxy's metrics",
        10250: "the kubelet",
        10256: "kube-proxy's health",
    },
    "balanced": {
        6444: "the balancer before the apiservers",
        10246: "the balancer's health",
    },
}
OWN_DEVICES = ("cni0", "flannel.1", "kube-ipvs0", "veth")


@dataclass(frozen=True)
class Wanted:
    """What the cluster wants of a machine.  `groups` are the machine's, and what else it is a part of ("balanced"); `ranges` are the cluster's, by the
    name of their setting."""

    groups: frozenset[str]
    address: str
    ranges: Mapping[str, IPv4Network]
    sysctls: Mapping[str, str]


def problems(ground: Ground, wanted: Wanted, asked_s: tuple[float, float]) -> list[str]:
    """`asked_s` is this host's time before and after the machine was asked, which a slow one answers when it comes to it."""
    if ground.uid != 0:
        # Others cannot see the rest as it is.
        return [f"commands run there as user {ground.uid} and not as root: set `sudo: true` (`_sudo`), or connect as root"]
    return [*_system(ground), *_room(ground, wanted), *_clock(ground, asked_s), *_kernel(ground, wanted), *_network(ground, wanted)]


def _system(ground: Ground) -> Iterable[str]:
    if ground.release not in PYTHONS:
        yield f"release {ground.release or 'unknown'} is not supported: use {known()}"
    if ground.architecture != "x86_64":
        yield f"architecture {ground.architecture or 'unknown'} is not supported: use x86_64, which the container images are for"
    if ground.systemd != "systemd":
        yield f"process 1 is {ground.systemd or 'unknown'}: components run as systemd's services"
    if not ground.apt:
        yield "there is no apt-get to install packages with"
    if ground.missing_packages:
        where = "enable the component universe, or " if ground.release.startswith("ubuntu") else ""
        yield f"packages {', '.join(ground.missing_packages)} are neither installed nor in apt's lists: {where}`apt-get update`, or install them"


def _room(ground: Ground, wanted: Wanted) -> Iterable[str]:
    memory_mb = max((MEMORY_MB[group] for group in wanted.groups if group in MEMORY_MB), default=0)
    if ground.memory_mb < memory_mb:
        yield f"memory is {ground.memory_mb} MB: at least {memory_mb} MB are needed"
    needed_mb = DEPLOYED_DISK_MB if ground.deployed else DISK_MB
    for where, free_mb in ground.disk_mb.items():
        if free_mb < needed_mb:
            yield f"{where} has {free_mb} MB free: at least {needed_mb} MB are needed"
    if ground.swap:
        yield "swap is on: swapoff --all, and take it out of /etc/fstab"


def _clock(ground: Ground, asked_s: tuple[float, float]) -> Iterable[str]:
    before_s, after_s = asked_s
    apart_s = min(ground.clock_s - before_s, 0.0) or max(ground.clock_s - after_s, 0.0)
    if abs(apart_s) > CLOCK_APART_S:
        yield f"the clock is {apart_s:+.0f} s from this host's: set the one that is wrong, best by NTP on both"


def _kernel(ground: Ground, wanted: Wanted) -> Iterable[str]:
    if ground.missing_modules:
        yield f"the kernel has no {', '.join(ground.missing_modules)}: use a kernel with these modules"
    if ground.missing_controllers:
        yield f"cgroups have no controller {', '.join(ground.missing_controllers)}: enable it on the kernel's command line (cgroup_enable=)"
    if not ground.sysctls_writable:
        yield "/proc/sys cannot be written: a container needs the right to set its network's sysctls"
    for file, key, value in ground.sysctls:
        right = wanted.sysctls.get(key.replace("/", "."))
        if right is not None and value != right:
            yield f"{file} sets {key} = {value} after our file does, at every boot: take it out, {right} is needed"


def _network(ground: Ground, wanted: Wanted) -> Iterable[str]:
    addresses = [address for address, _ in ground.addresses]
    if wanted.address not in addresses:
        yield f"node_address {wanted.address} is none of its addresses: {', '.join(addresses) or 'it has none'}"
    ports = {port: what for group in wanted.groups for port, what in PORTS.get(group, {}).items()}
    for port, what in sorted(ports.items()):
        if port in ground.ports:
            yield f"port {port} of {what} is taken by {ground.ports[port]}: stop it"
    for setting, range_ in wanted.ranges.items():
        # What the machine routes to a device says the same of the addresses in it, once.
        routed = [(_network_of(to), to, device) for to, device in ground.routes if not device.startswith(OWN_DEVICES)]
        taken = [(network, to, device) for network, to, device in routed if network is not None and network.overlaps(range_)]
        for _, to, device in taken:
            yield f"{setting} {range_} overlaps {to}, which it routes to {device}: choose another"
        for address, device in ground.addresses:
            inside = IPv4Address(address) in range_ and not device.startswith(OWN_DEVICES)
            if inside and not any(IPv4Address(address) in network for network, _, _ in taken):
                yield f"{setting} {range_} holds {address}, its address on {device}: choose another"
        for server in ground.name_servers:
            if ":" not in server and IPv4Address(server) in range_:
                yield f"{setting} {range_} holds {server}, its name server: choose another"


def _network_of(route: str) -> IPv4Network | None:
    """None for `blackhole` and its like, which are no range of a device."""
    try:
        return IPv4Network(route)
    except ValueError:
        return None
