"""One's own machines: Debian 12 with SSH and root (or sudo: add `_sudo = True`), named here with the address that the others reach them by.

Copy this folder, change it, and run `pyinfra my_inventory/own_machines.py deploy.py`.
"""

masters = [
    ("192.0.2.11", {"ssh_user": "root", "node_name": "master-1", "node_address": "192.0.2.11"}),
]

workers = [
    ("192.0.2.21", {"ssh_user": "root", "node_name": "worker-1", "node_address": "192.0.2.21"}),
    ("192.0.2.22", {"ssh_user": "root", "node_name": "worker-2", "node_address": "192.0.2.22"}),
]
