"""/openapi/v2 and /openapi/v3: the schemas of everything served, one document in all or one a group-version.

The index of v3 names each document with its hash in the URL, so that a client keeps a document until it changes.  A document takes a
few milliseconds to make; only hashes are kept.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from k8sfromscratch.api import openapi, openapi_protobuf
from k8sfromscratch.api.errors import NotAcceptable, NotFound
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver.aggregation import Aggregation
from k8sfromscratch.components.apiserver.catalog import Catalog
from k8sfromscratch.components.apiserver.negotiation import accepts_discovery
from k8sfromscratch.process.http import Request, Response

_JSON_TYPES = frozenset({"application/json", "*/*", "application/*"})
_ROOT = "/openapi/v3"
# Behind a URL with the right hash nothing ever changes.
_FOREVER = "public, immutable, max-age=31536000"


class OpenApiDocuments:
    def __init__(self, catalog: Catalog, others: Aggregation) -> None:
        self._catalog, self._others = catalog, others
        self._hashes: dict[str, str] = {}
        self._hashed_at = -1

    def answer(self, request: Request) -> Response:
        """Raises NotFound, NotAcceptable."""
        if request.path == "/openapi/v2" and _prefers_protobuf(request):
            return self._document(request, "v2.pb", lambda: openapi_protobuf.encode(openapi.openapi_v2(self._customs())), openapi_protobuf.CONTENT_TYPE)
        _require_json(request)
        if request.path == "/openapi/v2":
            return self._document(request, "v2", lambda: orjson.dumps(openapi.openapi_v2(self._customs())))
        if request.path == _ROOT:
            return Response(200, orjson.dumps(self._index()))
        for group, version in self._group_versions():
            path = _path(group, version)
            if request.path == f"{_ROOT}/{path}":
                return self._document(request, path, lambda group=group, version=version: self._v3(group, version))  # type: ignore[misc]
        raise NotFound("the server could not find the requested resource")

    def _group_versions(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys((served.resource.group, served.resource.version) for served in self._catalog))

    def _v3(self, group: str, version: str) -> bytes:
        return orjson.dumps(openapi.openapi_v3(group, version, self._customs()))

    def _customs(self) -> list[tuple[Resource, Mapping[str, Any]]]:
        return [(served.resource, served.custom.schema.raw) for served in self._catalog if served.custom is not None]

    def _index(self) -> dict[str, Any]:
        self._refresh()
        for group, version in self._group_versions():
            path = _path(group, version)
            if path not in self._hashes:
                self._hashes[path] = _hash(self._v3(group, version))
        paths = {path: {"serverRelativeURL": f"{_ROOT}/{path}?hash={self._hashes[path]}"} for path in sorted(self._hashes) if not path.startswith("v2")}
        return {"paths": {**self._others.openapi_index(), **paths}}

    def _document(self, request: Request, key: str, build: Callable[[], bytes], content_type: str = "application/json") -> Response:
        self._refresh()
        body = build()
        etag = self._hashes.setdefault(key, _hash(body))
        headers = {"ETag": f'"{etag}"', "Vary": "Accept"}
        if request.arg("hash") == etag:
            headers["Cache-Control"] = _FOREVER
        if request.headers.get("if-none-match") == f'"{etag}"':
            return Response(304, b"", content_type, headers)
        return Response(200, body, content_type, headers)

    def _refresh(self) -> None:
        if self._hashed_at != self._catalog.changes:
            self._hashes.clear()
            self._hashed_at = self._catalog.changes


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest().upper()


def _prefers_protobuf(request: Request) -> bool:
    first = next((media_type for media_type, _ in accepts_discovery(request) if media_type in _JSON_TYPES or media_type == openapi_protobuf.MEDIA_TYPE), "")
    return first == openapi_protobuf.MEDIA_TYPE


def _require_json(request: Request) -> None:
    if not any(media_type in _JSON_TYPES for media_type, _ in accepts_discovery(request)):
        raise NotAcceptable("only the following media types are accepted: application/json")
