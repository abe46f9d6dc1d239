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

"""


def test_states_of_machines() -> None:
    assert states(STATUS) == {"master-1": "running", "worker-1": "not_created"}


def test_how_ssh_reaches_a_machine() -> None:
    options = ssh_options(SSH_CONFIG)
    assert (options["HostName"], options["User"], options["Port"]) == ("192.168.121.57", "vagrant", "22")
    assert options["IdentityFile"] == "/srv/a user/.vagrant.d/boxes/node/0/libvirt/ssh_key"
