"""The apiserver as a value that answers requests: filters, then routes, then verbs.

    request ─► panic guard ─► request info ─► authentication ─► in-flight limit ─► authorization ─► route ─► verb ─► response

`handle` is all of it; what carries the bytes (HTTP with TLS, or a direct call in one process) is elsewhere.  Nothing here
reads a clock, a file or a random source by itself, so that a whole cluster can run on a virtual-time loop.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from k8sfromscratch.api import errors, warnings
from k8sfromscratch.api.registry import RESOURCES
from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver import aggregation_controller, bootstrap, compaction, negotiation, replies, request_info
from k8sfromscratch.components.apiserver.admission import Admission, AsyncValidator
from k8sfromscratch.components.apiserver.admission_policies import AdmissionPolicies
from k8sfromscratch.components.apiserver.aggregation import Aggregation
from k8sfromscratch.components.apiserver.aggregation_controller import AggregationController
from k8sfromscratch.components.apiserver.allocation import Allocations, Ranges
from k8sfromscratch.components.apiserver.allocation_loop import AllocationLoop
from k8sfromscratch.components.apiserver.authorization import attributes_of, denied
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.catalog import CacheView, Catalog
from k8sfromscratch.components.apiserver.custom_controller import CustomController
from k8sfromscratch.components.apiserver.custom_definitions import CustomDefinitions
from k8sfromscratch.components.apiserver.deadlines import Deadlines
from k8sfromscratch.components.apiserver.deletes import Deletes
from k8sfromscratch.components.apiserver.discovery import Discovery
from k8sfromscratch.components.apiserver.event_leases import EventLeases
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.impersonation import effective_user
from k8sfromscratch.components.apiserver.inflight import InFlight, Streams, is_long_running, is_waiting
from k8sfromscratch.components.apiserver.intake import Intake
from k8sfromscratch.components.apiserver.kubernetes_service import KubernetesService
from k8sfromscratch.components.apiserver.metrics import Metrics
from k8sfromscratch.components.apiserver.openapi_documents import OpenApiDocuments
from k8sfromscratch.components.apiserver.paths import Paths
from k8sfromscratch.components.apiserver.reads import Reads
from k8sfromscratch.components.apiserver.request_info import RequestInfo
from k8sfromscratch.components.apiserver.routes import Route, Routes, Verb
from k8sfromscratch.components.apiserver.service_resolver import ServiceResolver
from k8sfromscratch.components.apiserver.store import Store
from k8sfromscratch.components.apiserver.subresources import Subresources
from k8sfromscratch.components.apiserver.transforms import Transformer
from k8sfromscratch.components.apiserver.watches import Watches
from k8sfromscratch.components.apiserver.webhooks import Webhooks
from k8sfromscratch.components.apiserver.writes import Writes
from k8sfromscratch.core.admission.chain import Chain
from k8sfromscratch.core.authz.types import LOOPBACK, Attributes, Decision, UserInfo
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response, Upgrade
from k8sfromscratch.process.tls import TlsFiles
from k8sfromscratch.storage.interface import Storage, StorageError

log = logging.getLogger(__name__)
requests_log = logging.getLogger(f"{__name__}.requests")
"""A line a request at level DEBUG."""

# Upstream's --request-timeout: whatever takes longer hangs.
_REQUEST_TIMEOUT_S = 60.0
_HOOK_RETRY_S = 1.0
_ALLOWED = Decision(True)


class Authenticator(Protocol):
    async def authenticate(self, request: Request, view: CacheView) -> UserInfo:
        """Raises Unauthorized."""
        ...


class Authorizer(Protocol):
    def authorize(self, a: Attributes, view: CacheView) -> Decision: ...


Hook = Callable[["ApiServer"], Awaitable[None]]
PathHandler = Callable[[Request, UserInfo], Awaitable[Response]]


@dataclass(slots=True)
class ApiServerOptions:
    """What an embedding process chooses.

    Without an authenticator only those are known who call in this process (`Request.direct_user`); without an authorizer
    everyone who is known may do everything.  `routes` and `paths` add what other parts serve (token, access reviews, exec, JWKS);
    `hooks` run once the caches are filled, in this order, and readiness waits for them.
    """

    authenticator: Authenticator | None = None
    authorizer: Authorizer | None = None
    admission: Chain = field(default_factory=lambda: Chain(()))
    last_validators: Callable[["ApiServer"], Sequence[AsyncValidator]] = lambda server: ()
    """Admission that runs after everything else: what it charges is not refused by another one afterwards."""
    policies: bool = True
    """Whether ValidatingAdmissionPolicies are enforced."""
    routes: Callable[["ApiServer"], Mapping[Route, Verb]] = lambda server: {}
    paths: Mapping[str, PathHandler] = field(default_factory=dict)
    hooks: Sequence[tuple[str, Hook]] = bootstrap.HOOKS
    ranges: Ranges = field(default_factory=Ranges)
    advertise: tuple[str, int] | None = None
    """Where clients reach this apiserver; with it, the `kubernetes` Service is kept."""
    route_by_endpoint: bool = False
    """--enable-aggregator-routing: Services that serve us are dialled at an endpoint, not at their cluster IP."""
    proxy_client: TlsFiles | None = None
    """Our certificate for extension apiservers, which believe its holder who asks."""
    event_ttl_s: int = 3600
    compaction_interval_s: float = compaction.INTERVAL_S
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200


class ApiServer:
    def __init__(self, storage: Storage, env: Env, options: ApiServerOptions | None = None) -> None:
        self.options = options or ApiServerOptions()
        self.env = env
        self.storage = storage
        self.catalog = Catalog(RESOURCES)
        self.view = CacheView(self.catalog)
        self.feed = Feed(storage, self.catalog.caches)
        self.store = Store(storage, self.feed, EventLeases(storage, env.clock, self.options.event_ttl_s))
        self.metrics = Metrics()
        transformer = Transformer(env.clock)
        self.allocations = Allocations(self.catalog, self.options.ranges, env)
        intake = Intake()
        services = ServiceResolver(self.view, env.rng, by_endpoint=self.options.route_by_endpoint)
        self.aggregation = Aggregation(self.view, services, self.options.proxy_client)
        self._aggregation_controller = AggregationController(self)
        self._hooks = (*self.options.hooks, (aggregation_controller.HOOK, self._aggregation_controller.register))
        self.hooks_pending = [name for name, _ in self._hooks]
        self.webhooks = Webhooks(self.catalog, self.view, env, services)
        policies = AdmissionPolicies(self.catalog, self.view, self.feed.filled) if self.options.policies else None
        self.admission = Admission(self.options.admission, self.view, self.feed, self.webhooks, policies, last=self.options.last_validators(self))
        self.reads = Reads(storage, self.feed, transformer)
        self._inflight = InFlight(self.options.max_requests_inflight, self.options.max_mutating_requests_inflight, self.metrics)
        self._streams = Streams(self.metrics)
        self.watches = Watches(self._streams, self.feed, transformer, env.clock, env.rng)
        self.writes = Writes(self.store, self.feed, intake, self.admission, self.view, self.allocations, self.reads, env)
        self.deletes = Deletes(self.store, self.feed, self.admission, self.allocations, self.reads, env)
        subresources = Subresources(self.catalog, self.store, self.feed, self.writes, self.deletes, self.admission, self.view, transformer, env)
        self._routes = Routes(self.reads, self.watches, self.writes, self.deletes, subresources, self.options.routes(self))
        self._custom = CustomController(self.catalog, self.store, self.feed, self.deletes, CustomDefinitions(self.catalog, self.feed), env)
        self._deadlines = Deadlines(_REQUEST_TIMEOUT_S)
        self._paths = Paths(self, Discovery(self.catalog, self.aggregation), OpenApiDocuments(self.catalog, self.aggregation))
        self.loopback = Client(DirectTransport(self.handle, LOOPBACK), user_agent="kube-apiserver")
        """The apiserver as a client of itself: through all filters, as a member of system:masters."""
        self.stopping = False
        self._loops: list[asyncio.Task[None]] = []

    # -- life

    async def start(self) -> None:
        """Returns when the caches hold what the store holds, every hook has run, and the `kubernetes` Service is there."""
        await self.feed.start()
        self._loops.append(asyncio.create_task(self._custom.run(), name="apiserver-custom-resource-definitions"))
        for name, hook in self._hooks:
            await self._run_hook(name, hook)
            self.hooks_pending.remove(name)
        if self.options.compaction_interval_s:
            self._loops.append(asyncio.create_task(compaction.run(self.storage, self.options.compaction_interval_s), name="apiserver-compaction"))
        self._loops.append(asyncio.create_task(AllocationLoop(self, self.allocations).run(), name="apiserver-allocations"))
        self._loops.append(asyncio.create_task(self._aggregation_controller.run(), name="apiserver-aggregation"))
        if self.options.advertise is not None:
            service = KubernetesService(self, *self.options.advertise)
            await service.start()
            self._loops.append(asyncio.create_task(service.run(), name="apiserver-kubernetes-service"))

    async def _run_hook(self, name: str, hook: Hook) -> None:
        """Again and again while the store is away: a cluster that starts all at once must not fail for an order."""
        while True:
            try:
                return await hook(self)
            except (errors.ServiceUnavailable, errors.Timeout, StorageError) as error:
                log.warning("post-start hook %s failed, trying again: %s", name, error)
                await asyncio.sleep(_HOOK_RETRY_S)

    async def stop(self) -> None:
        """Says that it is not ready, ends all watches, leaves the `kubernetes` Service, then lets go of the store's watch."""
        self.stopping = True
        self.watches.stop(self.catalog.caches.values())
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.webhooks.close()
        await self.feed.stop()

    def publish_metrics(self) -> None:
        """Sets the figures that are read off rather than counted."""
        self._inflight.publish()
        for served in self.catalog:
            if served.resource is served.stored:
                self.metrics.objects(served.resource.group_resource, len(served.cache))

    @property
    def hook_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._hooks)

    # -- requests

    async def handle(self, request: Request) -> Response | Upgrade:
        started_s = self.env.clock.monotonic()
        info = request_info.parse(request)
        known = not info.is_resource or self.catalog.knows(info.group, info.version, info.resource)
        try:
            response = await self._answer(request, info)
        except errors.ApiError as error:
            response = replies.failure(error)
        except Exception:
            # The client learns nothing of our insides; the log learns all.
            log.exception("%s %s failed", request.method, request.path)
            response = replies.failure(errors.InternalError("an error on the server has prevented the request from succeeding"))
        if isinstance(response, Response):
            duration_s = self.env.clock.monotonic() - started_s
            self.metrics.observe(info, known, response.status, None if is_long_running(info) else duration_s)
            if requests_log.isEnabledFor(logging.DEBUG):
                agent = request.headers.get("user-agent", "")
                requests_log.debug("%s %s %d %.1f ms, %s %s", request.method, request.raw_path, response.status, duration_s * 1e3, request.remote, agent)
        return response

    async def _answer(self, request: Request, info: RequestInfo) -> Response | Upgrade:
        user = await self._authenticate(request)
        if is_long_running(info):
            self._streams.check(user)
            response = await self._authorized(request, info, user)
            return self._streams.counted(response, user, info) if isinstance(response, Upgrade) else response
        slot = self._inflight.enter(info, user)
        if slot is None:
            with self._deadlines.within():
                return await self._authorized(request, info, user)
        if is_waiting(slot):
            await self._inflight.turn(slot)
        try:
            with self._deadlines.within():
                return await self._authorized(request, info, user)
        finally:
            self._inflight.leave(slot)

    async def _authorized(self, request: Request, info: RequestInfo, user: UserInfo) -> Response | Upgrade:
        self._authorize(request, info, user)
        if not info.is_resource:
            remote = self.aggregation.of_path(info.path)
            if remote is not None:
                return await self.aggregation.proxy(request, user, remote)
            return replies.compressed(await self._paths.answer(request, user), request)
        if not self.feed.synced:
            raise errors.ServiceUnavailable("the server is starting: its caches are not filled yet", retry_after_s=1)
        try:
            served = self.catalog.find(info.group, info.version, info.resource)
        except errors.NotFound:
            remote = self.aggregation.find(info.group, info.version)
            if remote is None:
                raise
            return await self.aggregation.proxy(request, user, remote)
        if served.custom is not None:
            await self.feed.filled(served.directory)
        if info.namespace and not served.resource.namespaced and info.resource != "namespaces":
            raise errors.NotFound("the server could not find the requested resource")
        call = Call(request, info, user, served, negotiation.output(request))
        deprecation = warnings.deprecation(served.resource) if served.custom is None else served.custom.deprecation
        if deprecation:
            call.warnings.append(deprecation)
        try:
            response = await self._routes.find(call)(call)
        except errors.ApiError as error:
            # Who is refused is told all the more what else there was to say.
            if not call.warnings:
                raise
            response = replies.failure(error)
        if isinstance(response, Upgrade):
            return response
        if call.warnings:
            response.headers["Warning"] = ", ".join(_warning(text) for text in call.warnings)
        return replies.compressed(response, request)

    async def _authenticate(self, request: Request) -> UserInfo:
        """Who it counts as: who asks, or whom they may act as."""
        if isinstance(request.direct_user, UserInfo):
            user = request.direct_user
        elif self.options.authenticator is None:
            raise errors.Unauthorized("Unauthorized")
        else:
            user = await self.options.authenticator.authenticate(request, self.view)
        return effective_user(request, user, self._decide)

    def _decide(self, a: Attributes) -> Decision:
        return _ALLOWED if self.options.authorizer is None else self.options.authorizer.authorize(a, self.view)

    def _authorize(self, request: Request, info: RequestInfo, user: UserInfo) -> None:
        """Raises Forbidden."""
        attributes = attributes_of(user, info, request)
        decision = self._decide(attributes)
        if not decision.allowed:
            raise denied(attributes, decision)


def _warning(text: str) -> str:
    """RFC 7234 §5.5, code 299; a quoted string in one line."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'299 - "{quoted}"'
