"""The apiserver as a value that answers requests: filters, then routes, then verbs.

    request ──> panic guard ──> request info ──> in-flight limit ──> authentication ──> authorization ──> route ──> verb ──> response

`handle` is all of it; what carries the bytes (aiohttp with TLS, or a direct call in one process) is elsewhere.  Nothing here
reads a clock, a file or a random source by itself, so that a whole cluster can run on a virtual-time loop.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from k8sfromscratch.api import errors
from k8sfromscratch.api.registry import RESOURCES
from k8sfromscratch.components.apiserver import negotiation, replies, request_info
from k8sfromscratch.components.apiserver.allocation import Allocations
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.catalog import CacheView, Catalog
from k8sfromscratch.components.apiserver.deletes import Deletes
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.intake import Intake
from k8sfromscratch.components.apiserver.reads import Reads
from k8sfromscratch.components.apiserver.request_info import RequestInfo
from k8sfromscratch.components.apiserver.store import Store
from k8sfromscratch.components.apiserver.transforms import Transformer
from k8sfromscratch.components.apiserver.watches import Watches
from k8sfromscratch.components.apiserver.writes import Writes
from k8sfromscratch.core.admission.chain import Chain
from k8sfromscratch.core.authz.types import LOOPBACK, Attributes, Decision, UserInfo
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response, Upgrade
from k8sfromscratch.storage.interface import Storage

log = logging.getLogger(__name__)


class Authenticator(Protocol):
    async def authenticate(self, request: Request) -> UserInfo: ...


class Authorizer(Protocol):
    def authorize(self, a: Attributes, view: CacheView) -> Decision: ...


@dataclass(slots=True)
class ApiServerOptions:
    """What an embedding process chooses.  Without an authenticator the caller must say who it is (`Request.direct_user`);
    without an authorizer everyone may do everything."""

    authenticator: Authenticator | None = None
    authorizer: Authorizer | None = None
    admission: Chain = field(default_factory=lambda: Chain(()))


class ApiServer:
    def __init__(self, storage: Storage, env: Env, options: ApiServerOptions | None = None) -> None:
        self.options = options or ApiServerOptions()
        self.env = env
        self.catalog = Catalog(RESOURCES)
        self.view = CacheView(self.catalog)
        self.feed = Feed(storage, self.catalog.caches)
        self.store = Store(storage)
        transformer = Transformer()
        allocations = Allocations()
        intake = Intake()
        self._reads = Reads(storage, self.feed, transformer)
        self._watches = Watches(self.feed, transformer, env.clock, env.rng)
        self._writes = Writes(self.store, intake, self.options.admission, self.view, allocations, self._reads, env)
        self._deletes = Deletes(self.store, self.feed, self.options.admission, self.view, allocations, self._reads, env)
        self._verbs: dict[str, Callable[[Call], Awaitable[Response]]] = {
            "get": self._reads.get,
            "list": self._reads.list_objects,
            "watch": self._watches.watch,
            "create": self._create,
            "update": self._update,
            "delete": self._deletes.delete,
            "deletecollection": self._deletes.delete_collection,
        }

    async def start(self) -> None:
        """Returns when the caches hold what the store holds."""
        await self.feed.start()

    async def stop(self) -> None:
        """Ends all watches; answers no more from the caches."""
        self._watches.stopping = True
        for cache in self.catalog.caches.values():
            cache.wake()
        await self.feed.stop()

    async def handle(self, request: Request) -> Response | Upgrade:
        try:
            return await self._filtered(request)
        except errors.ApiError as error:
            return replies.failure(error)
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return replies.failure(errors.InternalError("an error on the server has prevented the request from succeeding"))

    async def _filtered(self, request: Request) -> Response | Upgrade:
        info = request_info.parse(request)
        user = await self._authenticate(request)
        self._authorize(user, info)
        if not info.is_resource:
            raise errors.NotFound("the server could not find the requested resource")
        served = self.catalog.find(info.group, info.version, info.resource)
        call = Call(request, info, user, served, negotiation.output(request))
        verb = self._verbs.get(info.verb)
        if verb is None or info.verb not in served.resource.verbs:
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        response = await verb(call)
        for warning in call.warnings:
            response.headers["Warning"] = f'299 - "{warning}"'
        return replies.compressed(response, request)

    async def _authenticate(self, request: Request) -> UserInfo:
        if isinstance(request.direct_user, UserInfo):
            return request.direct_user
        if self.options.authenticator is None:
            return LOOPBACK
        return await self.options.authenticator.authenticate(request)

    def _authorize(self, user: UserInfo, info: RequestInfo) -> None:
        if self.options.authorizer is None:
            return
        attributes = (
            Attributes(user, info.verb, info.namespace, info.group, info.version, info.resource, info.subresource, info.name)
            if info.is_resource
            else Attributes(user, info.verb, path=info.path)
        )
        decision = self.options.authorizer.authorize(attributes, self.view)
        if not decision.allowed:
            raise errors.forbidden(info.resource, info.name, info.group, f'User "{user.name}" cannot {info.verb} it {decision.reason}')

    async def _create(self, call: Call) -> Response:
        return await self._writes.create(call, _body(call))

    async def _update(self, call: Call) -> Response:
        return await self._writes.update(call, _body(call))


def _body(call: Call) -> Any:
    return negotiation.decode_body(call.request)
