"""What Vagrant prints, as the inventory reads it."""

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
