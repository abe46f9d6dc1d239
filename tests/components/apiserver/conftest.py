"""An apiserver in this process, on the memory store and on virtual time, with the security and admission that `kfs up` has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from k8sfromscratch.client import Client, DirectTransport
from k8sfromscratch.components.apiserver.app import embedded
from k8sfromscratch.components.apiserver.server import ApiServer
from k8sfromscratch.core.authz.types import LOOPBACK, UserInfo
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.storage.interface import Storage
from k8sfromscratch.storage.local import LocalStorage
from k8sfromscratch.testing.virtual import run_virtual

_PATIENCE_S = 3600  # of virtual time: until then a watch has told what it has to tell


@dataclass
class Api:
    server: ApiServer
    client: Client
    storage: Storage

    async def request(
        self, method: str, path: str, body: Any = None, *, user: UserInfo = LOOPBACK, headers: dict[str, str] | None = None, **query: str
    ) -> Response:
        """`body` is bytes, or anything that JSON can say.  A trailing underscore in a query's name is dropped (`continue_`)."""
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        arguments = {name.rstrip("_"): [value] for name, value in query.items()}
        response = await self.server.handle(Request(method, path, arguments, {"content-type": "application/json", **(headers or {})}, raw, direct_user=user))
        assert isinstance(response, Response)
        return response

    async def json(self, method: str, path: str, body: Any = None, *, status: int | None = None, **more: Any) -> Any:
        response = await self.request(method, path, body, **more)
        assert isinstance(response.body, bytes)
        if status is not None:
            assert response.status == status, response.body
        return orjson.loads(response.body)

    @asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator["Events"]:
        response = await self.request("GET", path, watch="true", **query)
        assert response.status == 200, response.body
        assert not isinstance(response.body, bytes)
        try:
            yield Events(response.body)
        finally:
            await response.body.aclose()  # type: ignore[attr-defined]

    def config_map(self, name: str, **data: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


class Events:
    """The events of a watch, one by one however they are chunked."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._lines: list[bytes] = []

    async def next(self) -> dict[str, Any]:
        while not self._lines:
            self._lines += (await asyncio.wait_for(anext(self._chunks), _PATIENCE_S)).splitlines()
        return orjson.loads(self._lines.pop(0))

    async def take(self, count: int) -> list[tuple[str, str]]:
        """(type, name) of the next events."""
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in [await self.next() for _ in range(count)]]

    async def rest(self) -> list[dict[str, Any]]:
        """All until the server ends the stream."""
        lines = list(self._lines)
        async for chunk in self._chunks:
            lines += chunk.splitlines()
        return [orjson.loads(line) for line in lines]


_KEY = pki.make_key()


@asynccontextmanager
async def serving(env: Env, storage: Storage | None = None) -> AsyncIterator[Api]:
    storage = storage or LocalStorage.memory(env)
    server = embedded(storage, env, signing_key=_KEY)
    await server.start()
    try:
        yield Api(server, Client(DirectTransport(server.handle, LOOPBACK)), storage)
    finally:
        await server.stop()
        await storage.close()


@pytest.fixture
def api_server() -> Callable[..., Any]:
    """`async with api_server(env, storage) as api`, for tests that need more than one, or a store of their own."""
    return serving


@pytest.fixture
def with_api() -> Callable[[Callable[[Api], Awaitable[None]]], None]:
    """Runs an async test against a fresh apiserver whose `default` service account exists."""

    def run(test: Callable[[Api], Awaitable[None]]) -> None:
        async def main(env: Env) -> None:
            async with serving(env) as api:
                await api.json("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}}, status=201)
                await test(api)

        run_virtual(main)

    return run
