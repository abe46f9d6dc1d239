"""What a machine says in, problems out; and one table for all hosts.  Cases of the role itself are in `cases/preflight`."""

import io
import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from rich.console import Console

from roles import preflight
from roles.base import MODULES, PACKAGES, SYSCTLS
from roles.preflight.ground import Ground, ReadGround, parse
from roles.preflight.judge import Wanted, problems

WANTED = Wanted(
    frozenset({"masters", "workers"}), "192.0.2.11", {"pod_cidr": IPv4Network("10.244.0.0/16"), "service_cidr": IPv4Network("10.96.0.0/16")}, SYSCTLS
)
NOW_S = 1_700_000_000.0
GOOD = Ground(
    release="debian 12",
    architecture="x86_64",
    systemd="systemd",
    memory_mb=2000,
    disk_mb={"/opt": 9000, "/var/lib": 9000},
    clock_s=NOW_S + 1,
    sysctls=(("/etc/sysctl.d/99-sysctl.conf", "net.ipv4.ip_forward", "1"), ("/etc/sysctl.d/99-sysctl.conf", "vm.swappiness", "10")),
    addresses=(("127.0.0.1", "lo"), ("192.0.2.11", "eth0"), ("10.244.1.1", "cni0"), ("10.244.1.0", "flannel.1")),
    routes=(("192.0.2.0/24", "eth0"), ("10.244.1.0/24", "cni0"), ("10.244.2.0/24", "flannel.1"), ("blackhole", "lo")),
    name_servers=("192.0.2.1", "2001:db8::1"),
    ports={22: "sshd", 53: "systemd-resolve"},
)


def judged(ground: Ground, wanted: Wanted = WANTED) -> list[str]:
    return problems(ground, wanted, (NOW_S, NOW_S + 2))


@pytest.mark.parametrize("release", ["debian 12", "debian 13", "ubuntu 22.04", "ubuntu 24.04"])
def test_a_good_machine_has_no_problem_on_the_first_run_or_any_other(release: str) -> None:
    assert judged(replace(GOOD, release=release)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"uid": 1000}, "commands run there as user 1000 and not as root: set `sudo: true`"),
        ({"release": "ubuntu 20.04"}, "release ubuntu 20.04 is not supported: use debian 12, 13; ubuntu 22.04, 24.04"),
        ({"release": "rocky 9.4"}, "release rocky 9.4 is not supported"),
        ({"release": ""}, "release unknown is not supported"),
        ({"architecture": "aarch64"}, "architecture aarch64 is not supported"),
        ({"systemd": "init"}, "process 1 is init"),
        ({"apt": False}, "no apt-get"),
        ({"missing_packages": ("conntrack", "runc")}, "packages conntrack, runc are neither installed nor in apt's lists: `apt-get update`"),
        (
            {"release": "ubuntu 22.04", "missing_packages": ("python3.11",)},
            "python3.11 are neither installed nor in apt's lists: enable the component universe",
        ),
        ({"memory_mb": 800}, "memory is 800 MB: at least 900 MB are needed"),
        ({"disk_mb": {"/opt": 100, "/var/lib": 9000}}, "/opt has 100 MB free: at least 1500 MB are needed"),
        ({"disk_mb": {"/opt": 100, "/var/lib": 9000}, "deployed": True}, "/opt has 100 MB free: at least 300 MB are needed"),
        ({"clock_s": NOW_S - 3600}, "the clock is -3600 s from this host's: set the one that is wrong"),
        ({"clock_s": NOW_S + 9}, "the clock is +7 s from this host's"),
        ({"swap": True}, "swap is on: swapoff --all"),
        ({"missing_modules": ("vxlan", "br_netfilter")}, "the kernel has no vxlan, br_netfilter"),
        ({"missing_controllers": ("memory",)}, "cgroups have no controller memory: enable it"),
        ({"sysctls_writable": False}, "/proc/sys cannot be written"),
        (
            {"sysctls": (("/etc/sysctl.d/99-mine.conf", "net/ipv4/ip_forward", "0"),)},
            "/etc/sysctl.d/99-mine.conf sets net/ipv4/ip_forward = 0 after our file does, at every boot: take it out, 1 is needed",
        ),
        ({"addresses": (("127.0.0.1", "lo"), ("192.0.2.12", "eth0"))}, "node_address 192.0.2.11 is none of its addresses: 127.0.0.1, 192.0.2.12"),
        ({"ports": {6443: "nginx"}}, "port 6443 of the apiserver is taken by nginx: stop it"),
        ({"ports": {10250: "kubelet"}}, "port 10250 of the kubelet is taken by kubelet"),
        ({"routes": (("10.244.0.0/20", "eth1"),)}, "pod_cidr 10.244.0.0/16 overlaps 10.244.0.0/20, which it routes to eth1"),
        ({"routes": (("10.0.0.0/8", "tun0"),)}, "service_cidr 10.96.0.0/16 overlaps 10.0.0.0/8, which it routes to tun0"),
        ({"addresses": (("192.0.2.11", "eth0"), ("10.96.3.4", "wg0"))}, "service_cidr 10.96.0.0/16 holds 10.96.3.4, its address on wg0"),
        ({"name_servers": ("10.96.0.53",)}, "service_cidr 10.96.0.0/16 holds 10.96.0.53, its name server"),
    ],
)
def test_what_will_not_do_is_said_with_what_to_do(change: dict[str, Any], said: str) -> None:
    found = judged(replace(GOOD, **change))
    assert any(said in problem for problem in found), found


def test_a_range_that_a_machine_routes_elsewhere_is_told_once() -> None:
    taken = replace(GOOD, addresses=(*GOOD.addresses, ("10.244.9.9", "eth1")), routes=(("10.244.0.0/16", "eth1"),))
    assert judged(taken) == ["pod_cidr 10.244.0.0/16 overlaps 10.244.0.0/16, which it routes to eth1: choose another"]


def test_a_machine_that_takes_its_time_to_answer_has_no_wrong_clock() -> None:
    assert problems(replace(GOOD, clock_s=NOW_S + 15), WANTED, (NOW_S, NOW_S + 30)) == []


def test_a_worker_needs_less() -> None:
    small = replace(GOOD, memory_mb=500, ports={6443: "nginx"})
    assert judged(small, replace(WANTED, groups=frozenset({"workers"}))) == []
    assert len(judged(small)) == 2


def test_what_the_machine_says_is_read() -> None:
    ground = parse(
        [
            "release=debian 12",
            "architecture=x86_64",
            "uid=1000",
            "systemd=systemd",
            "memory_kb=2048000",
            "disk=/opt 4096000",
            "disk=/var/lib 4096000",
            "deployed=yes",
            "clock=1700000001.5",
            "swap=on",
            "no_module=vxlan",
            "no_controller=memory",
            "no_package=runc",
            "read_only_sysctls=yes",
            "sysctl=/etc/sysctl.d/99-sysctl.conf net.ipv4.ip_forward 0",
            "address=127.0.0.1 lo",
            "address=192.0.2.11 eth0",
            "route=192.0.2.0/24 eth0",
            "name_server=192.0.2.1",
            'port=22 users:(("sshd",pid=7,fd=3))',
        ]
    )
    assert ground == Ground(
        release="debian 12",
        architecture="x86_64",
        uid=1000,
        systemd="systemd",
        memory_mb=2000,
        disk_mb={"/opt": 4000, "/var/lib": 4000},
        deployed=True,
        clock_s=1700000001.5,
        swap=True,
        missing_modules=("vxlan",),
        missing_controllers=("memory",),
        missing_packages=("runc",),
        sysctls_writable=False,
        sysctls=(("/etc/sysctl.d/99-sysctl.conf", "net.ipv4.ip_forward", "0"),),
        addresses=(("127.0.0.1", "lo"), ("192.0.2.11", "eth0")),
        routes=(("192.0.2.0/24", "eth0"),),
        name_servers=("192.0.2.1",),
        ports={22: "sshd"},
    )


def test_this_machine_answers_the_question() -> None:
    """The script itself, run here: it ends well, and what it says is read."""
    command = ReadGround.command(ReadGround(), modules=list(MODULES), packages=[*PACKAGES, "no-such-package-anywhere"])
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    ground = parse(done.stdout.splitlines())
    assert done.stderr == ""
    assert ground.memory_mb > 0 and ground.disk_mb.keys() == {"/opt", "/var/lib"} and ground.clock_s > NOW_S and ("127.0.0.1", "lo") in ground.addresses
    assert ground.uid == int(subprocess.run(["id", "-u"], capture_output=True, text=True, check=True).stdout)
    assert not ground.apt or set(ground.missing_packages) <= {*PACKAGES, "no-such-package-anywhere", "python3.11", "python3.12", "python3.13"}


def test_all_hosts_are_in_one_table() -> None:
    console = Console(file=io.StringIO(), width=120)
    preflight.show({"worker-1": ["swap is on", "no apt"], "master-1": []}, console)
    assert isinstance(console.file, io.StringIO)
    assert [line.split() for line in console.file.getvalue().splitlines()] == [
        ["Preflight"],
        ["HOST", "PROBLEM"],
        ["master-1", "none"],
        ["worker-1", "swap", "is", "on"],
        ["no", "apt"],
    ]
