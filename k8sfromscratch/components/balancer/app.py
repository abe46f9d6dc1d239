"""apiserver-balancer: where a machine's components find an apiserver, whichever of the masters is down.

    kubelet ────┐                          ┌─► master-1:6443
    kube-proxy ─┼─► 127.0.0.1:6444 ── TCP ─┼─► master-2:6443      GET /readyz of each, every two seconds
    flannel ────┘                          └─► master-3:6443

TLS goes through it unseen: the client checks the apiserver's certificate, the apiserver the client's.  What is thought of each server and which is tried
first is decided by `core.network.backends`; this dials, relays and asks.
"""

import asyncio
import logging
from collections.abc import Sequence
from ssl import SSLContext

from prometheus_client import CollectorRegistry, Counter, Gauge

from k8sfromscratch.client.https import HttpsTransport
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.components.balancer.config import BalancerFlags
from k8sfromscratch.components.balancer.relay import End, join
from k8sfromscratch.core.network.backends import Answer, Backend, State, checked, not_reached, order, to_cut
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.health import health_handler
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError, client_context

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 4096
"""Of one machine's components; a kubelet has a few dozen.  More is a client that leaks, and is refused."""


class Balancer:
    def __init__(self, backends: Sequence[str], tls: SSLContext, *, check_interval_s: float, check_timeout_s: float, first: int = 0) -> None:
        """`first` is which of them the first connection goes to."""
        self.backends = [Backend(address) for address in backends]
        self.registry = CollectorRegistry()
        self.changed = asyncio.Event()
        """Set when what is thought of a server changes."""
        self._tls, self._interval_s, self._timeout_s = tls, check_interval_s, check_timeout_s
        self._ends: dict[str, set[End]] = {address: set() for address in backends}
        """The servers' sides of all connections."""
        self._dialling: set[asyncio.Task[None]] = set()
        self._clients: set[End] = set()
        self._turn = first
        self._listener: asyncio.Server | None = None
        self._checks: list[asyncio.Task[None]] = []
        up = Gauge("apiserver_balancer_backend_up", "Whether the apiserver is ready.", ["backend"], registry=self.registry)
        used = Gauge("apiserver_balancer_connections", "Connections to the apiserver.", ["backend"], registry=self.registry)
        for backend in self.backends:
            up.labels(backend.address).set_function(lambda backend=backend: backend.state is State.READY)  # type: ignore[misc]
            used.labels(backend.address).set_function(lambda backend=backend: backend.connections)  # type: ignore[misc]
        self._failed = Counter("apiserver_balancer_failed_dials", "Connections to an apiserver that failed.", ["backend"], registry=self.registry)

    @property
    def port(self) -> int:
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    async def start(self, host: str, port: int) -> None:
        """Raises OSError where the address cannot be had."""
        self._listener = await asyncio.get_running_loop().create_server(self._accepted, host, port, backlog=1024)
        self._checks = [asyncio.create_task(self._check(backend), name=f"check {backend.address}") for backend in self.backends]

    async def close(self) -> None:
        """Connections are cut: who made them makes new ones."""
        assert self._listener is not None
        self._listener.close()
        tasks = [*self._checks, *self._dialling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in [*self._clients, *(end for ends in self._ends.values() for end in ends)]:
            end.abort()
        await self._listener.wait_closed()

    def problem(self) -> str | None:
        """For /healthz."""
        return None if any(backend.state is State.READY for backend in self.backends) else "no apiserver is ready"

    # -- connections

    def _accepted(self) -> End:
        def made() -> None:
            self._clients.add(client)
            task = asyncio.get_running_loop().create_task(self._serve(client))
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)

        client = End(made, lambda: self._clients.discard(client))
        return client

    async def _serve(self, client: End) -> None:
        if len(self._clients) > CONNECTIONS_MAX:
            log.warning("a connection is refused: %d are open", CONNECTIONS_MAX)
            client.abort()
            return
        candidates = order(self.backends, self._turn)
        self._turn += 1
        for backend in candidates:
            server = await self._dial(backend)
            if server is not None:
                join(client, server)
                return
            if not client.open:
                return
        log.warning("no apiserver takes a connection")
        client.abort()

    async def _dial(self, backend: Backend) -> End | None:
        """A connection that is counted as the backend's until it ends; None where it could not be had."""
        ends = self._ends[backend.address]

        def ended() -> None:
            if end in ends:
                ends.remove(end)
                backend.connections -= 1

        end = End(lambda: None, ended)
        # Counted before it is there: connections that are made at the same time take one another into account.
        ends.add(end)
        backend.connections += 1
        host, _, port = backend.address.rpartition(":")
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.get_running_loop().create_connection(lambda: end, host.strip("[]"), int(port))
        except (OSError, TimeoutError) as error:
            end.abort()
            ended()
            self._failed.labels(backend.address).inc()
            self._note(backend, not_reached(backend), str(error) or "no answer in time")
            return None
        except asyncio.CancelledError:
            end.abort()
            ended()
            raise
        return end

    # -- checks

    async def _check(self, backend: Backend) -> None:
        """Asks one server again and again until cancelled."""
        transport = HttpsTransport(f"https://{backend.address}", tls=self._tls)
        try:
            while True:
                answer, said = await self._ask(transport)
                self._note(backend, checked(backend, answer), said)
                for gone in to_cut(self.backends):
                    log.info("%d connections to %s are cut", gone.connections, gone.address)
                    for end in list(self._ends[gone.address]):
                        end.abort()
                await asyncio.sleep(self._interval_s)
        finally:
            await transport.close()

    async def _ask(self, transport: HttpsTransport) -> tuple[Answer, str]:
        try:
            reply = await transport.request("GET", "/readyz", timeout_s=self._timeout_s)
        except TransportError as error:
            return Answer.NONE, str(error)
        return (Answer.READY, "") if reply.status == 200 else (Answer.NOT_READY, f"/readyz answers {reply.status}")

    def _note(self, backend: Backend, changed: bool, said: str) -> None:
        if changed:
            log.info("%s is %s%s", backend.address, backend.state.value, f": {said}" if said else "")
            self.changed.set()


async def run(flags: BalancerFlags, env: Env) -> None:
    """The process: the balancer, and an endpoint that says whether an apiserver is ready."""
    try:
        tls = client_context(ca_file=flags.certificate_authority)
    except TlsError as error:
        raise StartError(str(error)) from error
    # Machines that all begin with the same one would leave the others idle.
    first = env.rng.randrange(len(flags.backends))
    balancer = Balancer(flags.backends, tls, check_interval_s=flags.check_interval, check_timeout_s=flags.check_timeout, first=first)
    handler = health_handler(balancer.registry, {"apiservers": balancer.problem})
    server = await serve(handler, host=flags.healthz_bind_address, port=flags.healthz_port) if flags.healthz_port else None
    try:
        await balancer.start(flags.bind_address, flags.port)
        try:
            log.info("passing %s:%d on to %s", flags.bind_address, balancer.port, ", ".join(flags.backends))
            await asyncio.get_running_loop().create_future()
        finally:
            await balancer.close()
    finally:
        if server is not None:
            await server.close(1.0)
