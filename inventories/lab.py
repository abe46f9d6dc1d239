"""The local lab as a pyinfra inventory: `pyinfra inventories/lab.py deploy.py`.

What machines there are comes from `lab.yaml` beside this file and LAB_*; what the roles are to make of them is in `group_data/`.
pyinfra evaluates this file more than once: it only reads.
"""

from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.spec import load_spec

try:
    _spec = load_spec()
except SpecError as _error:
    raise SystemExit(str(_error)) from None
if _spec.provider == "vagrant":
    raise SystemExit("Vagrant's machines are made by `vagrant up` and listed in inventories/vagrant.py")

masters = [f"@lab/{machine.name}" for machine in _spec.machines if machine.role == "master"]
workers = [f"@lab/{machine.name}" for machine in _spec.machines if machine.role == "worker"]
