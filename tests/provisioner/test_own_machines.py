"""The file of one's own machines: what it makes of hosts, and what it refuses; and what is told of a host that cannot be reached."""

import runpy
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.connectors.ssh import SSHConnector

from k8sfromscratch.lab import own_connector
from k8sfromscratch.lab.environment import Environment
from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.own_connector import OwnConnector, explained
from k8sfromscratch.lab.own_machines import load_machines
from k8sfromscratch.lab.spec import ROOT
from k8sfromscratch.lab.wheelhouse import for_nodes
from roles.preflight.releases import PYTHONS

GOOD: dict[str, Any] = {
    "cluster": "mine",
    "masters": [{"name": "master-1", "address": "192.0.2.11"}],
    "workers": [{"name": "worker-1", "address": "192.0.2.21", "ssh": {"host": "gateway", "port": 2222, "user": "root"}}],
    "ssh": {"user": "admin", "key": "~/.ssh/own"},
}


def loaded(tmp_path: Path, **changes: Any) -> Any:
    file = tmp_path / "machines.yaml"
    file.write_text(yaml.safe_dump({**GOOD, **changes}))
    return load_machines({"KFS_MACHINES": str(file)})


def test_machines_become_hosts(tmp_path: Path) -> None:
    own = loaded(tmp_path)
    ((master, data),) = own.hosts(own.masters, {})
    assert master == "@own/master-1"
    assert (data["ssh_hostname"], data["ssh_port"], data["ssh_user"], data["_sudo"]) == ("192.0.2.11", 22, "admin", True)
    assert data["ssh_key"] == str(Path("~/.ssh/own").expanduser()) and data["ssh_look_for_keys"] is False
    assert (data["node_name"], data["node_address"], data["api_address"]) == ("master-1", "192.0.2.11", "192.0.2.11")
    assert data["pki_directory"] == str(ROOT / ".clusters" / "mine" / "pki")
    ((_, worker),) = own.hosts(own.workers, {})
    assert (worker["ssh_hostname"], worker["ssh_port"], worker["_sudo"]) == ("gateway", 2222, False)


def test_a_sudo_password_comes_from_the_environment_and_only_where_sudo_is_used(tmp_path: Path) -> None:
    own = loaded(tmp_path)
    hosts = dict(own.hosts([*own.masters, *own.workers], {"KFS_SUDO_PASSWORD": "secret"}))
    assert hosts["@own/master-1"]["_sudo_password"] == "secret"
    assert "_sudo_password" not in hosts["@own/worker-1"]


def test_nothing_of_the_labs_group_data_shows_through(tmp_path: Path) -> None:
    """pyinfra reads `group_data/` beside an inventory: a host's own data must have a value for each of its names."""
    lab = runpy.run_path(str(ROOT / "inventories" / "group_data" / "all.py"))
    names = {name for name, value in lab.items() if not name.startswith("_") and isinstance(value, (str, int, float))}
    own = loaded(tmp_path)
    ((_, data),) = own.hosts(own.masters, {})
    assert len(names) > 8 and names <= data.keys()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"masters": []}, "masters: List should have at least 1 item"),
        ({"masters": [{"name": f"m{n}", "address": f"192.0.2.{n}"} for n in (1, 2)]}, "2 masters survive the loss of no more of them than 1 do"),
        ({"workers": [{"name": "master-1", "address": "192.0.2.9"}]}, "name master-1 is there twice"),
        ({"workers": [{"name": "w", "address": "192.0.2.11"}]}, "address 192.0.2.11 is there twice"),
        ({"workers": [{"name": "Worker_1", "address": "192.0.2.21"}]}, "workers.0.name: String should match pattern"),
        ({"workers": [{"name": "w", "address": "worker.example.org"}]}, "workers.0.address: Input is not a valid IPv4 address"),
        ({"pod_cidr": "192.0.0.0/16"}, "pod_cidr 192.0.0.0/16 holds machines: master-1 (192.0.2.11), worker-1 (192.0.2.21)"),
        ({"service_cidr": "10.244.64.0/20"}, "pod_cidr 10.244.0.0/16 and service_cidr 10.244.64.0/20 overlap"),
        ({"service_cidr": "10.96.0.0/24"}, "service_cidr 10.96.0.0/24 is too small"),
        ({"node_port_range": "40000-30000"}, "node_port_range 40000-30000 is not a range of ports"),
        ({"ssh": {"user": "admin", "sudo": "perhaps"}}, "ssh of master-1: sudo: Input should be a valid boolean"),
        ({"ssh": {"username": "admin"}}, "ssh of master-1: username: Extra inputs are not permitted"),
        ({"nodes": []}, "nodes: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as raised:
        loaded(tmp_path, **changes)
    assert said in str(raised.value) and str(tmp_path / "machines.yaml") in str(raised.value)


@pytest.mark.parametrize("text", ["- a\n- list\n", "masters: [\n", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "machines.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match=r"machines\.yaml"):
        load_machines({"KFS_MACHINES": str(file)})


def test_no_file_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="No such file"):
        load_machines({"KFS_MACHINES": str(tmp_path / "absent.yaml")})
    monkeypatch.delenv("KFS_MACHINES", raising=False)
    with pytest.raises(SystemExit, match="set KFS_MACHINES to the file that lists your machines"):
        runpy.run_path(str(ROOT / "inventories" / "example_ssh.py"))


def test_a_wrong_lab_is_told_to_those_who_have_none_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group data is read with every inventory beside it: without a traceback, and with what to change."""
    monkeypatch.setenv("LAB_WORKERS", "many")
    with pytest.raises(SystemExit, match=r"workers: Input should be a valid integer.*from LAB_WORKERS"):
        runpy.run_path(str(ROOT / "inventories" / "group_data" / "all.py"))


def test_the_example_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFS_MACHINES", str(ROOT / "inventories" / "example_ssh.yaml"))
    found = runpy.run_path(str(ROOT / "inventories" / "example_ssh.py"))
    assert [name for name, _ in found["masters"]] == ["@own/master-1"]
    assert [name for name, _ in found["workers"]] == ["@own/worker-1", "@own/worker-2"]


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("Authentication error (username=admin)", "is the user right, and this key among its authorized_keys?"),
        ("SSH host key error (Host key for 192.0.2.1 does not match.)", "if the machine was made anew: ssh-keygen -R"),
        ("Could not resolve hostname (…)", "is its name right?"),
        ("No such private key file: /absent", "is the path of the key right?"),
        ("Could not connect (timed out)", "does a firewall let SSH through?"),
        ("Could not connect ([Errno 111] Connection refused)", "does its SSH server listen at this address and port?"),
    ],
)
def test_each_way_not_to_be_reached_has_its_remedy(error: str, remedy: str) -> None:
    assert explained(error).startswith(f"{error}: ") and remedy in explained(error)


def test_why_a_host_was_not_reached_is_kept_for_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Host:
        name = "@own/worker-1"

    connector = OwnConnector.__new__(OwnConnector)
    connector.host, connector.data = Host(), {"ssh_hostname": "192.0.2.21"}  # type: ignore[assignment,typeddict-item]
    monkeypatch.setattr(own_connector, "unreachable", {})

    def refused(_self: SSHConnector) -> None:
        raise PyinfraError("No such private key file: /absent")

    monkeypatch.setattr(SSHConnector, "connect", refused)
    with pytest.raises(ConnectError, match=r"192\.0\.2\.21: No such private key file: /absent: is the path of the key right\?"):
        connector.connect()
    assert own_connector.unreachable["@own/worker-1"].endswith("is the path of the key right?")


class Wire:
    def __init__(self) -> None:
        self.options: list[tuple[int, int, int]] = []

    def setsockopt(self, *option: int) -> None:
        self.options.append(option)  # type: ignore[arg-type]


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "by another machine"])
def test_a_host_that_dies_in_the_middle_is_noticed(monkeypatch: pytest.MonkeyPatch, direct: bool) -> None:
    asked: list[int] = []
    wire = Wire()
    transport = SimpleNamespace(set_keepalive=asked.append, sock=wire if direct else object())

    def connected(connector: SSHConnector) -> None:
        connector.client = SimpleNamespace(get_transport=lambda: transport)  # type: ignore[assignment]

    monkeypatch.setattr(SSHConnector, "connect", connected)
    monkeypatch.setattr(OwnConnector, "run_shell_command", lambda *_words: (True, None))
    OwnConnector.__new__(OwnConnector).connect()
    assert asked == [5]
    assert wire.options == ([(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)] if direct else [])


@pytest.mark.parametrize("python", sorted(set(PYTHONS.values())))
def test_wheels_are_chosen_and_services_restarted_for_each_python(python: str, tmp_path: Path) -> None:
    options = for_nodes(python)
    assert f"--python-version={python}" in options and f"--abi=cp{python.replace('.', '')}" in options
    assert not any("2_36" in option for option in options), "glibc of Ubuntu 22.04 is 2.35"
    made = Environment(python, tmp_path, "d", tmp_path, "p", True)
    assert made.interpreter == f"/usr/bin/python{python}" and f"/python{python}/" in made.site
