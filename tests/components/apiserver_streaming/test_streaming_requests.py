"""What the apiserver makes of requests for streams before any container is involved: targets, errors, rights, proxying.  The kubelet is a small server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from k8sfromscratch.api.registry import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ENDPOINT_SLICES, NODES, PODS, SERVICE_ACCOUNTS, SERVICES
from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver import streaming_proxy
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.components.apiserver.service_resolver import proxyable
from k8sfromscratch.components.apiserver.streaming_kubelet import Kubelets
from k8sfromscratch.core.authz.types import LOOPBACK, UserInfo
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response, Upgrade
from k8sfromscratch.process.server import Server, serve
from k8sfromscratch.storage.local import LocalStorage

ANN = UserInfo("ann", ("system:authenticated",))
MASTER = UserInfo("root", ("system:masters", "system:authenticated"))
POD = "/api/v1/namespaces/default/pods/web"


@dataclass
class Backend:
    """Kubelet, or what listens in a pod: answers as it is told, and remembers."""

    seen: list[Request] = field(default_factory=list)
    answer: Response = field(default_factory=lambda: Response(200, b"answer", "text/plain"))

    async def handle(self, request: Request) -> Response | Upgrade:
        self.seen.append(request)
        return self.answer


@dataclass
class World:
    send: Callable[..., Awaitable[tuple[int, Any]]]
    client: Client
    kubelet: Backend
    kubelet_server: Server
    api_port: int

    async def pod(self, *containers: str, node: str = "n1", **status: Any) -> None:
        spec = {"containers": [{"name": name, "image": "i"} for name in containers or ("app",)], **({"nodeName": node} if node else {})}
        made = await self.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"}, "spec": spec})
        if status:
            await self.client.update(PODS, {**made, "status": {**made["status"], **status}}, subresource="status")


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    env, kubelet = Env(), Backend()
    kubelet_server = await serve(kubelet.handle, host="127.0.0.1", port=0)
    storage = LocalStorage.memory(env)
    server = embedded(storage, env, signing_key=pki.make_key(), tokens={"ann": ANN, "root": MASTER}, kubelets=Kubelets(None))
    listener = await serve(server.handle, host="127.0.0.1", port=0)
    await server.start()
    client = Client(DirectTransport(server.handle, LOOPBACK))
    await client.create(SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}})
    status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet_server.port}}}
    for name, told in (("n1", status), ("mute", {})):
        made = await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        await client.update(NODES, {**made, "status": told}, subresource="status")

    async def send(method: str, path: str, *, user: UserInfo = MASTER, body: bytes = b"", **headers: str) -> tuple[int, Any]:
        route, _, query = path.partition("?")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method, route, parse_qs(query), named, body, "192.0.2.9", path, None, user)
        response = await server.handle(request)
        if isinstance(response, Upgrade):
            return 101, None
        content = response.body if isinstance(response.body, bytes) else b"".join([chunk async for chunk in response.body])
        return response.status, orjson.loads(content) if response.content_type == "application/json" else content

    try:
        yield World(send, client, kubelet, kubelet_server, listener.port)
    finally:
        await server.stop()
        await listener.close(grace_s=0)
        await kubelet_server.close(grace_s=0)
        await storage.close()


def told(story: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), world() as w:
            await story(w)

    asyncio.run(main())


def test_log_options_reach_the_kubelet() -> None:
    async def story(w: World) -> None:
        await w.pod()
        status, text = await w.send("GET", f"{POD}/log?follow=true&tailLines=5&timestamps=true&previous=false&sinceSeconds=60&stream=Stdout")
        assert (status, text) == (200, b"answer")
        assert w.kubelet.seen[0].raw_path == "/containerLogs/default/web/app?follow=true&timestamps=true&tailLines=5&sinceSeconds=60&stream=Stdout"

    told(story)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("pods/web/log", 400, "a container name must be specified for pod web, choose one of: [app side]"),
        ("pods/web/log?container=none", 400, "container none is not valid for pod web"),
        ("pods/none/log", 404, 'pods "none" not found'),
        ("pods/web/log?container=app&tailLines=-1", 422, 'PodLogOptions "web" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0'),
        ("pods/web/log?container=app&tailLines=x", 400, 'tailLines: "x" is not a number'),
        ("pods/web/log?container=app&limitBytes=0", 422, "must be greater than 0"),
        ("pods/web/log?container=app&sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422, "at most one of `sinceTime` or `sinceSeconds`"),
        ("pods/web/exec?container=app&command=ls&stdout=true", 400, "Upgrade request required"),
        ("pods/web/portforward", 400, "Upgrade request required"),
    ],
)
def test_what_is_wrong_with_a_request(path: str, status: int, message: str) -> None:
    async def story(w: World) -> None:
        await w.pod("app", "side")
        answered, body = await w.send("GET", f"/api/v1/namespaces/default/{path}")
        assert answered == status and message in body["message"]
        assert w.kubelet.seen == []

    told(story)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("stdout=true", "you must specify at least one command for the container"),
        ("command=ls", "you must specify at least 1 of stdin, stdout, stderr"),
        ("command=ls&stdout=true&container=none", "container none is not valid for pod web"),
    ],
)
def test_commands_that_cannot_be(query: str, message: str) -> None:
    async def story(w: World) -> None:
        await w.pod()
        status, body = await w.send("POST", f"{POD}/exec?{query}", connection="Upgrade", upgrade="SPDY/3.1")
        assert status == 400 and message in body["message"]

    told(story)


def test_unscheduled_pods_have_no_host_and_an_empty_log() -> None:
    async def story(w: World) -> None:
        await w.pod(node="")
        assert await w.send("GET", f"{POD}/log") == (200, b"")
        status, body = await w.send("POST", f"{POD}/exec?command=ls&stdout=true", connection="Upgrade", upgrade="SPDY/3.1")
        assert status == 400 and body["message"] == "pod web does not have a host assigned"

    told(story)


def test_nodes_without_a_kubelet_say_so() -> None:
    async def story(w: World) -> None:
        await w.pod(node="mute")
        status, body = await w.send("GET", f"{POD}/log")
        assert status == 503 and 'node "mute" tells no address of a kubelet' in body["message"]

    told(story)


def test_an_unreachable_kubelet_is_an_error_with_its_address() -> None:
    async def story(w: World) -> None:
        await w.pod()
        port = w.kubelet_server.port
        await w.kubelet_server.close(grace_s=0)
        status, body = await w.send("GET", f"{POD}/log")
        assert status == 500 and f"error dialing backend: 127.0.0.1:{port}" in body["message"]

    told(story)


@pytest.mark.parametrize(("code", "reason"), [(400, "BadRequest"), (404, "NotFound"), (500, "InternalError"), (502, "InternalError")])
def test_the_kubelets_words_are_passed_on(code: int, reason: str) -> None:
    async def story(w: World) -> None:
        await w.pod()
        w.kubelet.answer = Response(code, b'container "app" in pod "web" is waiting to start: ContainerCreating\n', "text/plain")
        status, body = await w.send("GET", f"{POD}/log")
        assert (status, body["reason"]) == (code, reason)
        assert body["message"] == 'container "app" in pod "web" is waiting to start: ContainerCreating'

    told(story)


def test_a_websocket_takes_the_right_to_create() -> None:
    async def story(w: World) -> None:
        await w.pod()

        async def allow(*verbs: str) -> None:
            rule = {"verbs": list(verbs), "apiGroups": [""], "resources": ["pods/exec"]}
            name = "-".join(verbs)
            metadata = {"name": name}
            await w.client.create(CLUSTER_ROLES, {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": [rule]})
            subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ann"}
            ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
            body = {"kind": "ClusterRoleBinding", "metadata": metadata, "roleRef": ref, "subjects": [subject]}
            await w.client.create(CLUSTER_ROLE_BINDINGS, {"apiVersion": "rbac.authorization.k8s.io/v1", **body})
            await w.client.get(CLUSTER_ROLE_BINDINGS, name)

        async def opened() -> tuple[int, Any]:
            websocket = {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_key": "x", "sec_websocket_protocol": "v5.channel.k8s.io"}
            return await w.send("GET", f"{POD}/exec?command=ls&stdout=true", user=ANN, **websocket)

        assert (await opened())[0] == 403
        await allow("get")
        status, body = await opened()
        assert status == 403 and 'User "ann" cannot create resource "pods/exec"' in body["message"]
        await allow("create")
        assert (await opened())[0] == 101

    told(story)


def test_unknown_subprotocols_are_refused() -> None:
    async def story(w: World) -> None:
        await w.pod()
        headers = {"connection": "Upgrade", "upgrade": "websocket", "sec_websocket_protocol": "base64.channel.k8s.io"}
        status, body = await w.send("GET", f"{POD}/exec?command=ls&stdout=true", **headers)
        assert status == 400 and "supported are v5.channel.k8s.io, v4.channel.k8s.io" in body["message"]

    told(story)


def test_a_kubelet_that_refuses_to_upgrade_is_heard_through_a_websocket() -> None:
    async def story(w: World) -> None:
        await w.pod()
        w.kubelet.answer = Response(404, b'container "app" of pod "default/web" is not running\n', "text/plain")
        reader, writer = await asyncio.open_connection("127.0.0.1", w.api_port)
        writer.write(
            f"GET {POD}/exec?command=ls&stdout=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer root\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 ")
        assert orjson.loads(body)["message"] == 'unable to upgrade connection: container "app" of pod "default/web" is not running'
        asked = w.kubelet.seen[0]
        assert (asked.method, asked.raw_path, asked.headers["x-stream-protocol-version"]) == (
            "POST",
            "/exec/default/web/app?command=ls&output=1",
            "v4.channel.k8s.io",
        )
        assert "authorization" not in asked.headers

    told(story)


def test_node_proxy() -> None:
    async def story(w: World) -> None:
        headers = {"authorization": "Bearer root", "x_own": "kept", "impersonate_user": "root", "impersonate_group": "system:masters"}
        assert await w.send("GET", "/api/v1/nodes/n1/proxy/stats/summary?only_cpu=true&x=%2F", **headers) == (200, b"answer")
        asked = w.kubelet.seen[0]
        assert asked.raw_path == "/stats/summary?only_cpu=true&x=%2F" and asked.headers["x-own"] == "kept" and asked.headers["x-forwarded-for"] == "192.0.2.9"
        assert not {"authorization", "impersonate-user"} & set(asked.headers)
        assert (await w.send("GET", "/api/v1/nodes/n1/proxy/metrics", user=ANN))[0] == 403
        assert (await w.send("GET", "/api/v1/nodes/none/proxy/metrics"))[0] == 404
        assert (await w.send("GET", "/api/v1/nodes/n1/proxy/x", connection="Upgrade", upgrade="websocket"))[0] == 400

    told(story)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("10.1.2.3", True),
        ("fd00::1", True),
        ("::ffff:10.1.2.3", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("0.0.0.0", False),
        ("a-name.example.com", False),
    ],
)
def test_where_the_proxy_does_not_go(host: str, allowed: bool) -> None:
    assert proxyable(host) is allowed


def test_a_pod_cannot_have_us_speak_to_ourselves() -> None:
    async def story(w: World) -> None:
        await w.pod(podIP="127.0.0.1", podIPs=[{"ip": "127.0.0.1"}])
        status, body = await w.send("GET", f"/api/v1/namespaces/default/pods/web:{w.api_port}/proxy/")
        assert (status, body["message"]) == (400, "address not allowed")

    told(story)


def test_a_refused_upgrade_is_no_way_to_the_kubelet() -> None:
    """CVE-2018-1002105: behind a refusal, requests of the client's own would be carried under the apiserver's certificate."""

    async def story(w: World) -> None:
        await w.pod()
        w.kubelet.answer = Response(400, b"no\n", "text/plain")
        reader, writer = await asyncio.open_connection("127.0.0.1", w.api_port)
        writer.write(
            f"POST {POD}/exec?command=ls&stdout=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer root\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\nGET /runningpods/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        writer.write(b"GET /runningpods/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert orjson.loads(await reader.read())["message"] == "unable to upgrade connection: no"
        writer.close()
        await writer.wait_closed()
        assert [request.path for request in w.kubelet.seen] == ["/exec/default/web/app"]

    told(story)


def test_pod_and_service_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_proxy, "proxyable", lambda host: True)

    async def story(w: World) -> None:
        backend = Backend()
        listening = await serve(backend.handle, host="127.0.0.1", port=0)
        try:
            await w.pod(podIP="127.0.0.1", podIPs=[{"ip": "127.0.0.1"}])
            status, text = await w.send(
                "POST", f"/api/v1/namespaces/default/pods/web:{listening.port}/proxy/a%20b/?q=1", body=b"data", content_type="text/plain"
            )
            assert (status, text) == (200, b"answer")
            assert (backend.seen[0].method, backend.seen[0].raw_path, backend.seen[0].body) == ("POST", "/a%20b/?q=1", b"data")
            spec = {"ports": [{"name": "http", "port": 80}], "clusterIP": "None"}
            await w.client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"}, "spec": spec})
            status, body = await w.send("GET", "/api/v1/namespaces/default/services/s:http/proxy/")
            assert status == 503 and body["message"] == 'no endpoints available for service "s"'
            metadata = {"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}}
            endpoints = [
                {"addresses": ["127.0.0.1"], "conditions": {"ready": True}},
                {"addresses": ["127.9.9.9"], "conditions": {"ready": False}},
            ]
            body = {"addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": listening.port}]}
            await w.client.create(ENDPOINT_SLICES, {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, **body})
            for name in ("s:http", "s:80", "s", "http:s:http"):
                assert await w.send("GET", f"/api/v1/namespaces/default/services/{name}/proxy/x") == (200, b"answer")
            assert backend.seen[-1].raw_path == "/x"
        finally:
            await listening.close(grace_s=0)

    told(story)
