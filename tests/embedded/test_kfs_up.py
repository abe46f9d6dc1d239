"""`kfs up` as people run it: a process, kubectl, an interrupt."""

import asyncio
import json
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from k8sfromscratch import cli
from k8sfromscratch.api.errors import ApiError
from k8sfromscratch.api.registry import CONFIG_MAPS
from k8sfromscratch.embedded import Settings, cluster
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.interface import Unavailable
from k8sfromscratch.storage.wal import Wal
from k8sfromscratch.testing.kfs_process import kfs_up


@pytest.fixture
def tools(needs: Callable[..., None]) -> None:
    needs("kubectl")


def test_a_deployment_becomes_ready_and_the_end_is_clean(tools: None, tmp_path: Path) -> None:
    with kfs_up(tmp_path, "--nodes", "2") as up:
        up.run("kubectl", "create", "deployment", "web", "--image=nginx", "--replicas=3")
        up.run("kubectl", "rollout", "status", "deployment/web", "--timeout=30s")
        pods = json.loads(up.run("kubectl", "get", "pods", "-o", "json"))["items"]
        assert [p["status"]["phase"] for p in pods] == ["Running"] * 3
        assert len({p["status"]["podIP"] for p in pods}) == 3
        listed = up.run("kubectl", "get", "nodes")
        assert listed.split()[:5] == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
        assert listed.count("Ready") == 2 and "v1.35" in listed
    assert not up.kubeconfig.exists(), "an in-memory cluster leaves nothing behind"


def test_readiness_is_seen_from_outside_without_credentials(tmp_path: Path) -> None:
    with kfs_up(tmp_path) as up:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(f"{up.server}/readyz", context=context) as reply:
            assert reply.status == 200 and reply.read() == b"ok"


def test_data_survives_in_a_data_directory(tools: None, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with kfs_up(tmp_path, "--data-dir", str(data), "--token", "secret") as up:
        up.run("kubectl", "create", "configmap", "kept", "--from-literal=a=b")
        assert up.kubeconfig == data / "admin.kubeconfig"
    with kfs_up(tmp_path, "--data-dir", str(data), "--token", "secret") as up:
        assert up.run("kubectl", "get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b"


def test_a_damaged_store_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with kfs_up(tmp_path, "--data-dir", str(data)):
        pass
    (segment,) = (data / "etcd" / "wal").glob("*.wal")
    segment.write_bytes(b"?" + segment.read_bytes()[1:])
    done = subprocess.run([sys.executable, "-m", "k8sfromscratch.cli", "up", "--data-dir", str(data)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith(f"kfs: the store failed: {segment}: ") and done.stderr.count("\n") == 1


def test_a_store_that_fails_ends_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(log: Wal, *_: object) -> None:
        raise OSError(28, "No space left on device")

    async def scenario() -> None:
        async with asyncio.timeout(60), cluster(Settings(tmp_path, "token", durable=True, nodes=0), Env()) as running:
            monkeypatch.setattr(Wal, "append", broken)
            with suppress(ApiError):
                await running.client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}})
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as ended:
        asyncio.run(scenario())
    failed, rest = ended.value.split(Unavailable)
    assert rest is None and failed is not None and "the write-ahead log failed: [Errno 28] No space left on device" in str(cli.of_the_store(ended.value))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["up", "--port", "99999"], "'99999' is not a port"),
        (["up", "--nodes", "many"], "'many' is not a number of nodes"),
        (["up", "--data-dir", "/proc/none"], "the cluster cannot start"),
        (["down"], "invalid choice"),
    ],
)
def test_wrong_use_is_one_line_and_no_traceback(argv: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, "-m", "k8sfromscratch.cli", *argv], capture_output=True, text=True)
    assert done.returncode != 0
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with kfs_up(tmp_path) as up:
        port = up.server.rsplit(":", 1)[1]
        done = subprocess.run([sys.executable, "-m", "k8sfromscratch.cli", "up", "--port", port], capture_output=True, text=True)
    assert done.returncode == 1 and "address already in use" in done.stderr and "Traceback" not in done.stderr
