"""Which cluster IPs and node ports a Service has, which it wants, and which it keeps when it changes.  Pure.

type            cluster IP                      node ports
ClusterIP       one a family, or "None"         none
NodePort        one a family                    one a port
LoadBalancer    one a family                    one a port, unless allocateLoadBalancerNodePorts is false
ExternalName    none                            none
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

Object = dict[str, Any]

HEADLESS = "None"


@dataclass(frozen=True, slots=True)
class Needs:
    addresses: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """`addresses`: (family, the address asked for or "").  `ports`: (where to write it, the port asked for or 0)."""

    addresses: list[tuple[str, str]] = field(default_factory=list)
    ports: list[tuple[Callable[[int], None], int]] = field(default_factory=list)


def held(service: Object) -> Needs:
    """What is allocated to a stored Service."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return Needs()
    addresses = [*(spec.get("clusterIPs") or []), spec.get("clusterIP") or ""]
    ports = {port["nodePort"] for port in spec.get("ports") or [] if port.get("nodePort")}
    if spec.get("healthCheckNodePort"):
        ports.add(spec["healthCheckNodePort"])
    return Needs(frozenset(a for a in addresses if a and a != HEADLESS), frozenset(ports))


def wanted(service: Object, families: Sequence[str]) -> Wanted:
    """What a Service about to be written needs; `families` are the cluster's, the default one first."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            spec.pop(key, None)
        return Wanted()
    given = list(spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else []))
    if given[:1] == [HEADLESS]:
        _set_families(spec, _families(spec, given[1:], families))
        spec["clusterIP"], spec["clusterIPs"] = HEADLESS, [HEADLESS]
        return Wanted()
    chosen = _families(spec, given, families)
    _set_families(spec, chosen)
    addresses = [(family, given[index] if index < len(given) else "") for index, family in enumerate(chosen)]
    return Wanted(addresses, _ports(spec))


def family_fault(service: Object, families: Sequence[str]) -> tuple[str, str, str] | None:
    """(field, its value, what is wrong) where a Service asks for address families that the cluster does not have."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return None
    named, given = spec.get("ipFamilies") or (), spec.get("clusterIPs") or [spec.get("clusterIP")]
    policy = spec.get("ipFamilyPolicy") or ("RequireDualStack" if max(len(named), len(given)) > 1 else "SingleStack")
    if policy == "SingleStack" and len(named) > 1:
        return "spec.ipFamilyPolicy", policy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
    # Without cluster IPs and without a selector, endpoints are someone else's, of whatever families.
    if given[0] == HEADLESS and not spec.get("selector"):
        return None
    if policy == "RequireDualStack" and len(families) < 2:
        return "spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services"
    missing = next(((index, family) for index, family in enumerate(named) if family not in families), None)
    return (f"spec.ipFamilies[{missing[0]}]", missing[1], "not configured on this cluster") if missing else None


def set_addresses(service: Object, addresses: Sequence[str], families: Sequence[str]) -> None:
    if addresses:
        service["spec"] |= {"clusterIP": addresses[0], "clusterIPs": list(addresses), "ipFamilies": list(families)}


def keep_allocated(service: Object, old: Object) -> None:
    """Values left out of an update are those that were allocated before; those that its type no longer has go."""
    spec, before = dict(service["spec"]), old["spec"]
    if spec.get("type") != "ExternalName" and before.get("type") != "ExternalName":
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not spec.get(key) and before.get(key):
                spec[key] = before[key]
        if spec.get("clusterIP") != before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
    if needs_node_ports(spec) and needs_node_ports(before):
        ports = {(p.get("protocol", "TCP"), p["port"]): p.get("nodePort") for p in before.get("ports") or []}
        spec["ports"] = [_with_node_port(port, ports.get((port.get("protocol", "TCP"), port["port"]))) for port in spec.get("ports") or []]
        if spec.get("externalTrafficPolicy") == "Local" and not spec.get("healthCheckNodePort") and before.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = before["healthCheckNodePort"]
    elif not needs_node_ports(spec) and needs_node_ports(before):
        # Node ports that come along from the former type are released; ones that a ClusterIP Service names itself are refused by validation.
        spec["ports"] = [{key: value for key, value in port.items() if key != "nodePort"} for port in spec.get("ports") or []]
        spec.pop("healthCheckNodePort", None)
    # What came along from the former type and means nothing to this one is not held against the request.
    if spec.get("type") == "ExternalName" and before.get("type") != "ExternalName":
        _drop_unchanged(spec, before, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
    if _is_external(before) and not _is_external(spec):
        _drop_unchanged(spec, before, "externalTrafficPolicy")
    service["spec"] = spec


def _is_external(spec: Object) -> bool:
    return spec.get("type") in ("NodePort", "LoadBalancer") or bool(spec.get("externalIPs"))


def _drop_unchanged(spec: Object, before: Object, *keys: str) -> None:
    for key in keys:
        if key in spec and spec[key] == before.get(key):
            del spec[key]


def needs_node_ports(spec: Object) -> bool:
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def _with_node_port(port: Object, before: int | None) -> Object:
    return {**port, "nodePort": before} if before and not port.get("nodePort") else dict(port)


def _ports(spec: Object) -> list[tuple[Callable[[int], None], int]]:
    """A port that is served by TCP and UDP both has one node port for both."""
    found: list[tuple[Callable[[int], None], int]] = []
    spec["ports"] = [dict(port) for port in spec.get("ports") or []]
    if not spec["ports"]:
        del spec["ports"]
        return found
    needed = needs_node_ports(spec)
    together: dict[int, list[Object]] = {}
    for port in spec["ports"]:
        if needed or port.get("nodePort"):
            together.setdefault(port["port"], []).append(port)
    for ports in together.values():
        given = {port["nodePort"] for port in ports if port.get("nodePort")}
        protocols = [port.get("protocol", "TCP") for port in ports]
        if len(given) <= 1 and len(set(protocols)) == len(protocols):
            found.append((partial(_write_all, ports), next(iter(given), 0)))
        else:
            found += [(partial(_write_all, [port]), port.get("nodePort") or 0) for port in ports]
    if spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
        found.append((partial(_write, spec, "healthCheckNodePort"), spec.get("healthCheckNodePort") or 0))
    return found


def _write_all(ports: Sequence[Object], value: int) -> None:
    for port in ports:
        port["nodePort"] = value


def _write(target: Object, key: str, value: int) -> None:
    target[key] = value


def _families(spec: Object, given: Sequence[str], families: Sequence[str]) -> list[str]:
    named = list(spec.get("ipFamilies") or []) or [("IPv6" if ":" in address else "IPv4") for address in given] or [families[0]]
    policy = spec.get("ipFamilyPolicy") or "SingleStack"
    if policy == "SingleStack":
        return named[:1]
    return list(dict.fromkeys([*named, *families])) if len(families) > 1 else named


def _set_families(spec: Object, chosen: Sequence[str]) -> None:
    spec["ipFamilies"] = list(chosen)
    spec.setdefault("ipFamilyPolicy", "SingleStack")
