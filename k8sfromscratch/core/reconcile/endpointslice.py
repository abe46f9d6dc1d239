"""EndpointSlice: a Service's backends, at most 100 to a slice.

Endpoints with equal ports share slices.  A change touches as few slices as it can: an endpoint stays in the slice it is in, what is new
fills slices that are written anyway, then the fullest one that has room for all of it, then new ones.

    100 | 100 | 40      one pod goes from the first, five come      ->      100 (one gone, one in) | 100 | 44
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from k8sfromscratch.api.registry import ENDPOINT_SLICES, SERVICES
from k8sfromscratch.core.reconcile import objects, service_backends
from k8sfromscratch.core.reconcile.plan import NOTHING, Create, Delete, Object, Plan, Step, Update

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"

Endpoint = dict[str, Any]
PortsKey = tuple[tuple[str, str, int, str], ...]


def plan(
    service: Object | None, pods: Sequence[Object], slices: Sequence[Object], nodes: Mapping[str, Object], now: datetime, *, max_endpoints: int = 100
) -> Plan:
    """`slices`: those of this Service that this controller manages."""
    if service is None or objects.spec(service).get("type") == "ExternalName" or not objects.spec(service).get("selector"):
        # A deleted Service's slices go with their owner; those of one that lost its selector stay for whoever now manages them.
        return NOTHING
    backends = service_backends.backends(service, pods)
    families = service_backends.families(service)
    steps: list[Step] = []
    for family in families:
        present = [one for one in slices if one.get("addressType") == family and not objects.deleting(one)]
        steps += _family(service, family, backends, present, nodes, max_endpoints)
    steps += [_delete(one) for one in slices if one.get("addressType") not in families and not objects.deleting(one)]
    return Plan(tuple(steps))


def _family(service: Object, family: str, backends: Sequence[Object], slices: Sequence[Object], nodes: Mapping[str, Object], max_endpoints: int) -> list[Step]:
    """The changes for one address family: each group of equal ports on its own, slices with ports that nobody serves any more deleted."""
    groups: dict[PortsKey, dict[str, Endpoint]] = {}
    for pod in backends:
        found = service_backends.addresses(pod, family)
        if found:
            key = _ports_key(service_backends.ports(service, pod))
            groups.setdefault(key, {})[objects.uid(pod)] = _endpoint(service, pod, found[:1], nodes)
    by_ports: dict[PortsKey, list[Object]] = {}
    for one in slices:
        by_ports.setdefault(_ports_key(one.get("ports") or ()), []).append(one)
    template = {"labels": _labels(service), "annotations": _annotations(service, backends)}
    steps: list[Step] = []
    for key, wanted in groups.items():
        steps += _group(service, family, key, wanted, by_ports.pop(key, []), template, max_endpoints)
    leftover = [one for unused in by_ports.values() for one in unused]
    if not groups:
        # A Service without backends keeps one empty slice, so that "nothing there" can be told from "not seen yet".
        if leftover:
            keep, *leftover = leftover
            if keep.get("endpoints") or keep.get("ports") or _outdated(keep, template):
                steps.append(_update(keep, [], (), template))
        else:
            steps.append(_create(service, family, (), [], template))
    return steps + [_delete(one) for one in leftover]


def _group(
    service: Object, family: str, ports: PortsKey, wanted: Mapping[str, Endpoint], slices: Sequence[Object], template: Object, max_endpoints: int
) -> list[Step]:
    """Spreads one group's endpoints over slices, keeping each where it is."""
    new = dict(wanted)
    kept: list[tuple[Object, list[Endpoint]]] = []
    untouched: list[tuple[Object, list[Endpoint]]] = []
    for one in slices:
        present = one.get("endpoints") or []
        stay = [new.pop(uid) for entry in present if (uid := (entry.get("targetRef") or {}).get("uid", "")) in new]
        changed = len(stay) != len(present) or any(a != b for a, b in zip(stay, present, strict=True)) or _outdated(one, template)
        (kept if changed else untouched).append((one, stay))
    incoming = list(new.values())
    for _, endpoints in sorted(kept, key=lambda pair: len(pair[1]), reverse=True):
        incoming = _fill(endpoints, incoming, max_endpoints)
    # Only the rest that does not fill a whole slice looks for room in one that would not have been written otherwise.
    rest = len(incoming) % max_endpoints
    roomy = [pair for pair in untouched if rest and len(pair[1]) + rest <= max_endpoints]
    if roomy:
        fullest = max(roomy, key=lambda pair: len(pair[1]))
        fullest[1].extend(incoming[-rest:])
        incoming = incoming[:-rest]
        kept.append(fullest)
    steps: list[Step] = [_update(one, endpoints, ports, template) if endpoints else _delete(one) for one, endpoints in kept]
    chunks = [incoming[start : start + max_endpoints] for start in range(0, len(incoming), max_endpoints)]
    return steps + [_create(service, family, ports, chunk, template) for chunk in chunks]


def _fill(endpoints: list[Endpoint], incoming: list[Endpoint], max_endpoints: int) -> list[Endpoint]:
    room = max(max_endpoints - len(endpoints), 0)
    endpoints.extend(incoming[:room])
    return incoming[room:]


def _endpoint(service: Object, pod: Object, found: list[str], nodes: Mapping[str, Object]) -> Endpoint:
    """Serving says what the pod can do, terminating that it is on its way out, ready that new connections should come to it."""
    terminating = objects.deleting(pod)
    serving = objects.pod_ready(pod)
    ready = bool(objects.spec(service).get("publishNotReadyAddresses")) or (serving and not terminating)
    endpoint: Endpoint = {
        "addresses": found,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": service_backends.target_reference(pod),
    }
    if hostname := service_backends.hostname(service, pod):
        endpoint["hostname"] = hostname
    if node_name := objects.spec(pod).get("nodeName"):
        endpoint["nodeName"] = node_name
        zone = objects.labels(nodes[node_name]).get(ZONE) if node_name in nodes else None
        if zone:
            endpoint["zone"] = zone
    return endpoint


def _ports_key(ports: Iterable[Mapping[str, Any]]) -> PortsKey:
    return tuple(sorted((p.get("name", ""), p.get("protocol", "TCP"), p["port"], p.get("appProtocol", "")) for p in ports))


def _ports(key: PortsKey) -> list[dict[str, Any]]:
    return [{"name": name, "protocol": protocol, "port": port, **({"appProtocol": app} if app else {})} for name, protocol, port, app in key]


def _labels(service: Object) -> dict[str, str]:
    return {**service_backends.service_labels(service), SERVICE_NAME: objects.name(service), MANAGED_BY: CONTROLLER}


def _annotations(service: Object, backends: Sequence[Object]) -> dict[str, str]:
    return {service_backends.LAST_CHANGE_TRIGGER: service_backends.last_change(service, backends)}


def _outdated(one: Object, template: Object) -> bool:
    """The trigger time alone is no reason to write."""
    return objects.labels(one) != template["labels"]


def _create(service: Object, family: str, ports: PortsKey, endpoints: list[Endpoint], template: Object) -> Create:
    metadata = {
        "generateName": f"{objects.name(service)}-",
        "namespace": objects.namespace(service),
        "ownerReferences": [objects.controller_reference(SERVICES, service)],
        **template,
    }
    body = {"addressType": family, "endpoints": endpoints, "ports": _ports(ports)}
    return Create(ENDPOINT_SLICES, {"apiVersion": ENDPOINT_SLICES.api_version, "kind": ENDPOINT_SLICES.kind, "metadata": metadata, **body})


def _update(one: Object, endpoints: list[Endpoint], ports: PortsKey, template: Object) -> Update:
    changed = objects.replaced(one, endpoints=endpoints, ports=_ports(ports))
    changed["metadata"] |= template
    return Update(ENDPOINT_SLICES, changed)


def _delete(one: Object) -> Delete:
    return Delete(ENDPOINT_SLICES, objects.namespace(one), objects.name(one), objects.uid(one))
