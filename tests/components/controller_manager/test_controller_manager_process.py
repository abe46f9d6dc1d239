"""Flags, and the process as it is started: lease, controllers, health and metrics over TLS."""

import asyncio
import socket
import ssl
from ipaddress import ip_network

import aiohttp
import pytest
import yaml

from k8sfromscratch.api.errors import NotFound
from k8sfromscratch.api.registry import CONFIG_MAPS, LEASES, NAMESPACES
from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.server import ApiServer, ApiServerOptions
from k8sfromscratch.components.controller_manager.app import options_of, run
from k8sfromscratch.components.controller_manager.config import ControllerManagerFlags
from k8sfromscratch.components.controller_manager.options import Options
from k8sfromscratch.components.controller_manager.table import CONTROLLERS, UnknownController, enabled
from k8sfromscratch.core.authz.types import LOOPBACK
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.flags import FlagError
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsFiles
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.ports import free_port


def flags(*words):
    return ControllerManagerFlags.parse(["--kubeconfig=k", *words])


def test_upstream_command_lines_are_understood():
    parsed = flags(
        "--allocate-node-cidrs=true",
        "--cluster-cidr=10.244.0.0/16",
        "--service-cluster-ip-range=10.96.0.0/12",
        "--node-monitor-grace-period=1m30s",
        "--node-monitor-period=2500ms",
        "--controllers=*,-ttl-after-finished",
        "--concurrent-deployment-syncs=7",
        "--leader-elect=false",
        "--service-account-private-key-file=/some/key",
    )
    options = options_of(parsed)
    assert (options.monitoring.grace_period_s, options.monitoring.monitor_period_s) == (90, 2.5)
    assert [(pool.cidr, pool.node_mask_size) for pool in options.pools] == [(ip_network("10.244.0.0/16"), 24)]
    assert options.workers["deployment-controller"] == 7
    assert "ttl-after-finished-controller" not in enabled(options) and "node-ipam-controller" in enabled(options)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--node-monitor-grace-period=5s", "must exceed 10s"),
        ("--node-monitor-period=soon", "not a duration"),
        ("--use-service-account-credentials", "not supported"),
        ("--no-such-flag=1", "unknown flag: --no-such-flag"),
    ],
)
def test_wrong_flags_are_refused(word, said):
    with pytest.raises(FlagError, match=said):
        flags(word)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--allocate-node-cidrs"], "needs --cluster-cidr"),
        (["--allocate-node-cidrs", "--cluster-cidr=10.244.0.0/16,10.245.0.0/16"], "one of each family"),
        (["--allocate-node-cidrs", "--cluster-cidr=10.244.0.0/16,fd00::/48", "--node-cidr-mask-size=24"], "for one family"),
        (["--allocate-node-cidrs", "--cluster-cidr=10.244.0.0/28"], "node mask size 24 must be between 28"),
    ],
)
def test_ranges_that_cannot_be_cut_are_refused(words, said):
    with pytest.raises(ValueError, match=said):
        options_of(flags(*words))


def test_which_controllers_run():
    needy = ("node-ipam-controller", "root-ca-certificate-publisher-controller", "certificatesigningrequest-signing-controller")
    always = [name for name in CONTROLLERS if name not in needy]
    assert enabled(Options()) == always
    assert enabled(Options(controllers=["deployment", "replicaset-controller"])) == ["deployment-controller", "replicaset-controller"]
    assert enabled(Options(controllers=["*", "-garbagecollector"])) == [name for name in always if name != "garbage-collector-controller"]
    with pytest.raises(UnknownController, match="there is no controller 'deploymint'"):
        enabled(Options(controllers=["deploymint"]))


def certificate(directory, env):
    key = pki.make_key()
    made = pki.issue(pki.Spec("server", ip_addresses=("127.0.0.1",), usages=("server",)), key, None, env.clock.now())
    files = TlsFiles(str(directory / "tls.crt"), str(directory / "tls.key"))
    pki.write(directory / "tls.crt", pki.certificate_pem(made), pki.CERT_MODE)
    pki.write(directory / "tls.key", pki.key_pem(key), pki.KEY_MODE)
    return files


def test_the_process_leads_works_and_shows_its_health(tmp_path):
    async def main():
        env = Env()
        apiserver = ApiServer(LocalStorage.memory(env), env, ApiServerOptions())
        await apiserver.start()

        async def trusted(request):
            request.direct_user = LOOPBACK
            return await apiserver.handle(request)

        files = certificate(tmp_path, env)
        server = await serve(trusted, host="127.0.0.1", port=0, tls=files)
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{server.port}", "certificate-authority": files.cert_file}}],
            "users": [{"name": "u", "user": {}}],
        }
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        bundle = tmp_path / "ca.crt"
        bundle.write_text("the bundle")
        port = free_port()
        words = [f"--kubeconfig={kubeconfig}", f"--root-ca-file={bundle}", "--bind-address=127.0.0.1", f"--secure-port={port}"]
        running = asyncio.create_task(run(ControllerManagerFlags.parse(words), env))
        client = Client(DirectTransport(apiserver.handle, LOOPBACK))
        try:
            await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
            async with asyncio.timeout(20):
                while not await published(client):
                    await asyncio.sleep(0.02)
            lease = await client.get(LEASES, "kube-controller-manager", "kube-system")
            assert lease["spec"]["holderIdentity"].startswith(socket.gethostname())
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting())) as session:
                assert await text(session, f"https://127.0.0.1:{port}/healthz") == "ok"
                metrics = await text(session, f"https://127.0.0.1:{port}/metrics")
            assert 'workqueue_adds_total{name="root-ca-certificate-publisher-controller"}' in metrics
            assert 'workqueue_depth{name="deployment-controller"} 0.0' in metrics
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await apiserver.stop()
            await server.close(0.1)

    async def published(client):
        try:
            return await client.get(CONFIG_MAPS, "kube-root-ca.crt", "team")
        except NotFound:
            return None

    def trusting():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    async def text(session, url):
        async with session.get(url) as reply:
            assert reply.status == 200
            return await reply.text()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--controllers=nope"], "there is no controller 'nope'"), ([], "cannot be read"), (["--root-ca-file=/no/such/file"], "--root-ca-file /no/such/file")],
)
def test_what_keeps_it_from_starting_is_said_in_one_line(tmp_path, words, said):
    parsed = ControllerManagerFlags.parse([f"--kubeconfig={tmp_path / 'missing'}", *words])
    with pytest.raises(StartError, match=said):
        asyncio.run(run(parsed, Env()))
