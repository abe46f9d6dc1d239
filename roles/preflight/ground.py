"""What a machine stands on, and what of it will not do: facts in, problems out.

Everything is read by one command on the machine, and judged here without it, so that each judgement is a line in a test's table.
What our own components hold on a later run (ports, routes) is not held against the machine.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from pyinfra.api.facts import FactBase

SUPPORTED = {"debian": ("12",)}
"""Releases on which the lab's suite has run."""
PYTHON = "3.11"
"""The wheels are gathered by the control host for this one."""
MEMORY_MB = {"masters": 900, "workers": 450}
DISK_MB = 1500
"""Free where /opt and /var/lib are: environment, images, etcd."""
CLOCK_APART_S = 10
"""Certificates and leases are compared by the clock."""
PORTS = {
    "masters": {2379: "etcd's clients", 2380: "etcd's peers", 6443: "the apiserver", 10257: "the controller manager", 10259: "the scheduler"},
    "workers": {10250: "the kubelet", 10249: "kube-proxy's metrics", 10256: "kube-proxy's health"},
}
OWN_DEVICES = ("cni0", "flannel.1")

_SCRIPT = r"""
. /etc/os-release; echo "release=$ID $VERSION_ID"
echo "architecture=$(uname -m)"
echo "systemd=$(cat /proc/1/comm)"
echo "python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
echo "memory_kb=$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)"
for d in /opt /var/lib; do echo "disk=$d $(df -Pk $d | awk 'NR == 2 { print $4 }')"; done
echo "clock=$(date +%s.%N)"
[ "$(wc -l </proc/swaps)" -gt 1 ] && ! systemd-detect-virt --quiet --container && echo "swap=on"
if ! systemd-detect-virt --quiet --container; then
    for m in MODULES; do [ -d /sys/module/$m ] || modprobe --dry-run --quiet $m 2>/dev/null || echo "no_module=$m"; done
fi
command -v apt-get >/dev/null || echo "no_apt=yes"
ip -4 -o address show 2>/dev/null | awk '{ split($4, a, "/"); print "address=" a[1] }'
ip -4 route show table main 2>/dev/null | awk '$1 != "default" { for (i = 2; i < NF; i++) if ($i == "dev") print "route=" $1 " " $(i + 1) }'
ss -H -l -t -n -p 2>/dev/null | while read -r _ _ _ where _ who; do
    pid=${who#*pid=}; pid=${pid%%,*}
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q /opt/k8sfromscratch || echo "port=${where##*:} ${who}"
done
true
"""


@dataclass(frozen=True)
class Ground:
    release: str = ""
    """`debian 12`"""
    architecture: str = ""
    systemd: str = ""
    """The name of process 1."""
    python: str = ""
    memory_mb: int = 0
    disk_mb: Mapping[str, int] = field(default_factory=dict)
    clock_s: float = 0.0
    swap: bool = False
    apt: bool = True
    missing_modules: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    """(range, device)"""
    ports: Mapping[int, str] = field(default_factory=dict)
    """Listened on by others than our components: port → who."""


class ReadGround(FactBase[Ground]):
    def command(self, modules: Sequence[str]) -> str:
        return f"sh -c {_quoted(_SCRIPT.replace('MODULES', ' '.join(modules)))}"

    def process(self, output: list[str]) -> Ground:
        return parse(output)


def parse(lines: Iterable[str]) -> Ground:
    values: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition("=")
        values.setdefault(key, []).append(value.strip())

    def one(key: str) -> str:
        return values.get(key, [""])[-1]

    disks = dict(entry.split(" ", 1) for entry in values.get("disk", ()) if " " in entry)
    routes = [entry.split(" ", 1) for entry in values.get("route", ()) if " " in entry]
    ports = [entry.partition(" ") for entry in values.get("port", ())]
    return Ground(
        release=one("release"),
        architecture=one("architecture"),
        systemd=one("systemd"),
        python=one("python"),
        memory_mb=int(one("memory_kb") or 0) // 1024,
        disk_mb={where: int(free_kb) // 1024 for where, free_kb in disks.items() if free_kb.isdigit()},
        clock_s=float(one("clock") or 0),
        swap=one("swap") == "on",
        apt=one("no_apt") == "",
        missing_modules=tuple(values.get("no_module", ())),
        addresses=tuple(values.get("address", ())),
        routes=tuple((to, device) for to, device in routes),
        ports={int(port): who.partition('"')[2].partition('"')[0] or "another program" for port, _, who in ports if port.isdigit()},
    )


def problems(ground: Ground, groups: Iterable[str], address: str, ranges: Mapping[str, IPv4Network], asked_s: tuple[float, float]) -> list[str]:
    """Each says what is wrong and what to do.  `groups` are the host's; `ranges` are the cluster's, by the name of their setting;
    `asked_s` is this host's time before and after the machine was asked, which a slow one answers when it comes to it."""
    found = []
    name, _, version = ground.release.partition(" ")
    if version not in SUPPORTED.get(name, ()):
        known = ", ".join(f"{each} {' '.join(versions)}" for each, versions in SUPPORTED.items())
        found.append(f"release {ground.release or 'unknown'} is not supported: use {known}")
    if ground.architecture != "x86_64":
        found.append(f"architecture {ground.architecture or 'unknown'} is not supported: use x86_64")
    if ground.systemd != "systemd":
        found.append(f"process 1 is {ground.systemd or 'unknown'}: components run as systemd's services")
    if ground.python and ground.python != PYTHON:
        found.append(f"python3 is {ground.python}: the wheels are for {PYTHON}")
    if not ground.apt:
        found.append("there is no apt-get to install packages with")
    wanted_mb = max((MEMORY_MB[group] for group in groups if group in MEMORY_MB), default=0)
    if ground.memory_mb < wanted_mb:
        found.append(f"memory is {ground.memory_mb} MB: at least {wanted_mb} MB are needed")
    found += [f"{where} has {free_mb} MB free: at least {DISK_MB} MB are needed" for where, free_mb in ground.disk_mb.items() if free_mb < DISK_MB]
    before_s, after_s = asked_s
    apart_s = min(ground.clock_s - before_s, 0.0) or max(ground.clock_s - after_s, 0.0)
    if abs(apart_s) > CLOCK_APART_S:
        found.append(f"the clock is {apart_s:+.0f} s from the control host's: set it, best by NTP")
    if ground.swap:
        found.append("swap is on: swapoff --all, and take it out of /etc/fstab")
    if ground.missing_modules:
        found.append(f"the kernel has no {', '.join(ground.missing_modules)}: use a kernel with these modules")
    if address not in ground.addresses:
        found.append(f"node_address {address} is none of its addresses: {', '.join(ground.addresses) or 'it has none'}")
    ports = {port: what for group in groups for port, what in PORTS.get(group, {}).items()}
    found += [f"port {port} of {what} is taken by {ground.ports[port]}: stop it" for port, what in sorted(ports.items()) if port in ground.ports]
    for to, device in ground.routes:
        if device in OWN_DEVICES:
            continue
        found += [
            f"{setting} {wanted} overlaps {to}, which it routes to {device}: choose another" for setting, wanted in ranges.items() if _overlap(to, wanted)
        ]
    return found


def _overlap(route: str, wanted: IPv4Network) -> bool:
    try:
        return IPv4Network(route).overlaps(wanted)
    except ValueError:
        return False  # `blackhole`, `unreachable`: no range of a device


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\"'\"'") + "'"
