"""APIServices: what is listed of our own, and what is proxied to an extension apiserver on real TLS."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from k8sfromscratch.api.errors import ServiceUnavailable
from k8sfromscratch.api.registry import API_SERVICES
from k8sfromscratch.components.apiserver.aggregation import Aggregation, identity_headers
from k8sfromscratch.components.apiserver.service_resolver import ServiceResolver
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env, SystemClock
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.tls import TlsFiles
from k8sfromscratch.testing.extension_server import MetricsServer, api_service
from k8sfromscratch.testing.tls_server import TlsServer, tls_server

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
REMOTE = f"{SERVICES}/v1beta1.metrics.k8s.io"
NODES = "/apis/metrics.k8s.io/v1beta1/nodes"
PATIENCE_S = 30


class Setting:
    def __init__(self, api: Any, metrics: MetricsServer, server: TlsServer) -> None:
        self.api, self.metrics, self.server = api, metrics, server

    def asked_by(self, user: str) -> list[Request]:
        """The aggregator asks too, whenever it looks whether the server is there."""
        return [request for request in self.metrics.requests if request.headers.get("x-remote-user") == user]

    async def service(self, **spec: Any) -> None:
        spec = spec or {"type": "ExternalName", "externalName": "localhost"}
        await self.api.json("POST", "/api/v1/namespaces/default/services", {"metadata": {"name": "metrics"}, "spec": spec}, status=201)

    async def register(self, **spec: Any) -> Any:
        return await self.api.json("POST", SERVICES, api_service("metrics", self.server.port, caBundle=self.server.ca_bundle, **spec), status=201)

    async def condition(self, reason: str) -> dict[str, Any]:
        """The condition Available, once it gives that reason."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self.api.server.feed.caught_up()
                seen = self.api.server.view.changes(API_SERVICES)
                found = await self.api.json("GET", REMOTE, status=200)
                for condition in (found.get("status") or {}).get("conditions") or ():
                    if condition["reason"] == reason:
                        return condition
                if self.api.server.view.changes(API_SERVICES) == seen:
                    await self.api.server.view.changed(API_SERVICES, PATIENCE_S)


@pytest.fixture
def setting(api_server: Any, tmp_path: Path) -> Callable[[Callable[[Setting], Awaitable[None]]], None]:
    @asynccontextmanager
    async def made() -> AsyncIterator[Setting]:
        async with AsyncExitStack() as stack:
            metrics = MetricsServer()
            server = await stack.enter_async_context(tls_server(metrics.handle, tmp_path / "metrics", names=("metrics.default.svc",)))
            yield Setting(await stack.enter_async_context(api_server(Env(SystemClock(), random.Random(1)))), metrics, server)

    def run(test: Callable[[Setting], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(60), made() as setting:
                await test(setting)

        asyncio.run(main())

    return run


def test_every_group_version_of_ours_has_an_api_service_that_says_so(with_api: Any) -> None:
    async def test(api: Any) -> None:
        listed = (await api.json("GET", SERVICES, status=200))["items"]
        names = {item["metadata"]["name"] for item in listed}
        assert {"v1.", "v1.apps", "v2.autoscaling", "v1.rbac.authorization.k8s.io"} <= names and "v1.apiregistration.k8s.io" not in names
        apps = next(item for item in listed if item["metadata"]["name"] == "v1.apps")
        assert apps["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        assert apps["spec"] == {"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15}
        [condition] = apps["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == ("Available", "True", "Local")

    with_api(test)


def test_requests_are_proxied_with_who_asks(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.service()
        await s.register()
        condition = await s.condition("Passed")
        assert (condition["status"], condition["message"]) == ("True", "all checks passed")
        s.metrics.requests.clear()
        ann = UserInfo("ann", ("devs", "system:masters"), "7", {"Scopes/x": ("a", "b")})
        lying = {"x-remote-user": "root", "x-remote-group": "system:masters", "x-remote-extra-a": "b", "authorization": "Bearer secret", "accept": "a/b"}
        answer = await s.api.request("GET", NODES, user=ann, headers=lying, limit="5")
        assert answer.status == 200 and orjson.loads(await _whole(answer))["items"][0]["metadata"]["name"] == "n1"
        [asked] = s.asked_by("ann")
        assert asked.headers["x-remote-user"] == "ann" and asked.headers["x-remote-uid"] == "7" and asked.headers["accept"] == "a/b"
        assert asked.headers["host"] == f"metrics.default.svc:{s.server.port}"
        assert "authorization" not in asked.headers and "x-remote-extra-a" not in asked.headers
        missing = await s.api.request("GET", f"{NODES}/x/y")
        assert (missing.status, await _whole(missing)) == (404, b"no such path")

    setting(test)


def test_a_header_line_a_group_and_no_name_that_breaks_one() -> None:
    headers = identity_headers(UserInfo("ann", ("a", "b,c"), "", {"Scopes/x": ("1", "2")}))
    assert headers == [
        ("X-Remote-User", "ann"),
        ("X-Remote-Group", "a"),
        ("X-Remote-Group", "b,c"),
        ("X-Remote-Extra-scopes%2Fx", "1"),
        ("X-Remote-Extra-scopes%2Fx", "2"),
    ]
    with pytest.raises(ServiceUnavailable):
        identity_headers(UserInfo("ann\r\nX-Remote-Group: system:masters"))


def test_a_watch_passes_as_it_comes(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.service()
        await s.register()
        await s.condition("Passed")
        async with s.api.watch(NODES) as events:
            for name in ("one", "two"):
                s.metrics.lines.put_nowait(orjson.dumps({"type": "ADDED", "object": {"metadata": {"name": name}}}) + b"\n")
                assert (await events.next())["object"]["metadata"]["name"] == name

    setting(test)


def test_upgraded_connections_pass_through(setting: Any, tmp_path: Path) -> None:
    async def test(s: Setting) -> None:
        await s.service()
        await s.register()
        await s.condition("Passed")

        async def as_ann(request: Request) -> Any:
            request.direct_user = UserInfo("ann", ("system:masters",))
            return await s.api.server.handle(request)

        front = await serve(as_ann, host="127.0.0.1", port=0)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(f"GET {NODES}/n1/echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert len(s.asked_by("ann")) == 1
            writer.close()
        finally:
            await front.close(0.1)

    setting(test)


def test_discovery_and_openapi_tell_of_others_too(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.service()
        await s.register()
        await s.condition("Passed")
        groups = {group["name"]: group for group in (await s.api.json("GET", "/apis"))["groups"]}
        assert groups["metrics.k8s.io"]["preferredVersion"] == {"groupVersion": "metrics.k8s.io/v1beta1", "version": "v1beta1"}
        assert (await s.api.json("GET", "/apis/metrics.k8s.io"))["kind"] == "APIGroup"
        assert orjson.loads(await _whole(await s.api.request("GET", "/apis/metrics.k8s.io/v1beta1")))["kind"] == "APIResourceList"
        aggregated = await _aggregated(s)
        assert aggregated["versions"][0]["freshness"] == "Current"
        pods = next(resource for resource in aggregated["versions"][0]["resources"] if resource["resource"] == "pods")
        assert pods["scope"] == "Namespaced" and pods["responseKind"]["kind"] == "PodMetrics"
        assert [sub["subresource"] for sub in pods["subresources"]] == ["history"]
        paths = (await s.api.json("GET", "/openapi/v3"))["paths"]
        assert paths["apis/metrics.k8s.io/v1beta1"]["serverRelativeURL"] == "/openapi/v3/apis/metrics.k8s.io/v1beta1?hash=ABC1"
        document = await _whole(await s.api.request("GET", "/openapi/v3/apis/metrics.k8s.io/v1beta1"))
        assert orjson.loads(document)["info"]["title"] == "metrics"

        s.metrics.status = 500
        await s.api.json("PATCH", REMOTE, {"spec": {"versionPriority": 99}}, headers={"content-type": "application/merge-patch+json"}, status=200)
        condition = await s.condition("FailedDiscoveryCheck")
        assert condition["status"] == "False" and "500" in condition["message"]
        stale = (await _aggregated(s))["versions"][0]
        assert stale["freshness"] == "Stale" and stale["resources"]
        assert (await s.api.json("GET", NODES, status=503))["message"] == "service unavailable"
        await s.api.json("DELETE", REMOTE, status=200)
        await s.api.server.feed.caught_up()
        assert "metrics.k8s.io" not in {group["name"] for group in (await s.api.json("GET", "/apis"))["groups"]}
        await s.api.json("GET", NODES, status=404)

    setting(test)


def test_what_is_missing_is_said_step_by_step(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.register()
        assert (await s.condition("ServiceNotFound"))["message"] == 'service/metrics in "default" is not present'
        await s.service(ports=[{"port": s.server.port + 1 if s.server.port < 65535 else 1}])
        await s.condition("ServicePortError")
        await s.api.json("DELETE", "/api/v1/namespaces/default/services/metrics", status=200)
        await s.service(ports=[{"name": "https", "port": s.server.port}])
        await s.condition("EndpointsNotFound")
        ready = {"addresses": ["10.0.0.1"], "conditions": {"ready": False}}
        one = {
            "metadata": {"name": "metrics-1", "labels": {"kubernetes.io/service-name": "metrics"}},
            "addressType": "IPv4",
            "endpoints": [ready],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP"}],
        }
        await s.api.json("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", one, status=201)
        condition = await s.condition("MissingEndpoints")
        assert condition["message"] == 'endpointslices for service/metrics in "default" have no addresses with port name "https"'
        await s.api.json("DELETE", "/api/v1/namespaces/default/services/metrics", status=200)
        await s.service()
        await s.condition("Passed")

    setting(test)


@pytest.mark.parametrize("document", [b"{", b"[]", b'{"resources": 7}', b'{"resources": [7]}', b" " * (5 * 1024 * 1024)])
def test_a_server_that_talks_nonsense_is_not_available(setting: Any, document: bytes) -> None:
    async def test(s: Setting) -> None:
        s.metrics.document = document
        await s.service()
        await s.register()
        condition = await s.condition("FailedDiscoveryCheck")
        assert condition["status"] == "False" and "failing or missing response from https://metrics.default.svc:" in condition["message"]

    setting(test)


def test_a_server_that_is_not_trusted_is_not_available(setting: Any) -> None:
    async def test(s: Setting) -> None:
        await s.service()
        await s.api.json("POST", SERVICES, api_service("metrics", s.server.port), status=201)
        assert "CERTIFICATE_VERIFY_FAILED" in (await s.condition("FailedDiscoveryCheck"))["message"]
        patch = {"spec": {"insecureSkipTLSVerify": True}}
        await s.api.json("PATCH", REMOTE, patch, headers={"content-type": "application/merge-patch+json"}, status=200)
        await s.condition("Passed")

    setting(test)


def test_our_groups_cannot_be_taken_over(with_api: Any) -> None:
    async def test(api: Any) -> None:
        service = {"namespace": "default", "name": "evil", "port": 443}
        patch = {"spec": {"service": service, "caBundle": "Y2E="}}
        await api.json("PATCH", f"{SERVICES}/v1.apps", patch, headers={"content-type": "application/merge-patch+json"}, status=200)
        await api.server.feed.caught_up()
        assert api.server.aggregation.remotes == []
        await api.json("GET", "/apis/apps/v1/namespaces/default/deployments", status=200)

    with_api(test)


def test_the_proxy_client_certificate_is_shown(setting: Any, tmp_path: Path) -> None:
    async def test(s: Setting) -> None:
        now, ca_key, key = datetime.now(UTC), pki.make_key(), pki.make_key()
        ca = pki.issue(pki.Spec("front-proxy-ca", usages=(), ca=True), ca_key, None, now)
        (tmp_path / "ca.crt").write_bytes(pki.certificate_pem(ca))
        (tmp_path / "client.crt").write_bytes(pki.certificate_pem(pki.issue(pki.Spec("front-proxy-client"), key, pki.Authority(ca, ca_key), now)))
        (tmp_path / "client.key").write_bytes(pki.key_pem(key))
        names = ("metrics.default.svc",)
        async with tls_server(s.metrics.handle, tmp_path / "checking", names=names, client_ca_file=str(tmp_path / "ca.crt")) as server:
            await s.service()
            await s.api.json("POST", SERVICES, api_service("metrics", server.port, caBundle=server.ca_bundle), status=201)
            await s.condition("Passed")
            view, user = s.api.server.view, UserInfo("ann")
            files = TlsFiles(str(tmp_path / "client.crt"), str(tmp_path / "client.key"))
            aggregation = Aggregation(view, ServiceResolver(view, random.Random(1)), files)
            remote = aggregation.find("metrics.k8s.io", "v1beta1")
            assert remote is not None
            response = await aggregation.proxy(Request("GET", NODES), user, remote)
            assert isinstance(response, Response)
            await _whole(response)
            certificate = s.asked_by("ann")[-1].peer_certificate
            assert certificate is not None and base64.b64encode(certificate) in (tmp_path / "client.crt").read_bytes().replace(b"\n", b"")

    setting(test)


async def _aggregated(s: Setting) -> Any:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = await s.api.json("GET", "/apis", headers={"accept": accept})
    return next(item for item in found["items"] if item["metadata"]["name"] == "metrics.k8s.io")


async def _whole(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([chunk async for chunk in response.body])
