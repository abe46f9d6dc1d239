"""What of a pod is served by its node's kubelet: logs, exec, attach, port-forward; and HTTP to nodes, pods and services.

Here requests are judged (admission, the right to create) and sent on their way; the ways are in `streaming_tunnel` and `streaming_proxy`,
what is asked of the kubelet in `streaming_target`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from k8sfromscratch.api.errors import ApiError, BadRequest, Forbidden, InternalError, NotFound, not_found
from k8sfromscratch.api.registry import PODS
from k8sfromscratch.components.apiserver import streaming_target, streaming_tunnel
from k8sfromscratch.components.apiserver.authorization import attributes_of, denied
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.discovery import subresource
from k8sfromscratch.components.apiserver.routes import Route, Verb
from k8sfromscratch.components.apiserver.streaming_kubelet import Kubelets, fetch
from k8sfromscratch.components.apiserver.streaming_proxy import Proxy
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.streams import remotecommand
from k8sfromscratch.core.streams.websocket import negotiate
from k8sfromscratch.process.http import Response, Upgrade

if TYPE_CHECKING:
    from k8sfromscratch.components.apiserver.server import ApiServer

Object = dict[str, Any]

_PROXY_VERBS = ("get", "create", "update", "patch", "delete", "options")


class Streaming:
    def __init__(self, server: "ApiServer", kubelets: Kubelets) -> None:
        self._server, self._kubelets = server, kubelets
        self._proxy = Proxy(kubelets, server.view, server.env.rng)

    def routes(self) -> Mapping[Route, Verb]:
        table: dict[Route, Verb] = {("pods", "log", "get"): self.log}
        for verb in ("get", "create"):
            table[("pods", "exec", verb)] = self.command
            table[("pods", "attach", verb)] = self.command
            table[("pods", "portforward", verb)] = self.port_forward
        for resource in ("nodes", "pods", "services"):
            table.update({(resource, "proxy", verb): self.proxy for verb in _PROXY_VERBS})
        return table

    async def log(self, call: Call) -> Response:
        """Streams as the kubelet gives it, and for as long as it does where it is followed."""
        pod = await self._pod(call)
        container = streaming_target.container_of(pod, call.request.arg("container"))
        target = streaming_target.log_target(pod, container, call.request)
        if not pod["spec"].get("nodeName"):
            return Response(200, b"", "text/plain")
        unchecked = call.request.arg("insecureSkipTLSVerifyBackend") in ("true", "1")
        fetched = await fetch(self._kubelets.endpoint(pod["spec"]["nodeName"], self._server.view, unchecked=unchecked), "GET", target)
        if fetched.status != 200:
            raise _kubelet_error(fetched.status, (await fetched.text()).strip(), call)
        response = fetched.response()
        response.content_type, response.headers = "text/plain", {}
        return response

    async def command(self, call: Call) -> Upgrade:
        """exec and attach."""
        pod = await self._connecting(call)
        request, subresource = call.request, call.info.subresource
        container = streaming_target.container_of(pod, request.arg("container"))
        endpoint = self._kubelets.endpoint(streaming_target.host_of(pod), self._server.view)
        wanted = streaming_target.wanted_streams(request)
        target = streaming_target.command_target(subresource, pod, container, wanted, request.query.get("command") or [])
        if not _is_websocket(call):
            return streaming_tunnel.tunnel(request, endpoint, target)
        protocol = negotiate(request.headers.get("sec-websocket-protocol", ""), remotecommand.PROTOCOLS)
        if protocol is None:
            raise BadRequest(f"unable to upgrade: none of the offered protocols is supported; supported are {', '.join(remotecommand.PROTOCOLS)}")
        return streaming_tunnel.command(request, endpoint, target, wanted, protocol)

    async def port_forward(self, call: Call) -> Upgrade:
        pod = await self._connecting(call)
        endpoint = self._kubelets.endpoint(streaming_target.host_of(pod), self._server.view)
        ports = [port for value in call.request.query.get("ports", []) for port in value.split(",")]
        target = streaming_target.port_forward_target(pod, ports)
        offered = call.request.headers.get("sec-websocket-protocol", "")
        if _is_websocket(call) and negotiate(offered, (streaming_tunnel.PORT_FORWARD_TUNNEL,)):
            return streaming_tunnel.port_forward(call.request, endpoint, target)
        return streaming_tunnel.tunnel(call.request, endpoint, target)

    async def proxy(self, call: Call) -> Response:
        await self._server.feed.caught_up()
        await self._admit(call, {"path": f"/{call.info.rest}"})
        return await self._proxy.serve(call)

    async def _connecting(self, call: Call) -> Object:
        """The pod, once all is in order for an upgraded connection to it."""
        if "upgrade" not in call.request.headers.get("connection", "").lower() or not call.request.headers.get("upgrade"):
            raise BadRequest("Upgrade request required")
        if call.info.verb != "create":
            # A WebSocket opens with GET; running commands takes the right to create all the same.
            asked = attributes_of(call.user, call.info, call.request)._replace(verb="create")
            authorizer = self._server.options.authorizer
            decision = authorizer.authorize(asked, self._server.view) if authorizer is not None else None
            if decision is not None and not decision.allowed:
                raise denied(asked, decision)
        pod = await self._pod(call)
        await self._admit(call, _options(call))
        return pod

    async def _pod(self, call: Call) -> Object:
        await self._server.feed.caught_up()
        pod = self._server.view.get(PODS, call.info.name, call.namespace)
        if pod is None:
            raise not_found(PODS.plural, call.info.name)
        return pod

    async def _admit(self, call: Call, options: Object) -> None:
        admission, info = self._server.admission, call.info
        kind, group, version, _ = subresource(call.served.resource, info.subresource)
        shown = {"kind": kind, "apiVersion": f"{group}/{version}" if group else version, **options}
        request = AdmissionRequest("CONNECT", call.served.resource, info.subresource, call.namespace, info.name, call.user, shown, None, warnings=call.warnings)
        await admission.mutate(request)
        await admission.validate(request)


def _options(call: Call) -> Object:
    """The query as the typed object that admission sees: PodExecOptions and their kin."""
    options: Object = {}
    for name, values in call.request.query.items():
        if name in ("stdin", "stdout", "stderr", "tty"):
            options[name] = values[-1] in ("true", "1")
        elif name == "ports":
            options[name] = [int(port) for value in values for port in value.split(",") if port.isdigit()]
        else:
            options[name] = values if name == "command" else values[-1]
    return options


def _is_websocket(call: Call) -> bool:
    return "websocket" in call.request.headers.get("upgrade", "").lower()


def _kubelet_error(status: int, text: str, call: Call) -> ApiError:
    """The kubelet's plain text, with the reason that its code means."""
    message, details = text or f"the kubelet answered with {status}", {"name": call.info.name, "kind": PODS.plural}
    kind = {400: BadRequest, 403: Forbidden, 404: NotFound}.get(status, InternalError)
    return kind(message, details=details, code=status)
