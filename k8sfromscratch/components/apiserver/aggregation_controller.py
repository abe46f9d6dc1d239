"""Keeps APIServices: one for each group version that we serve, and the condition Available of all.

    registered at start      a hook: `kubectl get apiservices` lists what is served as soon as we are ready
    while we run             custom groups come and go; a remote server is asked for its resources every RECHECK_S, at once where its Service,
                             its endpoints or its APIService have changed

What a remote server says of its resources becomes discovery.  Several apiservers do all of this at once: each writes what it sees.

Source: kube-aggregator/pkg/controllers/{autoregister,status}.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from k8sfromscratch.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from k8sfromscratch.api.registry import API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS, ENDPOINT_SLICES, RESOURCES, SERVICES
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver import api_services
from k8sfromscratch.components.apiserver.aggregation import identity_headers
from k8sfromscratch.components.apiserver.api_services import AUTOMANAGED, FOR_CRD, LOCAL, OWN_GROUP, PASSED, Remote
from k8sfromscratch.components.apiserver.streaming_kubelet import Fetched
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process.clock import rfc3339

if TYPE_CHECKING:
    from k8sfromscratch.components.apiserver.server import ApiServer

log = logging.getLogger(__name__)

HOOK = "apiservice-registration-controller"
RECHECK_S = 30.0
IDLE_S = 3600.0
"""Without remote ones there is nothing to look at but what is announced."""
CHECK_TIMEOUT_S = 5.0
DOCUMENT_BYTES_MAX = 4 * 1024 * 1024
_CHECKER = UserInfo("system:kube-aggregator", ("system:masters",))
_BUILT_IN = frozenset(resource.group for resource in RESOURCES)


class AggregationController:
    def __init__(self, server: "ApiServer") -> None:
        self._server = server

    async def register(self, server: "ApiServer") -> None:
        """The post-start hook."""
        await self._register_local()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            seen = self._changes()
            try:
                await self._register_local()
                await self._check_remotes()
            except ApiError as error:
                log.warning("APIServices could not be kept, trying again: %s", error.message)
            await self._changed(seen, RECHECK_S if self._server.aggregation.remotes else IDLE_S)

    def _watched(self) -> list[Resource]:
        return [API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS, *([SERVICES, ENDPOINT_SLICES] if self._server.aggregation.remotes else [])]

    def _changes(self) -> list[int]:
        return [self._server.view.changes(resource) for resource in self._watched()]

    async def _changed(self, seen: list[int], timeout_s: float) -> None:
        """Until something that matters is not as it was `seen`, or the timeout."""
        waits = [asyncio.create_task(self._server.view.changed(resource, timeout_s)) for resource in self._watched()]
        try:
            # They listen from their first step on: what happened before it is told by the counts.
            await asyncio.sleep(0)
            if self._changes() == seen:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    # -- ours

    async def _register_local(self) -> None:
        present = {obj["metadata"]["name"]: obj for obj in self._server.view.list(API_SERVICES)}
        wanted = {obj["metadata"]["name"]: obj for obj in self._served()}
        missing = [obj for name, obj in wanted.items() if name not in present]
        await asyncio.gather(*(self._create(obj) for obj in missing))
        for name, obj in present.items():
            if name not in wanted and (obj["metadata"].get("labels") or {}).get(AUTOMANAGED) == FOR_CRD:
                await self._remove(name)
            elif not obj["spec"].get("service"):
                await self._tell(obj, LOCAL)

    def _served(self) -> list[dict[str, Any]]:
        found = dict.fromkeys((served.resource.group, served.resource.version) for served in self._server.catalog)
        return [api_services.local(group, version, custom=group not in _BUILT_IN) for group, version in found if group != OWN_GROUP]

    async def _create(self, obj: dict[str, Any]) -> None:
        made = api_services.with_condition(obj, *LOCAL, self._now())
        assert made is not None
        try:
            await self._server.loopback.create(API_SERVICES, made)
        except AlreadyExists:
            return  # another apiserver that started now

    async def _remove(self, name: str) -> None:
        try:
            await self._server.loopback.delete(API_SERVICES, name)
        except NotFound:
            return

    # -- others

    async def _check_remotes(self) -> None:
        aggregation = self._server.aggregation
        aggregation.forget({remote.name for remote in aggregation.remotes})
        await asyncio.gather(*(self._check(remote) for remote in aggregation.remotes))

    async def _check(self, remote: Remote) -> None:
        fault = api_services.service_fault(remote, self._server.view)
        verdict = ("False", *fault) if fault is not None else await self._asked(remote)
        obj = self._server.view.get(API_SERVICES, remote.name)
        if obj is not None:
            await self._tell(obj, verdict)

    async def _asked(self, remote: Remote) -> tuple[str, str, str]:
        url = f"https://{remote.server_name}:{remote.port}{remote.path}"
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                status, document = await self._get(remote, remote.path)
                if not 200 <= status < 300:
                    return "False", "FailedDiscoveryCheck", f"failing or missing response from {url}: bad status from {url}: {status}"
                openapi_status, openapi = await self._get(remote, "/openapi/v3")
            self._server.aggregation.learn(remote, document, openapi if openapi_status == 200 else None)
        except TimeoutError:
            return "False", "FailedDiscoveryCheck", f"failing or missing response from {url}: no answer within {CHECK_TIMEOUT_S:g}s"
        except ApiError as error:
            return "False", "FailedDiscoveryCheck", f"failing or missing response from {url}: {error.message}"
        except (ValueError, ConnectionError) as error:
            return "False", "FailedDiscoveryCheck", f"failing or missing response from {url}: {error}"
        return PASSED

    async def _get(self, remote: Remote, target: str) -> tuple[int, bytes]:
        """Raises ServiceUnavailable, ConnectionError, ValueError (too large)."""
        aggregation = self._server.aggregation
        headers = {"Host": f"{remote.server_name}:{remote.port}", "Accept": "application/json", **dict(identity_headers(_CHECKER))}
        fetched = await aggregation.fetch(aggregation.endpoint(remote), "GET", target, headers)
        try:
            return fetched.status, await _whole(fetched)
        finally:
            await fetched.aclose()

    # -- both

    async def _tell(self, obj: dict[str, Any], verdict: tuple[str, str, str]) -> None:
        changed = api_services.with_condition(obj, *verdict, self._now())
        if changed is None:
            return
        try:
            await self._server.loopback.update(API_SERVICES, changed, subresource="status")
        except (Conflict, NotFound):
            return  # it has changed: that is announced, and looked at anew

    def _now(self) -> str:
        return rfc3339(self._server.env.clock.now())


async def _whole(fetched: Fetched) -> bytes:
    body = bytearray()
    async for chunk in fetched:
        body += chunk
        if len(body) > DOCUMENT_BYTES_MAX:
            raise ValueError(f"its answer is larger than {DOCUMENT_BYTES_MAX} bytes")
    return bytes(body)
