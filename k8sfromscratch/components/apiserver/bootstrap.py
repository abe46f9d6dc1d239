"""What every new cluster holds, made anew when it is missing: the first namespaces, the system's priority classes, the service range,
the flow schemas.

Post-start hooks: they run once the caches are filled, and readiness waits for them.  Each creates what is absent and touches nothing
that is there; several apiservers may run them at once.
"""

from typing import TYPE_CHECKING, Any

from k8sfromscratch.api.errors import AlreadyExists
from k8sfromscratch.api.registry import NAMESPACES, PRIORITY_CLASSES, SERVICE_CIDRS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver.bootstrap_flowcontrol import flow_control

if TYPE_CHECKING:
    from k8sfromscratch.components.apiserver.server import ApiServer

Object = dict[str, Any]

SYSTEM_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "default")

_PRIORITY_CLASSES = (
    ("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
    ("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
)


async def system_namespaces(server: "ApiServer") -> None:
    for name in SYSTEM_NAMESPACES:
        await _ensure(server, NAMESPACES, {"metadata": {"name": name}})


async def system_priority_classes(server: "ApiServer") -> None:
    for name, value, description in _PRIORITY_CLASSES:
        await _ensure(server, PRIORITY_CLASSES, {"metadata": {"name": name}, "value": value, "description": description})


async def service_range(server: "ApiServer") -> None:
    """The ServiceCIDR object that says which range --service-cluster-ip-range gave."""
    cidrs = [str(network) for network in server.options.ranges.networks]
    await _ensure(server, SERVICE_CIDRS, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}})


async def _ensure(server: "ApiServer", resource: Resource, obj: Object) -> None:
    if server.view.get(resource, obj["metadata"]["name"]) is not None:
        return
    try:
        await server.loopback.create(resource, {"apiVersion": resource.api_version, "kind": resource.kind, **obj})
    except AlreadyExists:
        return


HOOKS = (
    ("start-system-namespaces-controller", system_namespaces),
    ("scheduling/bootstrap-system-priority-classes", system_priority_classes),
    ("start-kubernetes-service-cidr-controller", service_range),
    ("priority-and-fairness-config-producer", flow_control),
)
