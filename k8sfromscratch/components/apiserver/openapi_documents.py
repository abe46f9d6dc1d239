"""/openapi/v2 and /openapi/v3: the schemas of everything served, one document in all or one a group-version.

The index of v3 names each document with its hash in the URL, so that a client keeps a document until it changes.  Nearly every command of
kubectl asks for one, and on a slow machine making it takes seconds: each is made and compressed once, when it is first asked for, and kept
compressed (0.7 MB in all, a tenth of the texts) until the custom resources it shows change.
"""

import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from k8sfromscratch.api import openapi, openapi_protobuf
from k8sfromscratch.api.errors import NotAcceptable, NotFound
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver.aggregation import Aggregation
from k8sfromscratch.components.apiserver.catalog import Catalog
from k8sfromscratch.components.apiserver.negotiation import accepts_discovery
from k8sfromscratch.components.apiserver.replies import accepts_gzip
from k8sfromscratch.process.http import Request, Response

_JSON_TYPES = frozenset({"application/json", "*/*", "application/*"})
_ROOT = "/openapi/v3"
# Behind a URL with the right hash nothing ever changes.
_FOREVER = "public, immutable, max-age=31536000"


_Customs = list[tuple[Resource, Mapping[str, Any]]]
"""Custom resources and their schemas."""


@dataclass(frozen=True, slots=True)
class _Document:
    hash: str
    compressed: bytes


class OpenApiDocuments:
    def __init__(self, catalog: Catalog, others: Aggregation) -> None:
        self._catalog, self._others = catalog, others
        self._kept: dict[str, _Document] = {}
        """By the path behind /openapi/v3/, or `v2` and `v2.pb`."""
        self._with_customs: set[str] = {"v2", "v2.pb"}
        """Those in `_kept` that another custom resource changes."""
        self._kept_at = -1

    def answer(self, request: Request) -> Response:
        """Raises NotFound, NotAcceptable."""
        if request.path == "/openapi/v2" and _prefers_protobuf(request):
            return _response(request, self._document("v2.pb", lambda: openapi_protobuf.encode(self._v2())), openapi_protobuf.CONTENT_TYPE)
        _require_json(request)
        if request.path == "/openapi/v2":
            return _response(request, self._document("v2", lambda: orjson.dumps(self._v2())))
        if request.path == _ROOT:
            return Response(200, orjson.dumps(self._index()))
        asked = self._group_versions().get(request.path.removeprefix(f"{_ROOT}/"))
        if asked is None or not request.path.startswith(f"{_ROOT}/"):
            raise NotFound("the server could not find the requested resource")
        return _response(request, self._v3(*asked))

    def _group_versions(self) -> dict[str, tuple[str, str, _Customs]]:
        """By path, each with the custom resources it shows."""
        found: dict[str, tuple[str, str, _Customs]] = {}
        for served in self._catalog:
            group, version = served.resource.group, served.resource.version
            _, _, customs = found.setdefault(_path(group, version), (group, version, []))
            if served.custom is not None:
                customs.append((served.resource, served.custom.schema.raw))
        return found

    def _index(self) -> dict[str, Any]:
        hashes = {path: self._v3(*asked).hash for path, asked in sorted(self._group_versions().items())}
        paths = {path: {"serverRelativeURL": f"{_ROOT}/{path}?hash={made}"} for path, made in hashes.items()}
        return {"paths": {**self._others.openapi_index(), **paths}}

    def _v2(self) -> openapi.Document:
        return openapi.openapi_v2([(served.resource, served.custom.schema.raw) for served in self._catalog if served.custom is not None])

    def _v3(self, group: str, version: str, customs: _Customs) -> _Document:
        path = _path(group, version)
        if customs:
            self._with_customs.add(path)
        return self._document(path, lambda: orjson.dumps(openapi.openapi_v3(group, version, customs)))

    def _document(self, key: str, build: Callable[[], bytes]) -> _Document:
        if self._kept_at != self._catalog.changes:
            for changed in self._with_customs:
                self._kept.pop(changed, None)
            self._kept_at = self._catalog.changes
        kept = self._kept.get(key)
        if kept is None:
            body = build()
            kept = self._kept[key] = _Document(hashlib.sha256(body).hexdigest().upper(), gzip.compress(body, compresslevel=1, mtime=0))
        return kept


def _response(request: Request, document: _Document, content_type: str = "application/json") -> Response:
    headers = {"ETag": f'"{document.hash}"', "Vary": "Accept, Accept-Encoding"}
    if request.arg("hash") == document.hash:
        headers["Cache-Control"] = _FOREVER
    if request.headers.get("if-none-match") == f'"{document.hash}"':
        return Response(304, b"", content_type, headers)
    if accepts_gzip(request):
        return Response(200, document.compressed, content_type, {**headers, "Content-Encoding": "gzip"})
    return Response(200, gzip.decompress(document.compressed), content_type, headers)


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
