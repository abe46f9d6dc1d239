"""Machines of one's own as a pyinfra inventory: `KFS_MACHINES=machines.yaml pyinfra inventories/example_ssh.py deploy.py`.

What the file holds, and what the machines need, is in docs/machines.md.  Everything the roles read comes from it: this folder's
`group_data/` is the lab's.
"""

from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.own_machines import load_machines

try:
    _own = load_machines()
except SpecError as _error:
    raise SystemExit(str(_error)) from None

masters = _own.hosts(_own.masters)
workers = _own.hosts(_own.workers)
