"""A complete Kubernetes in readable Python, and the provisioner that puts it on machines."""

__version__ = "0.1.0"

KUBERNETES_VERSION = "v1.35.0"
"""The API level we serve, and what nodes and /version report."""
