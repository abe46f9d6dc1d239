"""kube-proxy: keeps this machine's packet rules in step with Services and EndpointSlices.

    Services, EndpointSlices ──► core.network.services ──► core.network.proxy_rules ──► one nft transaction with what differs

The last table that was written is remembered; when a transaction fails, or someone removed the table, all of it is written anew.
"""

import asyncio
import contextlib
import logging
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from k8sfromscratch.api.registry import ENDPOINT_SLICES, NODES, SERVICES
from k8sfromscratch.client import Client, Informers, KubeconfigError, client_from_kubeconfig
from k8sfromscratch.components.proxy.config import ProxyFlags
from k8sfromscratch.core.network.nft_table import Table, create, update
from k8sfromscratch.core.network.proxy_rules import ProxySettings, rules, stale_udp
from k8sfromscratch.core.network.services import ServicePort, service_ports
from k8sfromscratch.linux.command import CommandError, run_command
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.health import health_handler
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError

log = logging.getLogger(__name__)

RETRY_S = 2.0


class ProxyMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.sync = Histogram("kubeproxy_sync_proxy_rules_duration_seconds", "Time of one sync of the rules", registry=registry)
        self.full = Counter("kubeproxy_sync_full_proxy_rules", "Syncs that wrote the whole table", registry=registry)
        self.failures = Counter("kubeproxy_sync_proxy_rules_nftables_sync_failures", "Transactions that nft refused", registry=registry)
        self.last = Gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the rules were last in step", registry=registry)
        self.services = Gauge("kubeproxy_sync_proxy_rules_service_ports", "Service ports served", registry=registry)


class Proxy:
    def __init__(self, client: Client, env: Env, flags: ProxyFlags, metrics: ProxyMetrics) -> None:
        self._env, self._flags, self._metrics = env, flags, metrics
        self._informers = Informers(client, env)
        self._services = self._informers.get(SERVICES)
        self._slices = self._informers.get(ENDPOINT_SLICES)
        self._nodes = self._informers.get(NODES, field_selector=f"metadata.name={flags.hostname_override}")
        self._changed = asyncio.Event()
        for informer in (self._services, self._slices, self._nodes):
            informer.add_handler(lambda old, new: self._changed.set())
        self._written: Table | None = None
        self._ports: dict[str, ServicePort] = {}
        self.in_step = False
        """Whether the last sync succeeded; what /healthz says."""

    async def run(self) -> None:
        """Until cancelled.  The rules stay, so that services go on working while the proxy restarts."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informers.run(), name="informers")
            await self._informers.wait_synced()
            while True:
                self._changed.clear()
                delay_s = self._flags.nftables_sync_period
                started = self._env.clock.monotonic()
                try:
                    await self._sync()
                    self.in_step = True
                    self._metrics.last.set(self._env.clock.now().timestamp())
                except CommandError as error:
                    log.warning("writing the rules: %s; trying again with the whole table", error)
                    self._metrics.failures.inc()
                    self._written, self.in_step, delay_s = None, False, RETRY_S
                self._metrics.sync.observe(self._env.clock.monotonic() - started)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._changed.wait()
                    await asyncio.sleep(self._flags.nftables_min_sync_period)

    async def _sync(self) -> None:
        ports = service_ports(self._services.store.list(), self._slices.store.list(), self._flags.hostname_override)
        table = rules(ports, ProxySettings(self._flags.cluster_cidr, self._node_ips(), self._flags.masquerade_all, self._flags.iptables_masquerade_bit))
        if self._written is not None and (await run_command("nft", "list", "chain", "ip", table.name, "services", check=False)).code != 0:
            log.warning("the table %s was removed by someone; writing it anew", table.name)
            self._written = None
        if self._written is None:
            self._metrics.full.inc()
            await run_command("nft", "-f", "-", stdin=create(table).encode())
        else:
            transaction = update(self._written, table)
            if transaction:
                await run_command("nft", "-f", "-", stdin=transaction.encode())
        stale = stale_udp(self._ports, ports)
        self._written, self._ports = table, ports
        self._metrics.services.set(len(ports))
        for address, node_port, endpoint, protocol in sorted(stale):
            await self._forget_flow(address, node_port, endpoint, protocol)

    async def _forget_flow(self, address: str, node_port: int, endpoint: str, protocol: str) -> None:
        """conntrack exits with 1 when there was nothing to delete, which is what we want as well."""
        where = ["--orig-dst", address] if address else ["--orig-port-dst", str(node_port)]
        await run_command("conntrack", "-D", "-p", protocol, *where, "--dst-nat", endpoint, check=False)

    def _node_ips(self) -> tuple[str, ...]:
        if self._flags.nodeport_addresses:
            return tuple(sorted(self._flags.nodeport_addresses))
        node: dict[str, Any] = self._nodes.store.get(self._flags.hostname_override) or {}
        addresses = (node.get("status") or {}).get("addresses") or ()
        return tuple(sorted(a["address"] for a in addresses if a.get("type") == "InternalIP" and ":" not in a["address"]))


async def run(flags: ProxyFlags, env: Env) -> None:
    """The process: the rules, and its two endpoints."""
    try:
        client = client_from_kubeconfig(flags.kubeconfig, user_agent="kube-proxy")
    except (KubeconfigError, TlsError) as error:
        raise StartError(str(error)) from error
    registry = CollectorRegistry()
    proxy = Proxy(client, env, flags, ProxyMetrics(registry))
    checks = {"rules": lambda: None if proxy.in_step else "the rules are not in step with the cluster's services"}
    servers = []
    try:
        for address, handler in (
            (flags.healthz_bind_address, health_handler(None, checks)),
            (flags.metrics_bind_address, health_handler(registry, checks)),
        ):
            if address:
                host, _, port = address.rpartition(":")
                servers.append(await serve(handler, host=host, port=int(port)))
        await proxy.run()
    finally:
        for server in servers:
            await server.close(1.0)
        await client.close()
