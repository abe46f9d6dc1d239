"""The lab's bridge and rules, made and taken away in a network namespace of the test's own, on a host where docker left FORWARD at DROP."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from k8sfromscratch.lab import network
from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.network import _nft_rules
from k8sfromscratch.lab.spec import ClusterSpec

# Runs in `unshare --net`; prints what was there before, while and after.
SCRIPT = """
import json, subprocess, sys
from pathlib import Path
from k8sfromscratch.lab import network
from k8sfromscratch.lab.spec import ClusterSpec

def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout

def seen():
    return {
        "forward": run("iptables", "-S"),
        "nft": [line for line in run("nft", "list", "tables").splitlines() if "lab" in line],
        "links": [link["ifname"] for link in json.loads(run("ip", "-json", "link"))],
        "ip_forward": Path("/proc/sys/net/ipv4/ip_forward").read_text().strip(),
    }

spec = ClusterSpec(name="nettest")
run("iptables", "-A", "FORWARD", "-s", "192.0.2.0/24", "-j", "ACCEPT")
if "drop" in sys.argv:
    run("iptables", "-P", "FORWARD", "DROP")
Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
states = [seen()]
network.ensure(spec)
states.append(seen())
network.ensure(spec)
states.append(seen())
# A machine that has ended, whose namespace the kernel has not taken away yet.
run("ip", "link", "add", "vb-machine", "type", "veth", "peer", "name", "host0")
run("ip", "link", "set", "vb-machine", "master", "nettest-br0")
# Its own machine is no reason to refuse the bridge; without a record it is another's.
network.check_bridge(spec)
record = network.Record.load()
network.Record().save()
try:
    network.check_bridge(spec)
    raise SystemExit("another's bridge was taken")
except network.LabError as error:
    assert "the bridge nettest-br0 is there, with vb-machine on it, and this lab has not made it" in str(error), error
record.save()
network.remove()
states.append(seen())
network.check_bridge(spec)
network.remove()
states.append(seen())
print(json.dumps(states))
"""


@pytest.fixture
def states(needs: Callable[..., None], tmp_path: Path) -> list[dict[str, object]]:
    needs("unshare", "iptables", "nft", "ip", root=True)
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SCRIPT, "drop"],
        env={**os.environ, "KFS_LAB_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_made_once_and_taken_away_without_a_trace(states: list[dict[str, object]]) -> None:
    before, made, again, removed, removed_again = states
    assert made == again, "a second run changes nothing"
    assert removed == before == removed_again, "nothing else is touched, nothing stays"
    assert "nettest-br0" in made["links"]  # type: ignore[operator]
    assert made["nft"] == ["table inet nettest-lab"]
    assert made["ip_forward"] == "1"


def test_accepts_come_first_in_the_chain_that_drops(states: list[dict[str, object]]) -> None:
    rules = str(states[1]["forward"]).splitlines()
    assert next(rule for rule in rules if rule.startswith("-A FORWARD")) == "-A FORWARD -j NETTEST-LAB-FORWARD"
    assert "-A NETTEST-LAB-FORWARD -i nettest-br0 -j ACCEPT" in rules
    assert "-A NETTEST-LAB-FORWARD -o nettest-br0 -j ACCEPT" in rules


ROUTES = [
    {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
    {"dst": "10.89.0.0/24", "dev": "br7", "scope": "link"},
    {"dst": "10.96.0.0/16", "gateway": "192.0.2.9", "dev": "eth0"},
]


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, "machine_cidr: 10.89.0.0/24 overlaps 10.89.0.0/24, which this host routes to br7; set LAB_MACHINE_CIDR"),
        ({"libvirt_bridge": "br7"}, "machine_cidr"),  # nspawn machines have a bridge of the lab's own
        ({"provider": "libvirt"}, "machine_cidr"),
        ({"provider": "libvirt", "libvirt_bridge": "br8"}, "machine_cidr"),
        # The way to the machines.
        ({"provider": "libvirt", "libvirt_bridge": "br7"}, "service_cidr: 10.96.0.0/16 overlaps 10.96.0.0/16"),
        ({"provider": "libvirt", "libvirt_uri": "qemu+ssh://root@far.example/system"}, "service_cidr"),
        ({"provider": "libvirt", "libvirt_bridge": "br7", "service_cidr": "10.97.0.0/16"}, ""),
        ({"provider": "libvirt", "libvirt_uri": "qemu+ssh://root@far.example/system", "service_cidr": "10.97.0.0/16"}, ""),
    ],
)
def test_ranges_that_this_host_routes_elsewhere_are_refused(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], refused: str) -> None:
    monkeypatch.setattr(network, "run", lambda _argv: json.dumps(ROUTES))
    spec = ClusterSpec.model_validate(changes)
    if not refused:
        network.check_ranges(spec)
        return
    with pytest.raises(SpecError, match=f"^cluster spec: {refused}"):
        network.check_ranges(spec)


def test_only_what_leaves_the_lab_is_masqueraded() -> None:
    rules = _nft_rules(ClusterSpec(), "kfs-lab")
    assert 'ip saddr { 10.89.0.0/24, 10.244.0.0/16 } ip daddr != { 10.89.0.0/24, 10.244.0.0/16 } oifname != "kfs-br0" masquerade' in rules
