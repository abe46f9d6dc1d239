"""Which machine gets which role, and in which order: pyinfra runs this file once for every host.

Every operation is a barrier: all hosts finish it before any begins the next, so a role may rely on what earlier roles did on other hosts.
"""

from pyinfra.context import host

from k8sfromscratch.lab import artifacts
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
    _made = artifacts.ensure(python())
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
