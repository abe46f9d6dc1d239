"""The kubelet's HTTPS API with real certificates and real containers: who may, logs, streams, stats."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest

from k8sfromscratch.api.registry import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, NODES, PODS, SERVICE_ACCOUNTS
from k8sfromscratch.process import pki
from k8sfromscratch.process.tls import TlsFiles, client_context

FOREVER = "trap 'exit 0' TERM; sleep 1000 & wait"


class Authority:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        key = pki.make_key()
        certificate = pki.issue(pki.Spec("test-ca", usages=(), ca=True), key, None, datetime.now(UTC))
        self._authority = pki.Authority(certificate, key)
        self.file = directory / "ca.crt"
        self.file.write_bytes(pki.certificate_pem(certificate))

    def issue(self, name: str, **spec) -> TlsFiles:
        key = pki.make_key()
        certificate = pki.issue(pki.Spec(name, **spec), key, self._authority, datetime.now(UTC))
        files = TlsFiles(str(self._directory / f"{name}.crt"), str(self._directory / f"{name}.key"))
        Path(files.cert_file).write_bytes(pki.certificate_pem(certificate))
        Path(files.key_file).write_bytes(pki.key_pem(key))
        return files

    def client(self, name: str, *groups: str) -> ssl.SSLContext:
        return client_context(ca_file=str(self.file), files=self.issue(name, organizations=groups))


@pytest.fixture
def served(story, tmp_path):
    """Runs `async def tell(cluster, get, authority)`; `get(path, **)` asks as the apiserver and gives (status, text)."""
    authority = Authority(tmp_path)
    tls = authority.issue("n1", ip_addresses=("127.0.0.1",), usages=("server",))

    def run(tell, **options):
        async def with_client(cluster):
            base = f"https://127.0.0.1:{await cluster.until(lambda: _port(cluster))}"
            context = authority.client("kube-apiserver-kubelet-client")
            async with aiohttp.ClientSession(base) as session:

                async def get(path: str, *, method: str = "GET", tls: ssl.SSLContext = context, **more) -> tuple[int, str]:
                    async with session.request(method, path, ssl=tls, **more) as answer:
                        return answer.status, await answer.text()

                get.session, get.context, get.base = session, context, base
                await tell(cluster, get, authority)

        story(with_client, tls=tls, client_ca_file=str(authority.file), **options)

    return run


async def _port(cluster) -> int | None:
    node = (await cluster.client.list(NODES))["items"][0]
    return (node.get("status") or {}).get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port")


def test_who_may_ask(served):
    async def tell(cluster, get, authority):
        anyone = client_context(ca_file=str(authority.file))
        assert await get("/healthz", tls=anyone) == (200, "ok")
        assert (await get("/pods", tls=anyone))[0] == 401
        assert (await get("/pods", tls=anyone, headers={"Authorization": "Bearer x"}))[0] == 401
        assert (await get("/pods"))[0] == 200
        assert (await get("/pods", tls=authority.client("admin", "system:masters")))[0] == 200
        assert (await get("/nothing"))[0] == 404
        assert (await get("/pods", method="POST"))[0] == 405

    served(tell)


def test_the_apiserver_is_asked_about_others(served):
    async def tell(cluster, get, authority):
        status, text = await get("/pods", tls=authority.client("someone"))
        assert status == 403
        assert text.startswith("user=someone, verb=get, resource=nodes, subresource=proxy: ")
        group = "rbac.authorization.k8s.io"
        meta = {"apiVersion": f"{group}/v1", "metadata": {"name": "scraper"}}
        rule = {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]}
        await cluster.client.create(CLUSTER_ROLES, {**meta, "kind": "ClusterRole", "rules": [rule]})
        user = {"kind": "User", "apiGroup": group, "name": "scraper"}
        account = {"kind": "ServiceAccount", "namespace": "default", "name": "default"}
        role = {"apiGroup": group, "kind": "ClusterRole", "name": "scraper"}
        await cluster.client.create(CLUSTER_ROLE_BINDINGS, {**meta, "kind": "ClusterRoleBinding", "subjects": [user, account], "roleRef": role})
        assert (await get("/metrics", tls=authority.client("scraper")))[0] == 200
        assert (await get("/stats/summary", tls=authority.client("scraper")))[0] == 403
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = (await cluster.client.create(SERVICE_ACCOUNTS, request, namespace="default", name="default", subresource="token"))["status"]["token"]
        anonymous = client_context(ca_file=str(authority.file))
        assert (await get("/metrics", tls=anonymous, headers={"Authorization": f"Bearer {token}"}))[0] == 200
        assert (await get("/pods", tls=anonymous, headers={"Authorization": f"Bearer {token}"}))[0] == 403
        assert (await get("/metrics", tls=anonymous, headers={"Authorization": "Bearer nonsense"}))[0] == 401

    served(tell, tokens=True)


def test_always_allow_lets_everyone_in_who_is_known(served):
    async def tell(cluster, get, authority):
        assert (await get("/metrics", tls=authority.client("someone")))[0] == 200

    served(tell, webhook=False)


def test_logs(served):
    async def tell(cluster, get, authority):
        await cluster.create("web", {"name": "app", "command": ["sh", "-c", f"for i in 1 2 3; do echo line $i; done; {FOREVER}"]})
        await cluster.create("crash", {"name": "app", "command": ["sh", "-c", "echo once; exit 1"]})
        await cluster.running("web")
        logs = "/containerLogs/default/web/app"

        async def all_lines() -> bool:
            return await get(logs) == (200, "line 1\nline 2\nline 3\n")

        await cluster.until(all_lines)
        assert (await get(logs + "?tailLines=1"))[1] == "line 3\n"
        assert (await get(logs + "?limitBytes=4"))[1] == "line"
        assert (await get(logs + "?sinceTime=2100-01-01T00:00:00Z"))[1] == ""
        assert (await get(logs + "?sinceSeconds=600&timestamps=true"))[1].startswith(datetime.now(UTC).strftime("%Y-"))
        assert await get(logs + "?tailLines=x") == (400, "tailLines 'x' is not a number\n")
        assert (await get("/containerLogs/default/web/none"))[0] == 400
        assert (await get("/containerLogs/default/none/app"))[0] == 404
        await cluster.pod_where("crash", lambda s: s.get("containerStatuses") and s["containerStatuses"][0]["restartCount"] == 1)
        assert await get("/containerLogs/default/crash/app?previous=true") == (200, "once\n")
        assert (await get(logs + "?previous=true"))[0] == 400

    served(tell)


def test_a_log_is_followed_until_the_container_ends(served):
    async def tell(cluster, get, authority):
        script = "echo one; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo two"
        await cluster.create("web", {"name": "app", "command": ["sh", "-c", script]}, restartPolicy="Never")
        await cluster.running("web")
        async with get.session.get("/containerLogs/default/web/app?follow=true", ssl=get.context) as answer:
            assert await answer.content.readline() == b"one\n"
            await cluster.exec("web", "touch", "/tmp/go")
            assert await answer.content.read() == b"two\n"

    served(tell)


def test_exec_over_websocket(served):
    async def tell(cluster, get, authority):
        await cluster.create("web")
        await cluster.running("web")
        words = [("command", word) for word in ("sh", "-c", "read x; echo got $x; echo bad >&2; exit 3")]
        path = "/exec/default/web/app?" + urlencode([*words, ("input", "1"), ("output", "1"), ("error", "1")])
        async with get.session.ws_connect(path, ssl=get.context, protocols=("v4.channel.k8s.io",)) as socket:
            await socket.send_bytes(b"\x00word\n")
            channels: dict[int, bytes] = {}
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    channels[message.data[0]] = channels.get(message.data[0], b"") + message.data[1:]
        assert (channels[1], channels[2]) == (b"got word\n", b"bad\n")
        assert b'"exitCode"' not in channels[1]
        assert b'"reason":"ExitCode","message":"3"' in channels[3]

    served(tell)


def test_spdy_is_offered_to_the_runtime(served):
    async def tell(cluster, get, authority):
        await cluster.create("web", {"name": "app", "ports": [{"containerPort": 80}]})
        await cluster.running("web")
        port = int(get.base.rsplit(":", 1)[1])
        for path in ("exec/default/web/app?command=true&output=1", "attach/default/web/app?output=1", "portForward/default/web"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=get.context)
            protocols = ["portforward.k8s.io"] if path.startswith("portForward") else ["v4.channel.k8s.io", "channel.k8s.io"]
            lines = [f"POST /{path} HTTP/1.1", "Host: n1", "Connection: Upgrade", "Upgrade: SPDY/3.1", *(f"X-Stream-Protocol-Version: {p}" for p in protocols)]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n"), head
            assert f"X-Stream-Protocol-Version: {protocols[0]}" in head
            writer.close()
            await writer.wait_closed()

    served(tell)


def test_run_and_what_cannot_be_run(served):
    async def tell(cluster, get, authority):
        await cluster.create("web")
        await cluster.running("web")
        assert await get("/run/default/web/app?cmd=echo+hi", method="POST") == (200, "hi\n")
        assert (await get("/run/default/web/app?cmd=false", method="POST"))[0] == 500
        assert (await get("/exec/default/web/app?output=1", method="POST")) == (400, "you must specify at least one command for the container\n")
        assert (await get("/exec/default/web/none?command=sh&output=1", method="POST"))[0] == 404
        assert (await get("/exec/default/web/app?command=sh", method="POST"))[0] == 400

    served(tell)


def test_numbers(served):
    async def tell(cluster, get, authority):
        await cluster.create("web")
        pod = await cluster.running("web")
        assert "kubelet_running_containers 1.0" in (await get("/metrics"))[1]
        assert 'container_memory_working_set_bytes{container="app",namespace="default",pod="web"} ' in (await get("/metrics/resource"))[1]
        async with get.session.get("/stats/summary", ssl=get.context) as answer:
            summary = await answer.json()
        assert summary["node"]["nodeName"] == "n1"
        assert summary["node"]["memory"]["workingSetBytes"] > 0
        assert [p["podRef"]["uid"] for p in summary["pods"]] == [pod["metadata"]["uid"]]
        assert summary["pods"][0]["containers"][0]["cpu"]["usageCoreNanoSeconds"] > 0
        assert [p["metadata"]["name"] for p in (await (await get.session.get("/pods", ssl=get.context)).json())["items"]] == ["web"]
        assert (await cluster.client.list(PODS))["items"]

    served(tell)
