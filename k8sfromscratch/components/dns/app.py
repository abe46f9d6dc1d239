"""The cluster's DNS server.

    UDP and TCP ──► core.network.dns_message (parse) ──┬─► zone of the cluster, from informers' caches
                                                       └─► any other name: the machine's nameservers (forward)

Ready only when the caches are filled, so that a fresh replica never says NXDOMAIN of a service that exists.
"""

import asyncio
import contextlib
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter

from k8sfromscratch.api.registry import ENDPOINT_SLICES, NAMESPACES, SERVICES
from k8sfromscratch.client import Client, Informers, KubeconfigError, client_from_kubeconfig, client_in_cluster
from k8sfromscratch.components.dns.config import DnsFlags
from k8sfromscratch.components.dns.forward import Forwarder, ForwardError, nameservers
from k8sfromscratch.core.network import dns_message as dns
from k8sfromscratch.core.network.dns_zone import SERVICE_NAME_LABEL, Zone
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.health import health_handler
from k8sfromscratch.process.http import Handler, Request, Response
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError

log = logging.getLogger(__name__)

TCP_IDLE_S = 10.0
TCP_CONNECTIONS_MAX = 500
UDP_TASKS_MAX = 2_000
"""Datagrams being answered at once; more are dropped, as a full socket buffer would do."""


class DnsServer:
    """Answers one message at a time, whichever way it came."""

    def __init__(self, client: Client, env: Env, *, domain: str, ttl_s: int, forwarder: Forwarder, registry: CollectorRegistry) -> None:
        self.informers = Informers(client, env)
        self._forwarder = forwarder
        self._requests = Counter("coredns_dns_requests", "DNS requests, by protocol", ["proto"], registry=registry)
        self._responses = Counter("coredns_dns_responses", "DNS responses, by code", ["rcode"], registry=registry)
        services = self.informers.get(SERVICES, indexers={"ip": _cluster_ips, "namespace": _namespace})
        slices = self.informers.get(ENDPOINT_SLICES, indexers={"service": _service_key, "address": _addresses})
        namespaces = self.informers.get(NAMESPACES)
        self.zone = Zone(
            domain=tuple(domain.lower().rstrip(".").split(".")),
            service=lambda namespace, name: services.store.get(f"{namespace}/{name}"),
            slices=lambda namespace, name: slices.store.by_index("service", f"{namespace}/{name}"),
            namespace_exists=lambda namespace: namespaces.store.get(namespace) is not None,
            services_of_address=lambda address: services.store.by_index("ip", address),
            slices_of_address=lambda address: slices.store.by_index("address", address),
            service_exists_in=lambda namespace: bool(services.store.by_index("namespace", namespace)),
            ttl_s=ttl_s,
            serial=int(env.clock.now().timestamp()),
        )

    async def reply(self, packet: bytes, *, tcp: bool) -> bytes | None:
        """The answer to one message; None to what deserves none."""
        self._requests.labels("tcp" if tcp else "udp").inc()
        try:
            query = dns.parse_query(packet)
        except dns.FormatError as error:
            return dns.build_error(error.ident, error.rcode) if error.ident is not None else None
        size_max = 0xFFFF if tcp else query.udp_size_bytes
        answer = self._own_answer(query)
        if answer is not None:
            self._responses.labels(str(answer.rcode)).inc()
            return dns.build_answer(query, answer, size_max)
        try:
            return await self._forwarder.ask(query, packet, tcp=tcp)
        except ForwardError as error:
            log.debug("forwarding %s: %s", ".".join(query.name), error)
            self._responses.labels(str(dns.SERVFAIL)).inc()
            return dns.build_answer(query, dns.Answer(dns.SERVFAIL, authoritative=False), size_max)

    def _own_answer(self, query: dns.Query) -> dns.Answer | None:
        if query.edns_version:
            return dns.Answer(dns.BADVERS)
        if query.klass != dns.IN:
            return dns.Answer(dns.REFUSED)
        if self.zone.owns(query.name):
            return self.zone.answer(query)
        return self.zone.reverse(query)


class UdpServer(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is one in all but its base class.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if len(self._tasks) < UDP_TASKS_MAX:
            task = asyncio.get_running_loop().create_task(self._answer(data, addr))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, addr: Any) -> None:
        reply = await self._server.reply(data, tcp=False)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()


class TcpServer:
    """Many queries a connection, each behind its length (RFC 7766); idle ones are closed."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= TCP_CONNECTIONS_MAX:
            writer.close()
            return
        self._open += 1
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE_S):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    packet = await reader.readexactly(length)
                reply = await self._server.reply(packet, tcp=True)
                if reply is None:
                    return
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._open -= 1
            writer.close()


def _namespace(obj: dict[str, Any]) -> tuple[str, ...]:
    return (obj["metadata"]["namespace"],)


def _cluster_ips(service: dict[str, Any]) -> list[str]:
    return [ip for ip in service["spec"].get("clusterIPs") or [service["spec"].get("clusterIP") or ""] if ip and ip != "None"]


def _service_key(item: dict[str, Any]) -> list[str]:
    owner = (item["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL)
    return [f"{item['metadata']['namespace']}/{owner}"] if owner else []


def _addresses(item: dict[str, Any]) -> list[str]:
    return [address for endpoint in item.get("endpoints") or () for address in endpoint.get("addresses") or ()]


async def run(flags: DnsFlags, env: Env) -> None:
    """The process: UDP and TCP on one port, and CoreDNS's three endpoints."""
    try:
        client = client_from_kubeconfig(flags.kubeconfig, user_agent="dns") if flags.kubeconfig else client_in_cluster(user_agent="dns")
    except (KubeconfigError, TlsError) as error:
        raise StartError(str(error)) from error
    upstream = [] if flags.upstream == ["none"] else flags.upstream or nameservers(Path(flags.resolv_conf))
    registry = CollectorRegistry()
    server = DnsServer(client, env, domain=flags.cluster_domain, ttl_s=flags.ttl, forwarder=Forwarder(upstream, env), registry=registry)
    ready = asyncio.Event()
    checks = {"kubernetes": lambda: None if ready.is_set() else "the caches are not filled yet"}
    loop = asyncio.get_running_loop()
    tcp = TcpServer(server)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        for port, handler in (
            (flags.health_port, _plain_handler({})),
            (flags.ready_port, _plain_handler(checks)),
            (flags.metrics_port, health_handler(registry, {})),
        ):
            if port:
                endpoint = await serve(handler, host=flags.bind_address, port=port)
                stack.push_async_callback(endpoint.close, 1.0)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.informers.run(), name="informers")
            await server.informers.wait_synced()
            transport, _ = await loop.create_datagram_endpoint(lambda: UdpServer(server), local_addr=(flags.bind_address, flags.port))
            stack.callback(transport.close)
            listener = await asyncio.start_server(tcp.serve, flags.bind_address, flags.port)
            stack.callback(listener.close)
            ready.set()
            log.info("answering for %s on port %d; other names are asked of %s", flags.cluster_domain, flags.port, upstream or "nobody")
            await loop.create_future()


def _plain_handler(checks: dict[str, Callable[[], str | None]]) -> Handler:
    """CoreDNS's /health and /ready, which kubelets probe: one port each, any path."""

    async def handle(request: Request) -> Response:
        problem = next((p for check in checks.values() if (p := check()) is not None), None)
        return Response(200, b"OK", "text/plain") if problem is None else Response(503, problem.encode(), "text/plain")

    return handle
