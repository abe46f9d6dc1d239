"""An apiserver with all its security, on the store in this process; and requests as a client on the wire would send them."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from k8sfromscratch.api.registry import RESOURCES
from k8sfromscratch.client import Client
from k8sfromscratch.client.direct import DirectTransport
from k8sfromscratch.components.apiserver import bootstrap
from k8sfromscratch.components.apiserver.security import Security, embedded
from k8sfromscratch.components.apiserver.server import ApiServer, ApiServerOptions
from k8sfromscratch.core.admission.chain import Chain
from k8sfromscratch.core.admission.noderestriction import NodeRestriction
from k8sfromscratch.core.admission.serviceaccount import ServiceAccount
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.process.pki import make_key
from k8sfromscratch.storage.local import LocalStorage

Object = dict[str, Any]
SIGNING_KEY = make_key("ec")
TOKENS = {"root": UserInfo("root", ("system:masters", "system:authenticated")), "ann": UserInfo("ann", ("devs", "system:authenticated"), "7")}


class StoppedClock:
    """Moves when a test says so."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Cluster:
    server: ApiServer
    security: Security
    clock: StoppedClock
    root: Client

    async def send(self, method: str, path: str, body: Object | None = None, *, token: str = "", headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """The status and the decoded body.  Rights follow the watch cache, as upstream's follow informers: what was written before is waited for."""
        await self.server.feed.caught_up()
        route, _, query = path.partition("?")
        sent = {"authorization": f"Bearer {token}"} if token else {}
        request = Request(method, route, parse_qs(query), {**sent, **(headers or {})}, orjson.dumps(body) if body is not None else b"", raw_path=path)
        if body is not None:
            request.headers = {**request.headers, "content-type": "application/json"}
        response = await self.server.handle(request)
        assert isinstance(response, Response) and isinstance(response.body, bytes)
        return response.status, orjson.loads(response.body) if response.body else None

    async def create(self, api_version: str, kind: str, name: str, namespace: str | None = None, **rest: Any) -> Object:
        resource = next(r for r in RESOURCES if r.api_version == api_version and r.kind == kind)
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        return await self.root.create(resource, {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest})


@pytest.fixture
def cluster() -> Callable[[], AbstractAsyncContextManager[Cluster]]:
    @asynccontextmanager
    async def running() -> AsyncIterator[Cluster]:
        clock = StoppedClock()
        env = Env(clock, random.Random(1))
        security = embedded(env, SIGNING_KEY, tokens=TOKENS, address="127.0.0.1:6443")
        options = ApiServerOptions(
            authenticator=security.authenticator,
            authorizer=security.authorizer,
            admission=Chain([ServiceAccount(lambda: "abcde"), NodeRestriction(), *security.plugins]),
            routes=security.routes,
            paths=security.paths,
            hooks=(*bootstrap.HOOKS, *security.hooks),
        )
        storage = LocalStorage.memory(env)
        server = ApiServer(storage, env, options)
        await server.start()
        try:
            yield Cluster(server, security, clock, Client(DirectTransport(server.handle, TOKENS["root"])))
        finally:
            await server.stop()
            await storage.close()

    return running
