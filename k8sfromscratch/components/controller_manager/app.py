"""The controllers of one cluster, run together: as a process of their own, or embedded beside an apiserver.

Each controller has its own queue, workers and event source; all share one set of informers.  Of several processes only the leader's
controllers run; the others serve /healthz and wait for the lease.
"""

import asyncio
import logging
import socket
from ipaddress import ip_network
from pathlib import Path

from prometheus_client import CollectorRegistry

from k8sfromscratch.client import Client, EventRecorder, Informers, KubeconfigError, LeaderElector, client_from_kubeconfig
from k8sfromscratch.components.controller_manager.config import ControllerManagerFlags
from k8sfromscratch.components.controller_manager.controller import Context
from k8sfromscratch.components.controller_manager.metrics import WorkQueueMetrics
from k8sfromscratch.components.controller_manager.options import Options
from k8sfromscratch.components.controller_manager.runner import Runner
from k8sfromscratch.components.controller_manager.signer import Signer
from k8sfromscratch.components.controller_manager.table import CONTROLLERS, UnknownController, enabled
from k8sfromscratch.core.reconcile.node_ipam import Pool
from k8sfromscratch.core.reconcile.node_lifecycle import Monitoring
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.pki import PkiError
from k8sfromscratch.process.secure_port import secure_port
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError

log = logging.getLogger(__name__)

USER_AGENT = "kube-controller-manager"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;q=0.5"
WORKERS_DEFAULT = 5


async def run_controllers(client: Client, env: Env, options: Options, *, registry: CollectorRegistry | None = None) -> None:
    """Runs all that `options` turn on, until cancelled.  Raises UnknownController."""
    metadata_client = client.accepting(METADATA_ONLY)
    context = Context(client, metadata_client, env, Informers(client, env), options)
    metrics = WorkQueueMetrics(registry if registry is not None else CollectorRegistry())
    runners = []
    for name in enabled(options):
        controller = CONTROLLERS[name](context)
        recorder = EventRecorder(client, controller.event_source or name, env)
        runners.append(Runner(controller, client, env, recorder, metrics, workers=options.workers.get(name, WORKERS_DEFAULT)))
    async with asyncio.TaskGroup() as group:
        group.create_task(context.informers.run(), name="informers")
        for runner in runners:
            group.create_task(runner.run(), name=runner.controller.name)


async def run(flags: ControllerManagerFlags, env: Env) -> None:
    """The process: health and metrics at once, the controllers when the lease is held.  Raises StartError, LostLease."""
    try:
        options = options_of(flags)
        enabled(options)
        client = client_from_kubeconfig(flags.kubeconfig, user_agent=USER_AGENT)
    except (UnknownController, KubeconfigError, TlsError, ValueError) as error:
        raise StartError(str(error)) from error
    registry = CollectorRegistry()

    async def lead() -> None:
        await run_controllers(client, env, options, registry=registry)

    try:
        async with secure_port("kube-controller-manager", flags, env, registry):
            if not flags.leader_elect:
                await lead()
                return
            elector = LeaderElector(
                client,
                env,
                flags.leader_elect_resource_name,
                namespace=flags.leader_elect_resource_namespace,
                identity=f"{socket.gethostname()}_{env.uid()}",
                lease_duration_s=flags.leader_elect_lease_duration,
                renew_deadline_s=flags.leader_elect_renew_deadline,
                retry_period_s=flags.leader_elect_retry_period,
            )
            await elector.run(lead)
    finally:
        await client.close()


def options_of(flags: ControllerManagerFlags) -> Options:
    """Raises ValueError, StartError."""
    return Options(
        controllers=flags.controllers,
        workers={
            "deployment-controller": flags.concurrent_deployment_syncs,
            "replicaset-controller": flags.concurrent_replicaset_syncs,
            "replicationcontroller-controller": flags.concurrent_rc_syncs,
            "statefulset-controller": flags.concurrent_statefulset_syncs,
            "daemonset-controller": flags.concurrent_daemonset_syncs,
            "job-controller": flags.concurrent_job_syncs,
            "cronjob-controller": flags.concurrent_cron_job_syncs,
            "endpoints-controller": flags.concurrent_endpoint_syncs,
            "endpointslice-controller": flags.concurrent_service_endpoint_syncs,
            "endpointslice-mirroring-controller": flags.mirroring_concurrent_service_endpoint_syncs,
            "namespace-controller": flags.concurrent_namespace_syncs,
            "garbage-collector-controller": flags.concurrent_gc_syncs,
            "serviceaccount-controller": flags.concurrent_serviceaccount_token_syncs,
            "serviceaccount-token-controller": flags.concurrent_serviceaccount_token_syncs,
            "ttl-after-finished-controller": flags.concurrent_ttl_after_finished_syncs,
        },
        monitoring=Monitoring(
            monitor_period_s=flags.node_monitor_period,
            grace_period_s=flags.node_monitor_grace_period,
            startup_grace_period_s=flags.node_startup_grace_period,
            eviction_rate=flags.node_eviction_rate,
            secondary_eviction_rate=flags.secondary_node_eviction_rate,
            unhealthy_zone_threshold=flags.unhealthy_zone_threshold,
            large_cluster_size_threshold=flags.large_cluster_size_threshold,
        ),
        pools=_pools(flags),
        service_ranges=[ip_network(cidr) for cidr in flags.service_cluster_ip_range],
        root_ca=_read(flags.root_ca_file) if flags.root_ca_file else "",
        signer=_signer(flags),
        terminated_pod_threshold=flags.terminated_pod_gc_threshold,
    )


def _pools(flags: ControllerManagerFlags) -> list[Pool]:
    if not flags.allocate_node_cidrs:
        return []
    if not flags.cluster_cidr:
        raise ValueError("--allocate-node-cidrs needs --cluster-cidr")
    networks = [ip_network(cidr) for cidr in flags.cluster_cidr]
    if len(networks) > 2 or len({network.version for network in networks}) < len(networks):
        raise ValueError("--cluster-cidr takes one range, or one of each family")
    if len(networks) == 2 and flags.node_cidr_mask_size:
        raise ValueError("--node-cidr-mask-size is for one family; with two there are --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6")
    by_family = {4: flags.node_cidr_mask_size_ipv4, 6: flags.node_cidr_mask_size_ipv6}
    return [Pool(network, flags.node_cidr_mask_size or by_family[network.version]) for network in networks]


def _signer(flags: ControllerManagerFlags) -> Signer | None:
    """Looked at now, so that a wrong file is told at the start and not with the first request.  Raises StartError."""
    if not flags.cluster_signing_cert_file:
        return None
    signer = Signer(flags.cluster_signing_cert_file, flags.cluster_signing_key_file, flags.cluster_signing_duration)
    try:
        signer.authority()
    except PkiError as error:
        raise StartError(f"--cluster-signing-cert-file: {error}") from error
    return signer


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise StartError(f"--root-ca-file {path}: {error.strerror}") from error
