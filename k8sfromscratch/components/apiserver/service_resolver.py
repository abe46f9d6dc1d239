"""Where the apiserver dials for a Service that serves it: webhooks and extension apiservers.

    by cluster IP (the default)              kube-proxy on this machine finds the endpoint
    by endpoint (--enable-aggregator-routing) one of the ready addresses of the Service's slices; needs no kube-proxy here
    ExternalName                             that name

Source: kube-aggregator/pkg/apiserver/resolvers.go, apiserver/pkg/util/proxy.
"""

import ipaddress
import random
from collections.abc import Iterator

from k8sfromscratch.api.registry import ENDPOINT_SLICES, SERVICES
from k8sfromscratch.core.admission.types import Object, View


class Unresolved(Exception):
    """The message says what the Service lacks."""


class ServiceResolver:
    def __init__(self, view: View, rng: random.Random, *, by_endpoint: bool = False) -> None:
        self._view, self._rng, self._by_endpoint = view, rng, by_endpoint

    def resolve(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """Host and port to dial.  Raises Unresolved."""
        service = self._view.get(SERVICES, name, namespace)
        if service is None:
            raise Unresolved(f'service "{name}" not found')
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return spec.get("externalName", ""), port
        listed = next((p for p in spec.get("ports") or () if p["port"] == port), None)
        if listed is None:
            raise Unresolved(f'no service port {port} found for service "{name}"')
        if self._by_endpoint:
            found = [address for address in addresses(self._view, namespace, name, listed.get("name") or "") if proxyable(address[0])]
            if not found:
                raise Unresolved(f'no endpoints available for service "{name}"')
            return self._rng.choice(found)
        address = spec.get("clusterIP") or ""
        if address in ("", "None"):
            raise Unresolved(f'cannot route to service with ClusterIP "{address}"')
        return address, port


def addresses(view: View, namespace: str, service: str, port_name: str) -> Iterator[tuple[str, int]]:
    """The ready ones of a Service's named port."""
    for obj in view.list(ENDPOINT_SLICES, namespace):
        if (obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service or obj.get("addressType") == "FQDN":
            continue
        number = _port(obj, port_name)
        for endpoint in obj.get("endpoints") or () if number else ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                yield from ((address, number) for address in endpoint["addresses"])


def _port(obj: Object, name: str) -> int:
    return next((int(p["port"]) for p in obj.get("ports") or () if (p.get("name") or "") == name and p.get("port")), 0)


def proxyable(host: str) -> bool:
    """Not what only this machine can reach: whoever may write slices, or a pod's status, must not have us speak to our own loopback or a cloud's
    metadata service, by whichever of an address's two spellings."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)
