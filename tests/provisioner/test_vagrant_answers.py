"""What Vagrant prints, as the inventory reads it, and what it is not asked to do."""

from pathlib import Path

import pytest

from k8sfromscratch.lab import vagrant as answers
from k8sfromscratch.lab.libvirt_host import Host
from k8sfromscratch.lab.providers import vagrant
from k8sfromscratch.lab.spec import ClusterSpec
from k8sfromscratch.lab.vagrant import ssh_options, states

STATUS = """\
1732172400,master-1,metadata,provider,libvirt
1732172400,master-1,provider-name,libvirt
1732172400,master-1,state,running
1732172400,master-1,state-human-short,running
1732172400,worker-1,metadata,provider,libvirt
1732172400,worker-1,state,not_created
1732172400,,ui,info,Current machine states:\\n\\nmaster-1 running (libvirt)
"""

SSH_CONFIG = """\
Host master-1
  HostName 192.168.121.57
  User vagrant
  Port 22
  UserKnownHostsFile /dev/null
  IdentityFile "/srv/a user/.vagrant.d/boxes/node/0/libvirt/ssh_key"
  IdentityFile /another
  IdentitiesOnly yes

Host worker-1
  HostName 192.168.121.58
  User vagrant
  Port 2222
  IdentityFile /another

"""


def test_states_of_machines() -> None:
    assert states(STATUS) == {"master-1": "running", "worker-1": "not_created"}


def test_how_ssh_reaches_a_machine() -> None:
    hosts = ssh_options(SSH_CONFIG)
    assert list(hosts) == ["master-1", "worker-1"] and hosts["worker-1"]["Port"] == "2222"
    options = hosts["master-1"]
    assert (options["HostName"], options["User"], options["Port"]) == ("192.168.121.57", "vagrant", "22")
    assert options["IdentityFile"] == "/srv/a user/.vagrant.d/boxes/node/0/libvirt/ssh_key"


@pytest.mark.parametrize(
    ("kind", "power_off", "done"),
    [
        ("libvirt", True, "kfs-worker-1 has no power"),
        ("libvirt", False, "vagrant halt worker-1"),
        ("virtualbox", True, "vagrant halt --force worker-1"),
    ],
)
def test_power_is_cut_and_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, power_off: bool, done: str) -> None:
    """vagrant-libvirt's `halt --force` asks the machine to shut down: a fault that is to be tested is none then."""
    file = tmp_path / "machines" / "worker-1" / kind / "id"
    file.parent.mkdir(parents=True)
    file.write_text("1")
    said: list[str] = []
    monkeypatch.setenv("VAGRANT_DOTFILE_PATH", str(tmp_path))
    monkeypatch.setattr(vagrant, "run", lambda command, **_more: said.append(" ".join(command)))
    monkeypatch.setattr(Host, "power_off", lambda _host, name: said.append(f"{name} has no power"))
    spec = ClusterSpec()
    vagrant.VagrantProvider(spec).stop(spec.machine("worker-1"), power_off=power_off)
    assert said == [done]


def test_there_is_a_place_for_the_keys_of_machines_that_came_up_without_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id_file = tmp_path / "state" / "machines" / "master-1" / "libvirt" / "id"
    id_file.parent.mkdir(parents=True)
    id_file.write_text("1")
    monkeypatch.setenv("VAGRANT_DOTFILE_PATH", str(tmp_path / "state"))
    monkeypatch.setattr(answers, "run", lambda command, **_more: STATUS if "status" in command else SSH_CONFIG.partition("\n\n")[0])
    (machine,) = answers.machines.__wrapped__()
    assert machine.known_hosts.parent.is_dir()
