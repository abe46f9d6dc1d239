"""HTTP through the apiserver to nodes, pods and services: `…/proxy/PATH`, with the client's method, headers and body.

    nodes/n1/proxy/metrics                     the node's kubelet, with our certificate
    pods/https:web:8443/proxy/                 the pod's address; the port is the first container port where none is named
    services/web:http/proxy/                   one of the service's ready endpoints, by the port's name or number

Connections that want to be upgraded are refused: exec, attach and port-forward are the ways for those.
"""

import random
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from k8sfromscratch.api.errors import BadRequest, ServiceUnavailable, not_found
from k8sfromscratch.api.registry import ENDPOINT_SLICES, NODES, PODS, SERVICES
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.service_resolver import proxyable
from k8sfromscratch.components.apiserver.streaming_kubelet import Endpoint, Kubelets, fetch, passed_on
from k8sfromscratch.core.admission.types import View
from k8sfromscratch.process.http import Response
from k8sfromscratch.process.tls import client_context

Object = dict[str, Any]


class Proxy:
    def __init__(self, kubelets: Kubelets, view: View, rng: random.Random) -> None:
        self._kubelets, self._view, self._rng = kubelets, view, rng

    async def serve(self, call: Call) -> Response:
        """Raises BadRequest, NotFound, ServiceUnavailable, InternalError."""
        request = call.request
        if "upgrade" in request.headers.get("connection", "").lower():
            raise BadRequest("the proxy subresource does not upgrade connections; use exec, attach or portforward")
        endpoint = self._endpoint(call)
        target = _rest_as_sent(call)
        headers = passed_on(request.headers)
        forwarded = headers.get("x-forwarded-for")
        headers["x-forwarded-for"] = f"{forwarded}, {request.remote}" if forwarded else request.remote
        fetched = await fetch(endpoint, request.method, target, headers=headers, body=request.body)
        return fetched.response()

    def _endpoint(self, call: Call) -> Endpoint:
        resource, name, namespace = call.served.resource, call.info.name, call.namespace
        if resource == NODES:
            scheme, name, port = split_name(name)
            endpoint = self._kubelets.endpoint(name, self._view)
            if port and port != str(endpoint.port):
                raise BadRequest(f"only the kubelet's port of a node is proxied, {endpoint.port}")
            return endpoint
        scheme, name, port = split_name(name)
        host, number = self._pod(name, namespace, port) if resource == PODS else self._service(name, namespace, port)
        if not proxyable(host):
            raise BadRequest("address not allowed")
        # As upstream: what runs in pods has certificates of its own making, so that none is checked.
        return Endpoint(host, number, client_context(insecure=True) if scheme == "https" else None)

    def _pod(self, name: str, namespace: str, port: str) -> tuple[str, int]:
        pod = self._view.get(PODS, name, namespace)
        if pod is None:
            raise not_found(PODS.plural, name)
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            raise BadRequest(f"pod {name} has no address yet")
        ports = [p for container in pod["spec"].get("containers") or () for p in container.get("ports") or ()]
        if port.isdigit():
            return address, int(port)
        if port:
            number = next((p["containerPort"] for p in ports if p.get("name") == port), None)
            if number is None:
                raise BadRequest(f'no port "{port}" in pod {name}')
            return address, number
        return address, ports[0]["containerPort"] if ports else 80

    def _service(self, name: str, namespace: str, port: str) -> tuple[str, int]:
        service = self._view.get(SERVICES, name, namespace)
        if service is None:
            raise not_found(SERVICES.plural, name)
        ports = service["spec"].get("ports") or []
        wanted = next((p for p in ports if port in (p.get("name") or "", str(p["port"]))), None) if port else (ports[0] if len(ports) == 1 else None)
        if wanted is None:
            raise ServiceUnavailable(f'no endpoints available for service "{name}"' if port else f"a port must be named for service {name}")
        choices = list(_backends(self._view.list(ENDPOINT_SLICES, namespace), name, wanted.get("name") or ""))
        if not choices:
            raise ServiceUnavailable(f'no endpoints available for service "{name}"')
        return self._rng.choice(choices)


def split_name(name: str) -> tuple[str, str, str]:
    """[scheme:]name[:port] → scheme, name, port ("" where not said).  Raises BadRequest."""
    parts = name.split(":")
    if len(parts) == 1:
        return "http", name, ""
    if len(parts) == 2 and parts[0] not in ("http", "https"):
        return "http", parts[0], parts[1]
    if len(parts) == 2:
        return parts[0], parts[1], ""
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return parts[0] or "http", parts[1], parts[2]
    raise BadRequest(f'invalid proxy request name "{name}": [scheme:]name[:port] is expected')


def _backends(slices: Sequence[Object], service: str, port_name: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for obj in slices:
        if (obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service or obj.get("addressType") == "FQDN":
            continue
        number = next((int(p["port"]) for p in obj.get("ports") or () if (p.get("name") or "") == port_name), 0)
        for endpoint in obj.get("endpoints") or () if number else ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                found += [(address, number) for address in endpoint["addresses"]]
    return found


def _rest_as_sent(call: Call) -> str:
    """The path behind `/proxy` and the query, with the client's own encoding: a backend may tell %2F from /."""
    path, mark, query = (call.request.raw_path or quote(call.request.path)).partition("?")
    # /api/v1/namespaces/NAMESPACE/pods/NAME/proxy/REST, or /api/v1/nodes/NAME/proxy/REST
    depth = 8 if call.served.resource.namespaced else 6
    parts = path.split("/", depth)
    return "/" + (parts[depth] if len(parts) > depth else "") + mark + query
