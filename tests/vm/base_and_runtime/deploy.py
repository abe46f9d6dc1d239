"""The roles that every machine gets first, alone: what a virtual machine without a cluster is held to."""

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
