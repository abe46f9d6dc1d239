"""EndpointSlice mirroring: what people write into Endpoints by hand, for those who read slices alone (kube-proxy, DNS).

A Service without a selector has the endpoints that someone states for it: a database outside the cluster, say.  Its Endpoints become one slice for
each address family and each set of ports.  Not mirrored are Endpoints of Services with a selector (their pods have slices already), of no Service,
and those that say so: by a label, or by being the record of a leader election.
"""

from collections.abc import Sequence
from typing import Any

from k8sfromscratch.api.registry import ENDPOINT_SLICES, ENDPOINTS
from k8sfromscratch.core.reconcile import objects, service_backends
from k8sfromscratch.core.reconcile.endpointslice import MANAGED_BY, SERVICE_NAME
from k8sfromscratch.core.reconcile.plan import Create, Delete, Object, Plan, Step, Update

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
ADDRESSES_MAX = 1000
"""For each slice; upstream's number, and what a slice may hold."""

_NOT_COPIED = (service_backends.LAST_CHANGE_TRIGGER, "kubectl.kubernetes.io/last-applied-configuration")

Key = tuple[str, tuple[tuple[str, str, int, str], ...]]
"""An address family, and ports by name, protocol, number and application protocol."""


def plan(service: Object | None, stated: Object | None, slices: Sequence[Object]) -> Plan:
    """`stated`: the Endpoints of the Service's name; `slices`: those of that Service that this controller manages."""
    present = [one for one in slices if not objects.deleting(one)]
    if service is None or stated is None or objects.deleting(stated) or not _is_mirrored(service, stated):
        return Plan(tuple(_delete(one) for one in present))
    wanted = _wanted(stated)
    template = {"labels": _labels(service, stated), "annotations": {k: v for k, v in objects.annotations(stated).items() if k not in _NOT_COPIED}}
    steps: list[Step] = []
    for one in present:
        endpoints = wanted.pop(_key(one), None)
        if endpoints is None:
            steps.append(_delete(one))
        elif (one.get("endpoints") or []) != endpoints or objects.labels(one) != template["labels"] or objects.annotations(one) != template["annotations"]:
            changed = objects.replaced(one, endpoints=endpoints)
            changed["metadata"] |= template
            steps.append(Update(ENDPOINT_SLICES, changed))
    return Plan((*steps, *(_create(stated, key, endpoints, template) for key, endpoints in wanted.items())))


def _is_mirrored(service: Object, stated: Object) -> bool:
    if objects.spec(service).get("selector") or objects.spec(service).get("type") == "ExternalName":
        return False
    return objects.labels(stated).get(SKIP_MIRROR) != "true" and LEADER not in objects.annotations(stated)


def _wanted(stated: Object) -> dict[Key, list[dict[str, Any]]]:
    found: dict[Key, list[dict[str, Any]]] = {}
    for subset in stated.get("subsets") or ():
        ports = _ports_key(subset.get("ports") or ())
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(field) or ():
                endpoints = found.setdefault(("IPv6" if ":" in address["ip"] else "IPv4", ports), [])
                if len(endpoints) < ADDRESSES_MAX:
                    endpoints.append(_endpoint(address, ready))
    return found


def _endpoint(address: Object, ready: bool) -> dict[str, Any]:
    further = {key: address[key] for key in ("hostname", "nodeName", "targetRef") if address.get(key)}
    return {"addresses": [address["ip"]], "conditions": {"ready": ready}, **further}


def _key(one: Object) -> Key:
    return one.get("addressType", ""), _ports_key(one.get("ports") or ())


def _ports_key(ports: Sequence[Object]) -> tuple[tuple[str, str, int, str], ...]:
    return tuple(sorted((port.get("name", ""), port.get("protocol", "TCP"), port["port"], port.get("appProtocol", "")) for port in ports))


def _labels(service: Object, stated: Object) -> dict[str, str]:
    return {**objects.labels(stated), SERVICE_NAME: objects.name(service), MANAGED_BY: CONTROLLER}


def _create(stated: Object, key: Key, endpoints: list[dict[str, Any]], template: Object) -> Create:
    family, ports = key
    body = {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "generateName": f"{objects.name(stated)}-",
            "namespace": objects.namespace(stated),
            "ownerReferences": [objects.controller_reference(ENDPOINTS, stated)],
            **template,
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": name, "protocol": protocol, "port": port, **({"appProtocol": app} if app else {})} for name, protocol, port, app in ports],
    }
    return Create(ENDPOINT_SLICES, body)


def _delete(one: Object) -> Delete:
    return Delete(ENDPOINT_SLICES, objects.namespace(one), objects.name(one), objects.uid(one))
