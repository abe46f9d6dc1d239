"""Which machine gets which role, and in which order: pyinfra runs this file once for every host.

Every operation is a barrier: all hosts finish it before any begins the next, so a role may rely on what earlier roles did on other hosts.
"""

from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import host

from k8sfromscratch.lab import artifacts
from k8sfromscratch.lab.errors import LabError
from roles.addons import addons
from roles.base import base
from roles.checks import checks
from roles.control_plane import control_plane
from roles.etcd import etcd
from roles.node import node
from roles.pki import pki
from roles.preflight import passed, preflight, python
from roles.runtime import runtime

preflight()

if passed():
    try:
        _made = artifacts.ensure(python())
    except (LabError, OSError) as _error:
        # As pyinfra's own, which it tells without a traceback.
        raise PyinfraError(f"this host cannot make what machines are given: {_error}") from _error
    _wheel = _made.environment.identity
    base(_made.environment)
    pki()
    if "masters" in host.groups:
        # First what the workers wait for.
        etcd(wheel=_wheel)
        control_plane(wheel=_wheel)
        addons(image=_made.image("addons").reference)
    runtime(images=_made.images)
    node(wheel=_wheel)
    checks()
