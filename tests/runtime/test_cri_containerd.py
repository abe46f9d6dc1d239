"""The CRI client against a real containerd."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from k8sfromscratch.core.pods.runtime_config import ContainerConfig, Dns, Mount, Namespaces, Resources, SandboxConfig, SeccompProfile, Security
from k8sfromscratch.core.pods.runtime_state import ContainerState
from k8sfromscratch.runtime.cri import CriRuntime
from k8sfromscratch.runtime.interface import NotInRuntime, RuntimeFailure, RuntimeTimeout, RuntimeUnavailable
from k8sfromscratch.testing.private_containerd import BUSYBOX, PAUSE

FOREVER = ("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done")
"""Who has not set its trap yet hears no SIGTERM: it is the first process of its machine."""


@pytest.fixture
def sandbox(tmp_path: Path) -> SandboxConfig:
    (tmp_path / "app").mkdir()
    return SandboxConfig(
        name="web",
        namespace="default",
        uid=f"uid-{tmp_path.name}",
        attempt=0,
        hostname="web-host",
        log_directory=str(tmp_path),
        dns=Dns(("10.96.0.10",), ("svc.cluster.local",), ("ndots:5",)),
        security=Security(seccomp=SeccompProfile("RuntimeDefault")),
    )


@asynccontextmanager
async def running(runtime: CriRuntime, sandbox: SandboxConfig) -> AsyncIterator[str]:
    sandbox_id = await runtime.run_sandbox(sandbox)
    try:
        yield sandbox_id
    finally:
        await runtime.stop_sandbox(sandbox_id)
        await runtime.remove_sandbox(sandbox_id)


async def start(runtime: CriRuntime, sandbox_id: str, sandbox: SandboxConfig, **fields) -> str:
    image = await runtime.image(BUSYBOX)
    assert image is not None
    config = replace(ContainerConfig("app", 0, image.id, FOREVER, log_path="app/0.log"), **fields)
    container_id = await runtime.create_container(sandbox_id, config, sandbox)
    await runtime.start_container(container_id)
    return container_id


async def said(log: Path, text: bytes) -> None:
    """Returns when it stands there."""
    while not (log.exists() and text in log.read_bytes()):
        await asyncio.sleep(0.02)


async def ended(runtime: CriRuntime, container_id: str):
    while (found := await runtime.container(container_id)).state is not ContainerState.EXITED:
        await asyncio.sleep(0.02)
    return found


def against(containerd, story) -> None:
    async def main() -> None:
        runtime = CriRuntime(containerd.endpoint)
        try:
            async with asyncio.timeout(200):
                await story(runtime)
        finally:
            await runtime.close()

    asyncio.run(main())


def test_version_readiness_and_images(containerd):
    async def story(runtime: CriRuntime) -> None:
        assert str(await runtime.version()).startswith("containerd://1.")
        readiness = await runtime.readiness()
        assert (readiness.runtime, readiness.network, readiness.problems) == (True, True, ())
        assert {tag for image in await runtime.images() for tag in image.tags} == {BUSYBOX, PAUSE}
        assert await runtime.image("docker.io/library/absent:1") is None
        await runtime.set_pod_cidr("10.213.77.0/24")

    against(containerd, story)


def test_the_life_of_a_container(containerd, sandbox):
    async def story(runtime: CriRuntime) -> None:
        async with running(runtime, sandbox) as sandbox_id:
            container_id = await start(runtime, sandbox_id, sandbox, annotations={"io.kubernetes.container.hash": "h"})
            ((owner, listed),) = await runtime.list_containers(sandbox.uid)
            assert (owner.name, owner.namespace, owner.uid) == ("web", "default", sandbox.uid)
            assert (listed.name, listed.attempt, listed.state, listed.sandbox_id, listed.spec_hash) == ("app", 0, ContainerState.RUNNING, sandbox_id, "h")
            ((_, listed_sandbox),) = await runtime.list_sandboxes(sandbox.uid)
            assert (listed_sandbox.id, listed_sandbox.ready) == (sandbox_id, True)
            (ip,) = await runtime.sandbox_ips(sandbox_id)
            assert ip.startswith("10.213.77.")
            await said(Path(sandbox.log_directory) / "app" / "0.log", b"stdout F up\n")
            await runtime.stop_container(container_id, 10)
            found = await ended(runtime, container_id)
            assert (found.exit_code, found.reason, found.image) == (3, "Error", BUSYBOX)
            assert found.created_at <= found.started_at <= found.finished_at
            assert Path(found.log_path).read_bytes().endswith(b"stdout F up\n")
            await runtime.stop_container(container_id, 1)
            await runtime.remove_container(container_id)
            await runtime.remove_container(container_id)
        assert await runtime.list_sandboxes(sandbox.uid) == []

    against(containerd, story)


def test_commands_inside(containerd, sandbox):
    async def story(runtime: CriRuntime) -> None:
        async with running(runtime, sandbox) as sandbox_id:
            container_id = await start(runtime, sandbox_id, sandbox)
            result = await runtime.exec_sync(container_id, ["sh", "-c", "hostname; echo bad >&2; exit 4"], 10)
            assert (result.stdout, result.stderr, result.exit_code) == (b"web-host\n", b"bad\n", 4)
            resolv = await runtime.exec_sync(container_id, ["cat", "/etc/resolv.conf"], 10)
            assert resolv.stdout.split() == b"search svc.cluster.local nameserver 10.96.0.10 options ndots:5".split()
            with pytest.raises(RuntimeTimeout, match="timeout"):
                await runtime.exec_sync(container_id, ["sleep", "60"], 1)
            url = await runtime.exec_url(container_id, ["sh"], stdin=True, stdout=True, stderr=True, tty=False)
            assert url.startswith("http://127.0.0.1:")

    against(containerd, story)


def test_a_shorter_grace_takes_over(containerd, sandbox):
    async def story(runtime: CriRuntime) -> None:
        async with running(runtime, sandbox) as sandbox_id:
            deaf = ("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
            container_id = await start(runtime, sandbox_id, sandbox, command=deaf)
            patient = asyncio.create_task(runtime.stop_container(container_id, 600))
            await asyncio.sleep(0)
            await runtime.stop_container(container_id, 1)
            await patient
            assert (await ended(runtime, container_id)).exit_code == 137

    against(containerd, story)


def test_limits_mounts_and_security_arrive(containerd, sandbox, tmp_path):
    async def story(runtime: CriRuntime) -> None:
        async with running(runtime, sandbox) as sandbox_id:
            (tmp_path / "data").write_text("42")
            container_id = await start(
                runtime,
                sandbox_id,
                sandbox,
                env=(("A", "1"),),
                mounts=(Mount("/data", str(tmp_path / "data"), readonly=True),),
                resources=Resources(cpu_shares=512, memory_limit_bytes=64 << 20, oom_score_adj=500),
                security=Security(run_as_user=12, run_as_group=34, readonly_rootfs=True, drop_capabilities=("ALL",), supplemental_groups=(56,)),
            )
            script = "id -u; id -G; cat /data; echo $A; grep CapEff /proc/self/status; cat /proc/self/oom_score_adj; touch /x 2>&1; echo >/data"
            result = await runtime.exec_sync(container_id, ["sh", "-c", script], 10)
            lines = result.stdout.decode().splitlines()
            assert lines[:2] == ["12", "34 56"]
            assert lines[2:5] == ["421", "CapEff:\t0000000000000000", "500"]
            assert "Read-only file system" in lines[5]
            (usage,) = [u for u in await runtime.usage() if u.container_id == container_id]
            assert 0 < usage.memory_working_set_bytes < 64 << 20
            await runtime.update_resources(container_id, Resources(cpu_shares=256, memory_limit_bytes=32 << 20))

    against(containerd, story)


def test_the_hosts_network(containerd, sandbox):
    async def story(runtime: CriRuntime) -> None:
        on_host = replace(sandbox, hostname="", namespaces=Namespaces(host_network=True, host_pid=True))
        async with running(runtime, on_host) as sandbox_id:
            container_id = await start(runtime, sandbox_id, on_host)
            found = await runtime.exec_sync(container_id, ["sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/pid"], 10)
            assert found.stdout.decode().split() == [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("net", "pid")]
            assert await runtime.sandbox_ips(sandbox_id) == ()

    against(containerd, story)


def test_logs_are_opened_anew(containerd, sandbox, tmp_path):
    async def story(runtime: CriRuntime) -> None:
        async with running(runtime, sandbox) as sandbox_id:
            container_id = await start(runtime, sandbox_id, sandbox, command=("sh", "-c", "while :; do echo x; sleep 0.02; done"))
            log = tmp_path / "app" / "0.log"
            log.rename(log.with_suffix(".old"))
            await runtime.reopen_log(container_id)
            while not (log.exists() and log.stat().st_size):
                await asyncio.sleep(0.02)

    against(containerd, story)


def test_failures_are_told_apart(containerd, sandbox):
    async def story(runtime: CriRuntime) -> None:
        with pytest.raises(NotInRuntime):
            await runtime.container("absent")
        with pytest.raises(RuntimeFailure, match="connection refused"):
            await runtime.pull_image("localhost:1/absent:1")
        async with running(runtime, sandbox) as sandbox_id:
            with pytest.raises(RuntimeFailure, match="executable file not found"):
                await start(runtime, sandbox_id, sandbox, command=("no-such-program",))

    against(containerd, story)


def test_a_socket_that_nobody_listens_on(tmp_path):
    async def main() -> None:
        runtime = CriRuntime(f"unix://{tmp_path}/none.sock")
        with pytest.raises(RuntimeUnavailable, match="Version on unix://"):
            await runtime.version()
        await runtime.close()

    asyncio.run(main())


def test_only_unix_sockets_are_taken():
    with pytest.raises(ValueError, match="only unix:///PATH"):
        CriRuntime("tcp://1.2.3.4:5")
