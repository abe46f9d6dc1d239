"""kube-scheduler: binds pods to nodes.  `run_scheduler` is the component itself, for embedding; `run` is the process around it."""

import asyncio
import logging
import socket

from prometheus_client import CollectorRegistry

from k8sfromscratch.client import Client, EventRecorder, Informers, KubeconfigError, LeaderElector, client_from_kubeconfig
from k8sfromscratch.components.scheduler.config import SchedulerFlags
from k8sfromscratch.components.scheduler.loop import Scheduler, SchedulerOptions
from k8sfromscratch.components.scheduler.metrics import SchedulerMetrics
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.secure_port import secure_port
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError

log = logging.getLogger(__name__)


async def run_scheduler(client: Client, env: Env, options: SchedulerOptions | None = None, registry: CollectorRegistry | None = None) -> None:
    """Schedules until cancelled."""
    options = options or SchedulerOptions()
    informers = Informers(client, env)
    recorder = EventRecorder(client, options.scheduler_name, env)
    metrics = SchedulerMetrics(registry if registry is not None else CollectorRegistry(), options.scheduler_name)
    scheduler = Scheduler(client, informers, env, recorder, metrics, options)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(informers.run(), name="informers")
        tasks.create_task(recorder.run(), name="events")
        tasks.create_task(scheduler.run(), name="scheduler")


async def run(flags: SchedulerFlags, env: Env) -> None:
    try:
        client = client_from_kubeconfig(flags.kubeconfig, user_agent="kube-scheduler")
    except (KubeconfigError, TlsError) as error:
        raise StartError(str(error)) from error
    registry = CollectorRegistry()

    async def work() -> None:
        await run_scheduler(client, env, SchedulerOptions(flags.scheduler_name), registry)

    try:
        async with secure_port("kube-scheduler", flags, env, registry):
            if not flags.leader_elect:
                await work()
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
            await elector.run(work)
    finally:
        await client.close()
