"""The one machine that the test started, as somebody's own machine would be listed: its address, and a user with sudo."""

import os

machines = [
    (
        "127.0.0.1",
        {
            "ssh_port": int(os.environ["VM_SSH_PORT"]),
            "ssh_user": os.environ["VM_SSH_USER"],
            "ssh_key": os.environ["VM_SSH_KEY"],
            "ssh_known_hosts_file": os.environ["VM_KNOWN_HOSTS"],
            "ssh_strict_host_key_checking": "accept-new",
            "_sudo": True,
        },
    )
]
