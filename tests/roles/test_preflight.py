"""Facts in, problems out; and that a machine with problems is refused before anything is changed."""

import io
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from rich.console import Console

from roles import preflight
from roles.preflight.ground import Ground, parse, problems
from tests.roles.machine import Machine, run_role

RANGES = {"pod_cidr": IPv4Network("10.244.0.0/16"), "service_cidr": IPv4Network("10.96.0.0/16")}
NOW_S = 1_700_000_000.0
GOOD = Ground(
    release="debian 12",
    architecture="x86_64",
    systemd="systemd",
    python="3.11",
    memory_mb=2000,
    disk_mb={"/opt": 9000, "/var/lib": 9000},
    clock_s=NOW_S + 1,
    addresses=("127.0.0.1", "192.0.2.11"),
    routes=(("192.0.2.0/24", "eth0"), ("10.244.1.0/24", "cni0"), ("10.244.2.0/24", "flannel.1")),
    ports={22: "sshd", 53: "systemd-resolve"},
)


def judged(ground: Ground, *groups: str) -> list[str]:
    return problems(ground, groups or ("masters", "workers"), "192.0.2.11", RANGES, (NOW_S, NOW_S + 2))


def test_a_good_machine_has_no_problem_on_the_first_run_or_any_other() -> None:
    assert judged(GOOD) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"release": "ubuntu 20.04"}, "release ubuntu 20.04 is not supported: use debian 12"),
        ({"release": ""}, "release unknown is not supported"),
        ({"architecture": "aarch64"}, "architecture aarch64 is not supported"),
        ({"systemd": "init"}, "process 1 is init"),
        ({"python": "3.9"}, "python3 is 3.9: the wheels are for 3.11"),
        ({"apt": False}, "no apt-get"),
        ({"memory_mb": 800}, "memory is 800 MB: at least 900 MB are needed"),
        ({"disk_mb": {"/opt": 100, "/var/lib": 9000}}, "/opt has 100 MB free"),
        ({"clock_s": NOW_S - 3600}, "the clock is -3600 s from the control host's"),
        ({"swap": True}, "swap is on: swapoff --all"),
        ({"missing_modules": ("vxlan", "br_netfilter")}, "the kernel has no vxlan, br_netfilter"),
        ({"addresses": ("127.0.0.1", "192.0.2.12")}, "node_address 192.0.2.11 is none of its addresses: 127.0.0.1, 192.0.2.12"),
        ({"ports": {6443: "nginx"}}, "port 6443 of the apiserver is taken by nginx: stop it"),
        ({"ports": {10250: "kubelet"}}, "port 10250 of the kubelet is taken by kubelet"),
        ({"routes": (("10.244.0.0/20", "eth1"),)}, "pod_cidr 10.244.0.0/16 overlaps 10.244.0.0/20, which it routes to eth1"),
        ({"routes": (("10.0.0.0/8", "tun0"),)}, "service_cidr 10.96.0.0/16 overlaps 10.0.0.0/8, which it routes to tun0"),
    ],
)
def test_what_will_not_do_is_said_with_what_to_do(change: dict[str, Any], said: str) -> None:
    found = judged(replace(GOOD, **change))
    assert any(said in problem for problem in found), found


def test_a_machine_that_takes_its_time_to_answer_has_no_wrong_clock() -> None:
    assert problems(replace(GOOD, clock_s=NOW_S + 15), ["workers"], "192.0.2.11", RANGES, (NOW_S, NOW_S + 30)) == []


def test_a_worker_needs_less() -> None:
    small = replace(GOOD, memory_mb=500, ports={6443: "nginx"})
    assert judged(small, "workers") == []
    assert len(judged(small, "masters", "workers")) == 2


def test_what_the_machine_says_is_read() -> None:
    ground = parse(
        [
            "release=debian 12",
            "architecture=x86_64",
            "systemd=systemd",
            "python=3.11",
            "memory_kb=2048000",
            "disk=/opt 4096000",
            "disk=/var/lib 4096000",
            "clock=1700000001.5",
            "swap=on",
            "no_module=vxlan",
            "address=127.0.0.1",
            "address=192.0.2.11",
            "route=192.0.2.0/24 eth0",
            'port=22 users:(("sshd",pid=7,fd=3))',
        ]
    )
    assert ground == Ground(
        "debian 12",
        "x86_64",
        "systemd",
        "3.11",
        2000,
        {"/opt": 4000, "/var/lib": 4000},
        1700000001.5,
        True,
        True,
        ("vxlan",),
        ("127.0.0.1", "192.0.2.11"),
        (("192.0.2.0/24", "eth0"),),
        {22: "sshd"},
    )


def test_a_machine_with_problems_is_refused_and_one_without_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine("worker-1", "192.0.2.11", ["workers"], {})
    machine._FACTS[preflight.ReadGround] = lambda self, modules: GOOD
    monkeypatch.setattr(preflight.time, "time", lambda: NOW_S)
    machine.data |= {"pod_cidr": "10.244.0.0/16", "service_cidr": "10.96.0.0/16"}
    assert run_role(preflight, preflight.preflight, machine, []) == []
    machine._FACTS[preflight.ReadGround] = lambda self, modules: replace(GOOD, swap=True)
    with pytest.raises(AssertionError, match="preflight: swap is on"):  # a command that fails there, which the fake machine does not know
        run_role(preflight, preflight.preflight, machine, [])


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
