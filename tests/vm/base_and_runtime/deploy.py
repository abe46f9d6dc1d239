"""The roles that every machine gets first, alone: what a virtual machine without a cluster is held to."""

from k8sfromscratch.lab import artifacts
from roles.base import base
from roles.runtime import runtime

_made = artifacts.ensure()

base(_made.environment)
runtime(images=_made.images)
