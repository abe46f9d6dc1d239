"""What a machine stands on, read by one command on it and told as a value.  What of it will not do is `judge`'s matter.

What our own components hold on a later run (ports, addresses, routes) is left out, or told with the device it is on.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from roles.preflight.releases import PYTHONS

_SCRIPT = r"""
. /etc/os-release; echo "release=$ID $VERSION_ID"
echo "architecture=$(uname -m)"
echo "uid=$(id -u)"
echo "systemd=$(cat /proc/1/comm)"
echo "memory_kb=$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)"
[ -s /opt/k8sfromscratch/project.stamp ] && echo "deployed=yes"
for d in /opt /var/lib; do echo "disk=$d $(df -Pk $d | awk 'NR == 2 { print $4 }')"; done
echo "clock=$(date +%s.%N)"
if ! systemd-detect-virt --quiet --container; then
    [ "$(wc -l </proc/swaps)" -gt 1 ] && echo "swap=on"
    for m in MODULES; do [ -d /sys/module/$m ] || modprobe --dry-run --quiet $m 2>/dev/null || echo "no_module=$m"; done
fi
[ -w /proc/sys/net/ipv4/ip_forward ] || echo "read_only_sysctls=yes"
for f in /etc/sysctl.d/9[1-9]*.conf /usr/lib/sysctl.d/9[1-9]*.conf /etc/sysctl.d/[a-z]*.conf; do
    [ -f "$f" ] && sed 's/[[:space:]]//g' "$f" | awk -v f="$f" -F= '!/^[#;]/ && NF == 2 { print "sysctl=" f " " $1 " " $2 }'
done
for c in cpu memory pids; do
    [ -d /sys/fs/cgroup/$c ] || grep -qsw $c /sys/fs/cgroup/cgroup.controllers || echo "no_controller=$c"
done
if command -v apt-get >/dev/null; then
    missing= python=
    case "$ID $VERSION_ID" in
        PYTHONS
    esac
    for p in $python PACKAGES; do dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"; done
    if ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
        for p in $missing; do apt-cache policy "$p" 2>/dev/null | grep -q 'Candidate: [^(]' || echo "no_package=$p"; done
    fi
else
    echo "no_apt=yes"
fi
ip -4 -o address show 2>/dev/null | awk '{ split($4, a, "/"); print "address=" a[1] " " $2 }'
ip -4 route show table main 2>/dev/null | awk '$1 != "default" { for (i = 2; i < NF; i++) if ($i == "dev") print "route=" $1 " " $(i + 1) }'
awk '$1 == "nameserver" { print "name_server=" $2 }' /etc/resolv.conf 2>/dev/null
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
    uid: int = 0
    """Whose hands we are: 0 where commands run as root."""
    systemd: str = ""
    """The name of process 1."""
    memory_mb: int = 0
    disk_mb: Mapping[str, int] = field(default_factory=dict)
    deployed: bool = False
    """Our environment is there, and has taken its part of the disk."""
    clock_s: float = 0.0
    swap: bool = False
    apt: bool = True
    missing_modules: tuple[str, ...] = ()
    missing_controllers: tuple[str, ...] = ()
    """Of cgroups."""
    missing_packages: tuple[str, ...] = ()
    """Neither installed nor in apt's lists.  Without any lists nothing is known, and nothing is here."""
    sysctls_writable: bool = True
    sysctls: tuple[tuple[str, str, str], ...] = ()
    """(file, key, value) of settings that the machine applies after ours, at its next boot."""
    addresses: tuple[tuple[str, str], ...] = ()
    """(address, device)"""
    routes: tuple[tuple[str, str], ...] = ()
    """(range, device)"""
    name_servers: tuple[str, ...] = ()
    ports: Mapping[int, str] = field(default_factory=dict)
    """Listened on by others than our components: port → who."""


class ReadGround(FactBase[Ground]):
    def command(self, modules: Sequence[str], packages: Sequence[str]) -> str:
        pythons = "\n".join(f"{shlex.quote(release)}) python=python{version};;" for release, version in PYTHONS.items())
        script = _SCRIPT.replace("MODULES", " ".join(modules)).replace("PACKAGES", " ".join(packages)).replace("PYTHONS", pythons)
        return "sh -c '" + script.replace("'", "'\"'\"'") + "'"

    def process(self, output: list[str]) -> Ground:
        return parse(output)


def parse(lines: Iterable[str]) -> Ground:
    values: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition("=")
        values.setdefault(key, []).append(value.strip())

    def one(key: str) -> str:
        return values.get(key, [""])[-1]

    def pairs(key: str) -> list[tuple[str, str]]:
        return [(first, rest) for first, space, rest in (entry.partition(" ") for entry in values.get(key, ())) if space]

    return Ground(
        release=one("release"),
        architecture=one("architecture"),
        uid=int(one("uid") or 0),
        systemd=one("systemd"),
        memory_mb=int(one("memory_kb") or 0) // 1024,
        disk_mb={where: int(free_kb) // 1024 for where, free_kb in pairs("disk") if free_kb.isdigit()},
        deployed=one("deployed") == "yes",
        clock_s=float(one("clock") or 0),
        swap=one("swap") == "on",
        apt=one("no_apt") == "",
        missing_modules=tuple(values.get("no_module", ())),
        missing_controllers=tuple(values.get("no_controller", ())),
        missing_packages=tuple(values.get("no_package", ())),
        sysctls_writable=one("read_only_sysctls") == "",
        sysctls=tuple((file, *rest.split(" ", 1)) for file, rest in pairs("sysctl") if " " in rest),  # type: ignore[misc]
        addresses=tuple(pairs("address")),
        routes=tuple(pairs("route")),
        name_servers=tuple(values.get("name_server", ())),
        ports={int(port): who.partition('"')[2].partition('"')[0] or "another program" for port, who in pairs("port") if port.isdigit()},
    )
