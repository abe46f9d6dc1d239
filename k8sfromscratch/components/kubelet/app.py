"""The kubelet put together: from flags (`run`), or embedded with a client and a runtime of the caller's (`run_kubelet`)."""

import asyncio
import logging
import socket
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge

from k8sfromscratch.api.quantity import parse_bytes
from k8sfromscratch.api.registry import SERVICES
from k8sfromscratch.client import Client, EventRecorder, Informers, KubeconfigError, client_from_kubeconfig
from k8sfromscratch.core.pods.container_config import NodeFacts
from k8sfromscratch.core.pods.names import ClusterDns, parse_resolv_conf
from k8sfromscratch.core.pods.pressure import parse_thresholds
from k8sfromscratch.process import health
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.server import Server, serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError, TlsFiles
from k8sfromscratch.runtime.cri import CriRuntime
from k8sfromscratch.runtime.interface import Runtime, RuntimeFailure, RuntimeVersion

from . import machine
from .authentication import Gate
from .config import KubeletFlags, parse_taint
from .context import Context
from .handlers import Handlers
from .http_api import KubeletApi
from .images import Images
from .log_rotation import rotate_logs
from .node import NodeReporter
from .node_object import NodeSettings
from .pods import Pods
from .sources import Sources
from .stats import Stats
from .volumes import Volumes

log = logging.getLogger(__name__)

RUNTIME_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class KubeletOptions:
    """What `run_kubelet` needs besides its parts.  `tls` None: no HTTPS server."""

    node: NodeSettings
    root: Path
    dns: ClusterDns
    log_root: Path = Path("/var/log/pods")
    address: str = "127.0.0.1"
    tls: TlsFiles | None = None
    client_ca_file: str = ""
    webhook: bool = True
    tokens: bool = False
    register: bool = True
    log_size_max_bytes: int = 10 * 1024 * 1024
    log_files_max: int = 5


async def run(flags: KubeletFlags, env: Env) -> None:
    """The process's whole life.  Raises StartError for what the user has to mend."""
    try:
        client = client_from_kubeconfig(flags.kubeconfig, user_agent="kubelet")
        options = options_from(flags)
    except (KubeconfigError, OSError) as error:
        raise StartError(str(error)) from error
    runtime = CriRuntime(flags.container_runtime_endpoint)
    probe: Server | None = None
    try:
        if flags.healthz_port:
            probe = await serve(health.health_handler(None, {}), host=flags.healthz_bind_address, port=flags.healthz_port)
        await run_kubelet(client, env, runtime, options)
    except TlsError as error:
        raise StartError(str(error)) from error
    finally:
        if probe is not None:
            await probe.close()
        await runtime.close()
        await client.close()


def options_from(flags: KubeletFlags) -> KubeletOptions:
    """Raises OSError where the machine does not tell its address or resolver."""
    host_name = socket.gethostname().lower()
    root = Path(flags.root_dir)
    root.mkdir(parents=True, exist_ok=True, mode=0o750)
    settings = NodeSettings(
        name=flags.hostname_override.lower() or host_name,
        ips=tuple(flags.node_ip) or (machine.default_address(),),
        host_name=flags.hostname_override.lower() or host_name,
        port=flags.port,
        max_pods=flags.max_pods,
        labels=flags.node_labels,
        taints=[parse_taint(text) for text in flags.register_with_taints],
        thresholds=parse_thresholds(flags.eviction_hard),
    )
    return KubeletOptions(
        node=settings,
        root=root,
        dns=ClusterDns(tuple(flags.cluster_dns), flags.cluster_domain, parse_resolv_conf(Path(flags.resolv_conf).read_text())),
        address=flags.address,
        tls=TlsFiles(flags.tls_cert_file, flags.tls_private_key_file),
        client_ca_file=flags.client_ca_file,
        webhook=flags.authorization_mode == "Webhook",
        tokens=flags.authentication_token_webhook,
        register=flags.register_node,
        log_size_max_bytes=parse_bytes(flags.container_log_max_size),
        log_files_max=flags.container_log_max_files,
    )


async def run_kubelet(client: Client, env: Env, runtime: Runtime, options: KubeletOptions) -> None:
    """Until cancelled.  Containers keep running then, and a kubelet that starts again takes them over."""
    name = options.node.name
    version = await _wait_for_runtime(runtime)
    informers = Informers(client, env)
    events = EventRecorder(client, "kubelet", env, host=name)
    reporter = NodeReporter(client, env, runtime, options.node, options.root, register=options.register)
    handlers = Handlers(runtime)
    sources = Sources(client, env)
    context = Context(
        client=client,
        env=env,
        runtime=runtime,
        runtime_name=version.name,
        events=events,
        facts=NodeFacts(
            name=options.node.host_name,
            dns=options.dns,
            log_root=str(options.log_root),
            seccomp_directory=str(options.root / "seccomp"),
            memory_bytes=machine.capacity(options.root).memory_bytes,
        ),
        host_ips=options.node.ips,
        reporter=reporter,
        services=informers.get(SERVICES),
        sources=sources,
        volumes=Volumes(options.root, sources),
        images=Images(runtime, events, env),
        handlers=handlers,
    )
    pods = Pods(context, informers, name)
    server = await _serve(pods, runtime, client, env, options)
    if server is not None:
        reporter.serve_on(server.port)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(events.run())
            tasks.create_task(reporter.run())
            tasks.create_task(informers.run())
            tasks.create_task(rotate_logs(pods, runtime, env, size_max_bytes=options.log_size_max_bytes, files_max=options.log_files_max))
            tasks.create_task(pods.run())
    finally:
        await handlers.close()
        if server is not None:
            await server.close(grace_s=0.5)


async def _wait_for_runtime(runtime: Runtime) -> RuntimeVersion:
    """Nothing can be done without it; on a machine that boots it may come up after us."""
    while True:
        try:
            return await runtime.version()
        except RuntimeFailure as error:
            log.warning("waiting for the container runtime: %s", error)
            await asyncio.sleep(RUNTIME_RETRY_S)


async def _serve(pods: Pods, runtime: Runtime, client: Client, env: Env, options: KubeletOptions) -> Server | None:
    if options.tls is None:
        return None
    registry = CollectorRegistry()
    Gauge("kubelet_running_pods", "Pods that have a worker.", registry=registry).set_function(pods.count)
    Gauge("kubelet_running_containers", "Containers that run.", registry=registry).set_function(lambda: len(pods.running_containers()))
    gate = Gate(client, env, options.node.name, webhook=options.webhook, tokens=options.tokens)
    stats = Stats(runtime, env, options.node.name, options.root)
    api = KubeletApi(pods, runtime, stats, gate, env, registry)
    return await serve(api.handle, host=options.address, port=options.node.port, tls=options.tls, client_ca_file=options.client_ca_file)
