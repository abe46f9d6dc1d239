"""Endpoints: the older, single-object form of a Service's backends, kept for the clients that still read it (`kubectl get endpoints`).

Addresses that serve the same ports form a subset, ready and not ready ones apart; terminating pods are left out.  What exceeds 1,000
addresses is cut off and the object says so.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from k8sfromscratch.api.registry import ENDPOINTS
from k8sfromscratch.core.reconcile import objects, service_backends
from k8sfromscratch.core.reconcile.plan import NOTHING, Create, Delete, Object, Plan, Update

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MAX_ADDRESSES = 1000


def plan(service: Object | None, pods: Sequence[Object], current: Object | None, now: datetime) -> Plan:
    """`current` is the Endpoints object of the Service's name, if there is one."""
    if service is None:
        ours = current is not None and objects.labels(current).get(MANAGED_BY) == CONTROLLER
        return Plan((Delete(ENDPOINTS, objects.namespace(current), objects.name(current), objects.uid(current)),)) if ours and current else NOTHING
    if objects.spec(service).get("type") == "ExternalName" or not objects.spec(service).get("selector"):
        return NOTHING
    publish = bool(objects.spec(service).get("publishNotReadyAddresses"))
    backends = [pod for pod in service_backends.backends(service, pods) if publish or not objects.deleting(pod)]
    subsets, truncated = _subsets(service, backends, publish)
    labels = {**service_backends.service_labels(service), MANAGED_BY: CONTROLLER}
    annotations = {service_backends.LAST_CHANGE_TRIGGER: service_backends.last_change(service, backends)}
    if truncated:
        annotations[OVER_CAPACITY] = "truncated"
    if current is None:
        metadata = {"name": objects.name(service), "namespace": objects.namespace(service), "labels": labels, "annotations": annotations}
        return Plan((Create(ENDPOINTS, {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}),))
    if (current.get("subsets") or []) == subsets and objects.labels(current) == labels and (OVER_CAPACITY in objects.annotations(current)) == truncated:
        return NOTHING
    changed = objects.replaced(current, subsets=subsets)
    others = {k: v for k, v in objects.annotations(current).items() if k not in (OVER_CAPACITY, service_backends.LAST_CHANGE_TRIGGER)}
    changed["metadata"] |= {"labels": labels, "annotations": {**others, **annotations}}
    return Plan((Update(ENDPOINTS, changed),))


def _subsets(service: Object, backends: Sequence[Object], publish: bool) -> tuple[list[dict[str, Any]], bool]:
    """Subsets in the order of their ports, addresses in the order of their value: equal backends give equal objects."""
    family = service_backends.families(service)[0]
    groups: dict[str, dict[str, Any]] = {}
    for pod in sorted(backends, key=lambda pod: not objects.pod_ready(pod))[:MAX_ADDRESSES]:
        found = service_backends.addresses(pod, family)
        if not found:
            continue
        ports = sorted(service_backends.ports(service, pod), key=lambda p: (p["name"], p["protocol"], p["port"]))
        if not ports and not service_backends.is_headless(service):
            continue
        for entry in ports:
            if not entry["name"]:
                del entry["name"]
        subset = groups.setdefault(repr(ports), {"addresses": [], "notReadyAddresses": [], "ports": ports})
        ready = publish or objects.pod_ready(pod)
        subset["addresses" if ready else "notReadyAddresses"].append(_address(service, pod, found[0]))
    subsets = []
    for _, subset in sorted(groups.items()):
        for part in ("addresses", "notReadyAddresses"):
            subset[part].sort(key=lambda address: address["ip"])
        subsets.append({part: value for part, value in subset.items() if value})
    return subsets, len(backends) > MAX_ADDRESSES


def _address(service: Object, pod: Object, address: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"ip": address, "targetRef": service_backends.target_reference(pod)}
    if hostname := service_backends.hostname(service, pod):
        entry["hostname"] = hostname
    if node_name := objects.spec(pod).get("nodeName"):
        entry["nodeName"] = node_name
    return entry
