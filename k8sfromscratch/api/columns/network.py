"""Rows of services, endpoints and ingresses."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from k8sfromscratch.api.columns.text import NONE, UNKNOWN, UNSET, Object, age, cut, labels, selector

_SHOWN_MAX = 3


def service(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    cluster_ips = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [
        obj["metadata"]["name"],
        spec.get("type", ""),
        cluster_ips[0] if cluster_ips else NONE,
        _external_ip(obj),
        ",".join(_service_port(port) for port in spec.get("ports") or ()) or NONE,
        age(obj, now),
        labels(spec.get("selector")),
    ]


def _service_port(port: Mapping[str, Any]) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol', 'TCP')}"


def _external_ip(obj: Object) -> str:
    spec = obj.get("spec") or {}
    given = spec.get("externalIPs") or []
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(given) or NONE
        case "LoadBalancer":
            return ",".join([*_load_balancer(obj), *given]) or "<pending>"
        case "ExternalName":
            return spec.get("externalName", "")
        case _:
            return UNKNOWN


def _load_balancer(obj: Object) -> list[str]:
    ingress: Iterable[Mapping[str, Any]] = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return sorted({one.get("ip") or one.get("hostname") or "" for one in ingress} - {""})


def endpoints(obj: Object, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        ips = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        found += [_host_port(ip, port.get("port", 0)) for port in ports for ip in ips] if ports else ips
    return [obj["metadata"]["name"], cut(found, _SHOWN_MAX, NONE), age(obj, now)]


def _host_port(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = [str(port.get("port", "*")) for port in obj.get("ports") or ()]
    addresses = [address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    return [obj["metadata"]["name"], obj.get("addressType", ""), cut(ports, _SHOWN_MAX, UNSET), cut(addresses, _SHOWN_MAX, UNSET), age(obj, now)]


def ingress(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    return [
        obj["metadata"]["name"],
        spec.get("ingressClassName") or NONE,
        cut(hosts, _SHOWN_MAX, "*"),
        ",".join(_load_balancer(obj)),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now),
    ]


def ingress_class(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    of = spec.get("parameters")
    parameters = NONE
    if of:
        parameters = f"{of.get('kind', '')}{'.' + of['apiGroup'] if of.get('apiGroup') else ''}/{of.get('name', '')}"
    return [obj["metadata"]["name"], spec.get("controller", ""), parameters, age(obj, now)]


def network_policy(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], selector((obj.get("spec") or {}).get("podSelector")), age(obj, now)]


def service_cidr(obj: Object, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], ",".join((obj.get("spec") or {}).get("cidrs") or ()), age(obj, now)]


def ip_address(obj: Object, now: datetime) -> list[Any]:
    ref = (obj.get("spec") or {}).get("parentRef") or {}
    kind = f"{ref.get('resource', '')}{'.' + ref['group'] if ref.get('group') else ''}"
    return [obj["metadata"]["name"], "/".join(part for part in (kind, ref.get("namespace"), ref.get("name")) if part)]
