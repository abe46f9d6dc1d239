"""Which machine gets which role, and in which order: pyinfra runs this file once for every host.

Every operation is a barrier: all hosts finish it before any begins the next, so a role may rely on what earlier roles did on other hosts.
"""

from k8sfromscratch.lab import artifacts
from roles.base import base
from roles.runtime import runtime

_made = artifacts.ensure()

base(
    dependencies=_made.wheels.dependencies,
    dependencies_hash=_made.wheels.dependencies_hash,
    project=_made.wheels.project,
    project_hash=_made.wheels.project_hash,
)
runtime(images=_made.images)
