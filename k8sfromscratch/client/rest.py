"""The typed face of the API: verbs on resources, over any transport.

Failures are `api.errors.ApiError` (the server's Status) or `TransportError` (nobody knows).  A request is tried again only where the server
asks for it (429 and 503 with Retry-After), and a read where there was no connection; everything else is its caller's to decide.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import orjson

from k8sfromscratch.api.errors import ApiError, BadRequest, Gone, from_status
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.client.transport import NotConnected, Query, Reply, Transport, TransportError

Object = dict[str, Any]
PatchType = Literal["merge", "strategic", "json", "apply"]

PAGE_SIZE = 500
"""Objects a page of a list, as client-go asks for."""
TRIES_MAX = 5
"""Of one request: the first and four more."""
RECONNECT_FIRST_S = 0.2
"""Doubled each time: a server that is started again is back within the 3 s that this makes."""
RETRY_AFTER_MAX_S = 10.0
LINE_MAX_BYTES = 16 * 1024 * 1024
"""Of one watch event; a longer one means that the stream is not what we think."""

_PATCH_TYPES: dict[str, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


class Client:
    def __init__(self, transport: Transport, *, user_agent: str = "kfs", accept: str = "application/json") -> None:
        self._transport = transport
        self._headers = {"Accept": accept, "User-Agent": user_agent}

    def accepting(self, accept: str) -> "Client":
        """The same connection with another Accept header, e.g. for PartialObjectMetadata."""
        return Client(self._transport, user_agent=self._headers["User-Agent"], accept=accept)

    async def get(
        self, res: Resource, name: str, namespace: str | None = None, *, subresource: str | None = None, resource_version: str | None = None
    ) -> Object:
        query = [("resourceVersion", resource_version)] if resource_version is not None else []
        return await self._call("GET", _path(res, namespace, name, subresource), query)

    async def list(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str | None = None,
        limit: int | None = None,
    ) -> Object:
        """The whole List; with `limit` one page, whose `metadata.continue` says that there is more."""
        base = _selectors(label_selector, field_selector)
        first = base if resource_version is None else [*base, ("resourceVersion", resource_version)]
        path = _path(res, namespace)
        page = await self._call("GET", path, [*first, ("limit", str(limit or PAGE_SIZE))])
        result = page
        result["items"] = result.get("items") or []
        if limit is not None:
            return result
        while token := (page["metadata"] or {}).get("continue"):
            try:
                page = await self._call("GET", path, [*base, ("limit", str(PAGE_SIZE)), ("continue", token)])
            except Gone:
                return await self._whole_list(path, base)
            result["items"] += page.get("items") or []
            result["metadata"] = page["metadata"]
        return result

    async def create(
        self, res: Resource, obj: Object, *, namespace: str | None = None, name: str | None = None, subresource: str | None = None, dry_run: bool = False
    ) -> Object:
        namespace = namespace if namespace is not None else (obj.get("metadata") or {}).get("namespace")
        return await self._call("POST", _path(res, namespace, name, subresource), [("dryRun", "All")] if dry_run else [], orjson.dumps(obj))

    async def update(self, res: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        meta = obj["metadata"]
        return await self._call("PUT", _path(res, meta.get("namespace"), meta["name"], subresource), [], orjson.dumps(obj))

    async def patch(
        self,
        res: Resource,
        name: str,
        patch: Object | Sequence[Any],
        namespace: str | None = None,
        *,
        patch_type: PatchType = "merge",
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
    ) -> Object:
        query = [("fieldManager", field_manager)] if field_manager else []
        if force:
            query.append(("force", "true"))
        return await self._call("PATCH", _path(res, namespace, name, subresource), query, orjson.dumps(patch), _PATCH_TYPES[patch_type])

    async def apply(self, res: Resource, obj: Object, *, field_manager: str, force: bool = False, subresource: str | None = None) -> Object:
        """Server-side apply: `obj` holds the fields that are ours; made where it does not exist.  Raises Conflict where another manager owns one."""
        meta = obj["metadata"]
        return await self.patch(
            res, meta["name"], obj, meta.get("namespace"), patch_type="apply", subresource=subresource, field_manager=field_manager, force=force
        )

    async def delete(
        self,
        res: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period_s: int | None = None,
        propagation_policy: str | None = None,
    ) -> Object:
        """What the server answers: the object where it is only marked for deletion, a Status where it is gone."""
        body = _delete_options(uid, resource_version, grace_period_s, propagation_policy)
        return await self._call("DELETE", _path(res, namespace, name), [], body)

    async def delete_collection(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        grace_period_s: int | None = None,
        propagation_policy: str | None = None,
    ) -> Object:
        body = _delete_options(None, None, grace_period_s, propagation_policy)
        return await self._call("DELETE", _path(res, namespace), _selectors(label_selector, field_selector), body)

    async def watch(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_s: int | None = None,
        bookmarks: bool = True,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Until the server ends the stream.  An ERROR event is raised as its ApiError: Gone means that a new list is needed."""
        query = [("watch", "true"), ("resourceVersion", resource_version), *_selectors(label_selector, field_selector)]
        if timeout_s is not None:
            query.append(("timeoutSeconds", str(timeout_s)))
        if bookmarks:
            query.append(("allowWatchBookmarks", "true"))
        async with self._transport.stream("GET", _path(res, namespace), query=query, headers=self._headers) as reply:
            if reply.status != 200:
                raise _error(reply.status, b"".join([chunk async for chunk in reply.chunks]))
            async for line in _lines(reply.chunks):
                event = _decoded(line)
                kind, obj = event.get("type"), event.get("object")
                if not isinstance(kind, str) or not isinstance(obj, dict):
                    raise TransportError(f"this is no watch event: {line[:100]!r}")
                if kind == "ERROR":
                    raise from_status(obj, int(obj.get("code") or 500))
                yield WatchEvent(kind, obj)

    async def raw(self, method: str, path: str, *, query: Query = (), headers: Mapping[str, str] | None = None, body: bytes = b"") -> Reply:
        """One request as it is, its answer as it is."""
        return await self._transport.request(method, path, query=query, headers={**self._headers, **(headers or {})}, body=body)

    async def close(self) -> None:
        await self._transport.close()

    async def _whole_list(self, path: str, base: Sequence[tuple[str, str]]) -> Object:
        """The pages' snapshot is gone: once more, in one piece (as client-go's pager does)."""
        result = await self._call("GET", path, base)
        result["items"] = result.get("items") or []
        return result

    async def _call(self, method: str, path: str, query: Query, body: bytes = b"", content_type: str = "application/json") -> Object:
        headers = {**self._headers, "Content-Type": content_type} if body else self._headers
        for attempt in range(1, TRIES_MAX + 1):
            try:
                reply = await self._transport.request(method, path, query=query, headers=headers, body=body)
            except NotConnected:
                if method != "GET" or attempt == TRIES_MAX:
                    raise
                await asyncio.sleep(RECONNECT_FIRST_S * 2 ** (attempt - 1))
                continue
            if reply.status < 300:
                return _decoded(reply.body)
            retry_after = reply.headers.get("retry-after", "")
            if reply.status in (429, 503) and retry_after.isdigit() and attempt < TRIES_MAX:
                await asyncio.sleep(min(float(retry_after), RETRY_AFTER_MAX_S))
                continue
            raise _error(reply.status, reply.body)
        raise AssertionError("the last try returns or raises")


def _path(res: Resource, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
    for part in (namespace, name):
        if part is not None and ("/" in part or part in (".", "..")):
            raise BadRequest(f'invalid resource name "{part}": may not be "." or ".." or contain "/"')
    return quote(res.path(namespace or None, name, subresource), safe="/:@!$&'()*+,;=~-._")


def _selectors(label_selector: str, field_selector: str) -> list[tuple[str, str]]:
    return [(name, text) for name, text in (("labelSelector", label_selector), ("fieldSelector", field_selector)) if text]


def _delete_options(uid: str | None, resource_version: str | None, grace_period_s: int | None, propagation_policy: str | None) -> bytes:
    options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
    preconditions = {key: value for key, value in (("uid", uid), ("resourceVersion", resource_version)) if value is not None}
    if preconditions:
        options["preconditions"] = preconditions
    if grace_period_s is not None:
        options["gracePeriodSeconds"] = grace_period_s
    if propagation_policy is not None:
        options["propagationPolicy"] = propagation_policy
    return orjson.dumps(options)


def _error(status: int, body: bytes) -> ApiError:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, dict) and parsed.get("kind") == "Status":
        return from_status(parsed, status)
    return from_status({"message": body[:500].decode(errors="replace") or f"HTTP {status}"}, status)


def _decoded(body: bytes) -> Object:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise TransportError(f"the server's answer is not JSON: {body[:100]!r}") from error
    if not isinstance(decoded, dict):
        raise TransportError(f"the server's answer is not an object: {body[:100]!r}")
    return decoded


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
        if len(rest) > LINE_MAX_BYTES:
            raise TransportError("a watch event without an end")
