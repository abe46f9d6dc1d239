"""kube-apiserver as a process, and as a part of another one.

run(flags, env)             the process: etcd behind, TLS in front
embedded(storage, env, …)   the same server in this process; its `handle` is called by a DirectTransport or put behind `serve`
"""

import asyncio
import logging
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cryptography import x509

from k8sfromscratch.components.apiserver import bootstrap, security
from k8sfromscratch.components.apiserver.admission import AsyncValidator
from k8sfromscratch.components.apiserver.allocation import Ranges, parse_networks
from k8sfromscratch.components.apiserver.config import ApiServerFlags
from k8sfromscratch.components.apiserver.names import random_suffix
from k8sfromscratch.components.apiserver.quota import ResourceQuota
from k8sfromscratch.components.apiserver.routes import Route, Verb
from k8sfromscratch.components.apiserver.security import Security
from k8sfromscratch.components.apiserver.server import ApiServer, ApiServerOptions, requests_log
from k8sfromscratch.components.apiserver.streaming import Streaming
from k8sfromscratch.components.apiserver.streaming_kubelet import NO_KUBELETS, Kubelets, kubelets_from_flags
from k8sfromscratch.core.admission.chain import RESOURCE_QUOTA, VALIDATING_ADMISSION_POLICY, UnknownPlugin, chain
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process import memory, pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.profiling import Profiling
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError, TlsFiles, client_context
from k8sfromscratch.storage.interface import Storage
from k8sfromscratch.storage.remote import RemoteStorage

log = logging.getLogger(__name__)

# --v from which on each request is logged; upstream's.
_V_REQUESTS = 4
# How long requests that are under way at the end may take; watches end at once.
_DRAIN_S = 5.0


async def run(flags: ApiServerFlags, env: Env) -> None:
    """Serves until cancelled.  Raises StartError."""
    if not flags.tls_cert_file:
        raise StartError("--tls-cert-file and --tls-private-key-file are required: the API is served over TLS only")
    if flags.v >= _V_REQUESTS:
        requests_log.setLevel(logging.DEBUG)
    address = flags.advertise_address or _own_address(flags.bind_address)
    guard = security.from_flags(flags, env, address=f"{address}:{flags.secure_port}")
    options = options_of(flags, env, guard)
    storage = _storage(flags)
    server = ApiServer(storage, env, options)
    try:
        with _client_authorities(flags) as client_ca_file:
            listener = await serve(
                server.handle,
                host=flags.bind_address,
                port=flags.secure_port,
                tls=TlsFiles(flags.tls_cert_file, flags.tls_private_key_file),
                client_ca_file=client_ca_file,
            )
    except TlsError as error:
        await storage.close()
        raise StartError(str(error)) from error
    if flags.endpoint_reconciler_type == "lease":
        options.advertise = (address, listener.port)
    try:
        await server.start()
        memory.settle()
        log.info("serving on %s:%d, clients reach it at %s", flags.bind_address, listener.port, address)
        await asyncio.Event().wait()
    finally:
        await asyncio.shield(_shut_down(server, listener.close, storage, flags.shutdown_delay_duration))


async def _shut_down(server: ApiServer, close_listener: Callable[[float], Awaitable[None]], storage: Storage, delay_s: float) -> None:
    server.stopping = True
    await asyncio.sleep(delay_s)
    await server.stop()
    await close_listener(_DRAIN_S)
    await storage.close()


def options_of(flags: ApiServerFlags, env: Env, guard: Security) -> ApiServerOptions:
    """Raises StartError."""
    try:
        ranges = Ranges(parse_networks(flags.service_cluster_ip_range), flags.node_ports)
        admission = chain(
            partial(random_suffix, env.rng),
            authorize=guard.authorizer.authorize,
            enable=flags.enable_admission_plugins,
            disable=flags.disable_admission_plugins,
            always=guard.plugins,
        )
    except (ValueError, UnknownPlugin) as error:
        raise StartError(str(error)) from error
    return ApiServerOptions(
        authenticator=guard.authenticator,
        authorizer=guard.authorizer,
        admission=admission,
        last_validators=_quota(RESOURCE_QUOTA not in flags.disable_admission_plugins),
        policies=VALIDATING_ADMISSION_POLICY not in flags.disable_admission_plugins,
        routes=_routes(guard, kubelets_from_flags(flags)),
        paths={**guard.paths, **(Profiling().paths if flags.profiling else {})},
        hooks=(*bootstrap.HOOKS, *guard.hooks),
        ranges=ranges,
        route_by_endpoint=flags.enable_aggregator_routing,
        proxy_client=TlsFiles(flags.proxy_client_cert_file, flags.proxy_client_key_file) if flags.proxy_client_cert_file else None,
        event_ttl_s=int(flags.event_ttl),
        compaction_interval_s=flags.etcd_compaction_interval,
        max_requests_inflight=flags.max_requests_inflight,
        max_mutating_requests_inflight=flags.max_mutating_requests_inflight,
    )


def embedded(
    storage: Storage,
    env: Env,
    *,
    signing_key: pki.PrivateKey,
    tokens: Mapping[str, UserInfo] | None = None,
    address: str = "127.0.0.1",
    port: int = 6443,
    ranges: Ranges = Ranges(),
    modes: tuple[str, ...] = ("Node", "RBAC"),
    kubelets: Kubelets = NO_KUBELETS,
    client_cas: Sequence[x509.Certificate] = (),
) -> ApiServer:
    """Not started yet.  `tokens` are static bearer tokens; `address` and `port` are where its clients reach it; the key signs service
    account tokens; certificates of `client_cas` say who their holders are."""
    guard = security.embedded(env, signing_key, tokens=tokens or {}, address=f"{address}:{port}", modes=modes, client_cas=client_cas)
    options = ApiServerOptions(
        authenticator=guard.authenticator,
        authorizer=guard.authorizer,
        admission=chain(partial(random_suffix, env.rng), authorize=guard.authorizer.authorize, always=guard.plugins),
        last_validators=_quota(True),
        routes=_routes(guard, kubelets),
        paths=guard.paths,
        hooks=(*bootstrap.HOOKS, *guard.hooks),
        ranges=ranges,
        advertise=(address, port),
    )
    return ApiServer(storage, env, options)


def _routes(guard: Security, kubelets: Kubelets) -> Callable[[ApiServer], Mapping[Route, Verb]]:
    return lambda server: {**guard.routes(server), **Streaming(server, kubelets).routes()}


def _quota(on: bool) -> Callable[[ApiServer], Sequence[AsyncValidator]]:
    return lambda server: (ResourceQuota(server.catalog, server.store, server.feed, server.env.clock),) if on else ()


def _storage(flags: ApiServerFlags) -> Storage:
    """Raises StartError."""
    secure = [url.startswith("https://") for url in flags.etcd_servers]
    if any(secure) and not all(secure):
        raise StartError("--etcd-servers: all URLs must be https, or none")
    context = None
    if all(secure):
        files = TlsFiles(flags.etcd_certfile, flags.etcd_keyfile) if flags.etcd_certfile else None
        try:
            context = client_context(ca_file=flags.etcd_cafile, files=files, alpn=("h2",))
        except TlsError as error:
            raise StartError(str(error)) from error
    return RemoteStorage(flags.etcd_servers, context)


@contextmanager
def _client_authorities(flags: ApiServerFlags) -> Iterator[str]:
    """One file of every CA whose certificates the TLS layer lets in; authentication tells afterwards which of them it was."""
    paths = [path for path in (flags.client_ca_file, flags.requestheader_client_ca_file) if path]
    if len(paths) < 2:
        yield "".join(paths)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as bundle:
        try:
            bundle.write("\n".join(Path(path).read_text() for path in paths))
        except OSError as error:
            raise StartError(f"{error.filename}: {error.strerror}") from error
        bundle.flush()
        yield bundle.name


def _own_address(bind_address: str) -> str:
    """The bound address, or that of the interface with the default route.  Raises StartError."""
    if bind_address not in ("0.0.0.0", "::", ""):
        return bind_address
    family = socket.AF_INET6 if ":" in bind_address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing: it only asks the kernel for the route.
            probe.connect(("2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError as error:
            raise StartError("there is no default route to tell our address by: give --advertise-address") from error
