"""Services, endpoints, ingresses, network policies.

Source: ValidateService and its neighbours in pkg/apis/core/validation, networking/validation, discovery/validation.
"""

import ipaddress
from typing import Any

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.validation.containers import PROTOCOLS, port_number, port_reference
from k8sfromscratch.api.validation.field import (
    Object,
    checked,
    duplicate,
    duplicates,
    forbidden,
    immutable,
    indexed,
    invalid,
    one_of,
    optional_one_of,
    required,
    required_and_checked,
    too_many,
)
from k8sfromscratch.api.validation.metadata import labels
from k8sfromscratch.api.validation.selectors import label_selector

SLICE_ENDPOINTS_MAX = 1000
SLICE_ADDRESSES_MAX = 100
SLICE_PORTS_MAX = 20_000
SESSION_TIMEOUT_S_MAX = 86_400

_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))
_MULTICAST_DETAIL = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
_KUBELET_PORT = 10250
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def service(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    kind = spec.get("type", "")
    causes = one_of("spec.type", kind, _TYPES)
    causes += _service_ports(spec, kind) + labels(spec.get("selector"), "spec.selector")
    causes += one_of("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"))
    timeout = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if timeout is not None and not 0 < timeout <= SESSION_TIMEOUT_S_MAX:
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        causes.append(invalid(path, timeout, f"must be greater than 0 and less than {SESSION_TIMEOUT_S_MAX}"))
    causes += _cluster_ips(spec, kind)
    if kind == "ExternalName":
        name = spec.get("externalName") or ""
        causes += checked("spec.externalName", name.removesuffix("."), names.dns_subdomain) if name else [required("spec.externalName")]
    for index, ip in enumerate(spec.get("externalIPs") or ()):
        causes += _reachable_address(f"spec.externalIPs[{index}]", ip)
    if spec.get("loadBalancerSourceRanges") and kind != "LoadBalancer":
        causes.append(forbidden("spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'"))
    for index, block in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        causes += checked(f"spec.loadBalancerSourceRanges[{index}]", block.strip(), names.cidr)
    causes += _external_traffic(spec, kind)
    causes += optional_one_of("spec.internalTrafficPolicy", spec.get("internalTrafficPolicy"), ("Cluster", "Local"))
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        causes += optional_one_of(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"))
    return causes + optional_one_of("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), ("PreferDualStack", "RequireDualStack", "SingleStack"))


def _external_traffic(spec: Object, kind: str) -> list[Cause]:
    policy, port = spec.get("externalTrafficPolicy"), spec.get("healthCheckNodePort")
    external = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))
    causes: list[Cause] = []
    if policy and not external:
        causes.append(invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services"))
    else:
        causes += optional_one_of("spec.externalTrafficPolicy", policy or None, ("Cluster", "Local"))
    if port and not (kind == "LoadBalancer" and policy == "Local"):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        causes.append(invalid("spec.healthCheckNodePort", port, detail))
    return causes


def _reachable_address(path: str, address: str, *, loopback: bool = False) -> list[Cause]:
    """One that another machine can send to; with `loopback` also this one's own, where a cluster in one process is reached."""
    causes = checked(path, address, names.ip_address)
    if causes:
        return causes
    ip = ipaddress.ip_address(address)
    for is_so, detail in (
        (ip.is_unspecified, f"may not be unspecified ({ip})"),
        (ip.is_loopback and not loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (ip.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (any(ip in block for block in _LINK_LOCAL_MULTICAST if block.version == ip.version), _MULTICAST_DETAIL),
    ):
        if is_so:
            causes.append(invalid(path, address, detail))
    return causes


def _service_ports(spec: Object, kind: str) -> list[Cause]:
    ports = spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    if not ports:
        return [] if headless or kind == "ExternalName" else [required("spec.ports")]
    causes: list[Cause] = []
    seen: set[tuple[Any, Any]] = set()
    seen_node_ports: set[tuple[Any, Any]] = set()
    for at, port in indexed(spec, "ports", "spec"):
        if len(ports) > 1 or port.get("name"):
            causes += required_and_checked(f"{at}.name", port.get("name"), names.dns_label)
        causes += port_number(f"{at}.port", port.get("port", 0))
        if kind == "LoadBalancer" and port.get("port") == _KUBELET_PORT:
            causes.append(invalid(at, _KUBELET_PORT, f"may not expose port {_KUBELET_PORT} externally since it is used by kubelet"))
        causes += one_of(f"{at}.protocol", port.get("protocol"), PROTOCOLS)
        causes += port_reference(f"{at}.targetPort", port.get("targetPort") or port.get("port") or 0)
        key = (port.get("protocol"), port.get("port"))
        if key in seen:
            causes.append(duplicate(at, {name: port[name] for name in ("protocol", "port") if name in port}))
        seen.add(key)
        if port.get("nodePort"):
            if kind == "ClusterIP":
                causes.append(forbidden(f"{at}.nodePort", "may not be used when `type` is 'ClusterIP'"))
            causes += port_number(f"{at}.nodePort", port["nodePort"])
            node_key = (port.get("protocol"), port["nodePort"])
            if node_key in seen_node_ports:
                causes.append(duplicate(f"{at}.nodePort", port["nodePort"]))
            seen_node_ports.add(node_key)
    return causes + duplicates((f"{at}.name", port.get("name", "")) for at, port in indexed(spec, "ports", "spec"))


def _cluster_ips(spec: Object, kind: str) -> list[Cause]:
    ips = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    if not ips:
        return []
    if kind == "ExternalName":
        return [forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'")]
    if spec.get("clusterIP", ips[0]) != ips[0]:
        return [invalid("spec.clusterIPs", ips, "first value must match `clusterIP`")]
    causes: list[Cause] = []
    for index, ip in enumerate(ips):
        if ip != "None":
            causes += checked(f"spec.clusterIPs[{index}]", ip, names.ip_address)
        elif kind in ("NodePort", "LoadBalancer"):
            causes.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    return causes


def service_update(new: Object, old: Object) -> list[Cause]:
    """Once given, the first cluster IP stays, unless the Service becomes an alias or was one."""
    causes = service(new)
    now, before = new.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" not in (now.get("type"), before.get("type")):
        first, first_before = (spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "") for spec in (now, before))
        if first and first_before and first != first_before:
            causes.append(invalid("spec.clusterIPs[0]", now.get("clusterIPs") or [first], "may not change once set"))
    return causes


# -- endpoints


def endpoints(obj: Object) -> list[Cause]:
    causes: list[Cause] = []
    for at, subset in indexed(obj, "subsets", ""):
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            causes.append(required(at, "must specify `addresses` or `notReadyAddresses`"))
        for key in ("addresses", "notReadyAddresses"):
            for at_address, address in indexed(subset, key, at):
                causes += _reachable_address(f"{at_address}.ip", address.get("ip", ""), loopback=True)
                if address.get("hostname"):
                    causes += checked(f"{at_address}.hostname", address["hostname"], names.dns_label)
                if address.get("nodeName"):
                    causes += checked(f"{at_address}.nodeName", address["nodeName"], names.dns_subdomain)
        ports = subset.get("ports") or []
        for at_port, port in indexed(subset, "ports", at):
            if len(ports) > 1 or port.get("name"):
                causes += required_and_checked(f"{at_port}.name", port.get("name"), names.dns_label)
            causes += port_number(f"{at_port}.port", port.get("port", 0)) + one_of(f"{at_port}.protocol", port.get("protocol"), PROTOCOLS)
    return causes


def endpoint_slice(obj: Object) -> list[Cause]:
    kind = obj.get("addressType", "")
    causes = one_of("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    count = len(obj.get("endpoints") or ())
    if count > SLICE_ENDPOINTS_MAX:
        return [*causes, too_many("endpoints", count, SLICE_ENDPOINTS_MAX)]
    for at, one in indexed(obj, "endpoints", ""):
        addresses = one.get("addresses") or []
        if not addresses:
            causes.append(required(f"{at}.addresses", "must contain at least 1 address"))
        elif len(addresses) > SLICE_ADDRESSES_MAX:
            causes.append(too_many(f"{at}.addresses", len(addresses), SLICE_ADDRESSES_MAX))
        for index, address in enumerate(addresses):
            causes += _slice_address(f"{at}.addresses[{index}]", address, kind)
        if one.get("hostname"):
            causes += checked(f"{at}.hostname", one["hostname"], names.dns_label)
        if one.get("nodeName"):
            causes += checked(f"{at}.nodeName", one["nodeName"], names.dns_subdomain)
    count = len(obj.get("ports") or ())
    if count > SLICE_PORTS_MAX:
        return [*causes, too_many("ports", count, SLICE_PORTS_MAX)]
    for at, port in indexed(obj, "ports", ""):
        if port.get("name"):
            causes += checked(f"{at}.name", port["name"], names.dns_label)
        causes += one_of(f"{at}.protocol", port.get("protocol"), PROTOCOLS)
    return causes + duplicates((f"{at}.name", port.get("name", "")) for at, port in indexed(obj, "ports", ""))


def _slice_address(path: str, address: str, kind: str) -> list[Cause]:
    if kind == "FQDN":
        return checked(path, address, names.dns_subdomain)
    causes = checked(path, address, names.ip_address)
    if not causes and kind in ("IPv4", "IPv6") and (":" in address) != (kind == "IPv6"):
        causes.append(invalid(path, address, f"must be an {kind} address"))
    return causes


def endpoint_slice_update(new: Object, old: Object) -> list[Cause]:
    return endpoint_slice(new) + immutable("addressType", new.get("addressType"), old.get("addressType"))


# -- ingresses and network policies


def ingress(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    if not spec.get("rules") and "defaultBackend" not in spec:
        causes.append(invalid("spec", spec, "either `defaultBackend` or `rules` must be specified"))
    if "defaultBackend" in spec:
        causes += _backend(spec["defaultBackend"], "spec.defaultBackend")
    for at, rule in indexed(spec, "rules", "spec"):
        host = rule.get("host") or ""
        if host:
            if not names.ip_address(host):
                causes.append(invalid(f"{at}.host", host, "must be a DNS name, not an IP address"))
            causes += checked(f"{at}.host", host, names.wildcard_dns_subdomain if "*" in host else names.dns_subdomain)
        http = rule.get("http")
        if http is not None and not http.get("paths"):
            causes.append(required(f"{at}.http.paths"))
        for at_path, path in indexed(http or {}, "paths", f"{at}.http"):
            causes += _ingress_path(path, at_path)
    for at, tls in indexed(spec, "tls", "spec"):
        for index, host in enumerate(tls.get("hosts") or ()):
            causes += checked(f"{at}.hosts[{index}]", host, names.wildcard_dns_subdomain if "*" in host else names.dns_subdomain)
    if spec.get("ingressClassName") is not None:
        causes += checked("spec.ingressClassName", spec["ingressClassName"], names.dns_subdomain)
    return causes


def _ingress_path(path: Object, at: str) -> list[Cause]:
    kind, value = path.get("pathType", ""), path.get("path") or ""
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{at}.pathType", "pathType must be specified"))
    else:
        causes += optional_one_of(f"{at}.pathType", kind, ("Exact", "ImplementationSpecific", "Prefix"))
    if (kind in ("Exact", "Prefix") or value) and not value.startswith("/"):
        causes.append(invalid(f"{at}.path", value, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        causes += [invalid(f"{at}.path", value, f"cannot end with '{part}'") for part in ("/..", "/.") if value.endswith(part)]
        causes += [invalid(f"{at}.path", value, f"must not contain '{part}'") for part in ("//", "/./", "/../", "%2f", "%2F") if part in value]
    return causes + _backend(path.get("backend") or {}, f"{at}.backend")


def _backend(of: Object, path: str) -> list[Cause]:
    if "service" in of and "resource" in of:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if "resource" in of:
        return [required(f"{path}.resource.{key}") for key in ("kind", "name") if not of["resource"].get(key)]
    service_of = of.get("service")
    if service_of is None:
        return [invalid(path, "", "resource or service backend is required")]
    causes = required_and_checked(f"{path}.service.name", service_of.get("name"), names.dns_1035_label)
    port = service_of.get("port") or {}
    if port.get("name") and port.get("number"):
        causes.append(invalid(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        causes += checked(f"{path}.service.port.name", port["name"], names.port_name)
    elif port.get("number"):
        causes += port_number(f"{path}.service.port.number", port["number"])
    else:
        causes.append(required(path, "port name or number is required"))
    return causes


def ingress_class(obj: Object) -> list[Cause]:
    controller = (obj.get("spec") or {}).get("controller", "")
    if not controller:
        return [required("spec.controller")]
    domain, slash, path = controller.partition("/")
    if not slash or not path or names.dns_subdomain(domain):
        return [invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    return []


def ingress_class_update(new: Object, old: Object) -> list[Cause]:
    return ingress_class(new) + immutable("spec.controller", (new.get("spec") or {}).get("controller"), (old.get("spec") or {}).get("controller"))


def network_policy(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = label_selector(spec.get("podSelector"), "spec.podSelector")
    for key, peers in (("ingress", "from"), ("egress", "to")):
        for at, rule in indexed(spec, key, "spec"):
            for at_port, port in indexed(rule, "ports", at):
                causes += optional_one_of(f"{at_port}.protocol", port.get("protocol"), PROTOCOLS)
                if "port" in port:
                    causes += port_reference(f"{at_port}.port", port["port"])
            for at_peer, peer in indexed(rule, peers, at):
                causes += _peer(peer, at_peer)
    if len(spec.get("policyTypes") or ()) > 2:
        causes.append(invalid("spec.policyTypes", spec["policyTypes"], "may not specify more than two policyTypes"))
    for index, kind in enumerate(spec.get("policyTypes") or ()):
        causes += optional_one_of(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
    return causes


def _strictly_within(block: str, of: str) -> bool:
    inner, outer = ipaddress.ip_network(block, strict=False), ipaddress.ip_network(of, strict=False)
    return inner.version == outer.version and inner.prefixlen > outer.prefixlen and inner.network_address in outer


def _peer(peer: Object, path: str) -> list[Cause]:
    if "ipBlock" in peer:
        if len(peer) > 1:
            return [forbidden(path, "may not specify both ipBlock and another peer")]
        block = peer["ipBlock"]
        causes = required_and_checked(f"{path}.ipBlock.cidr", block.get("cidr"), names.cidr)
        for index, excepted in enumerate(block.get("except") or ()):
            at = f"{path}.ipBlock.except[{index}]"
            faults = checked(at, excepted, names.cidr)
            if not faults and not causes and not _strictly_within(excepted, block["cidr"]):
                faults.append(invalid(at, excepted, "must be a strict subset of `cidr`"))
            causes += faults
        return causes
    if not peer:
        return [required(path, "must specify a peer")]
    causes = label_selector(peer.get("podSelector"), f"{path}.podSelector")
    return causes + label_selector(peer.get("namespaceSelector"), f"{path}.namespaceSelector")
