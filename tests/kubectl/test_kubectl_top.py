"""`kubectl top` by every release, against a metrics server of ours behind an APIService."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from k8sfromscratch.testing.extension_server import MetricsServer, api_service
from k8sfromscratch.testing.tls_server import TlsServer, tls_server

API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
SERVICES = "/api/v1/namespaces/default/services"
NODE = {"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "1", "memory": "1Gi"}, "capacity": {"cpu": "1", "memory": "1Gi"}}}
SERVICE = {"metadata": {"name": "metrics"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}


@pytest.fixture(scope="module")
def metrics(admin: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """Runs in a thread of its own, and is registered for as long as the module's tests take."""
    folder, started, made = tmp_path_factory.mktemp("metrics"), Event(), []
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def run(path: Path) -> None:
        async with tls_server(MetricsServer().handle, path, names=("metrics.default.svc",)) as server:
            made.append(server)
            started.set()
            await ended.wait()

    thread = Thread(target=lambda: loop.run_until_complete(run(folder)))
    thread.start()
    assert started.wait(30)
    server = made[0]
    admin.ask("/api/v1/nodes", NODE)
    admin.ask(SERVICES, SERVICE)
    admin.ask(API_SERVICES, api_service("metrics", server.port, caBundle=server.ca_bundle))
    try:
        admin("wait", "--for=condition=Available", "--timeout=60s", "apiservice/v1beta1.metrics.k8s.io")
        yield server
    finally:
        for path in (f"{API_SERVICES}/v1beta1.metrics.k8s.io", f"{SERVICES}/metrics", "/api/v1/nodes/n1"):
            admin.ask(path, method="DELETE")
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def test_top_nodes(metrics: TlsServer, release: Any) -> None:
    assert release.table("top", "nodes")[1][:5] == ["n1", "250m", "25%", "512Mi", "50%"]


def test_top_pods(metrics: TlsServer, release: Any) -> None:
    assert release.table("top", "pods") == [["NAME", "CPU(cores)", "MEMORY(bytes)"], ["web", "5m", "20Mi"]]
    assert release.table("top", "pods", "--containers")[1] == ["web", "c", "5m", "20Mi"]


def test_the_group_is_discovered_and_its_service_listed(metrics: TlsServer, release: Any) -> None:
    assert "nodes.metrics.k8s.io" in release("api-resources", "-o", "name")
    assert release.table("get", "apiservices", "v1beta1.metrics.k8s.io")[1][:3] == ["v1beta1.metrics.k8s.io", "default/metrics", "True"]
    assert release.table("get", "apiservices", "v1.apps")[1][:3] == ["v1.apps", "Local", "True"]
    assert '"cpu":"250m"' in release("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes")
