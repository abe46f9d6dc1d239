"""Group versions that another server answers: requests are proxied to the Service of their APIService.

    client ─► us: authentication, authorization ─► X-Remote-User, our proxy client certificate ─► extension apiserver

What we serve ourselves is never proxied.  Bodies, watches and upgraded connections pass as they come.  Who is asked is found again when an
APIService changes; whether it answers is `aggregation_controller`'s to say, and until it says so requests get a 503.
"""

import base64
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from multidict import CIMultiDict

from k8sfromscratch.api.errors import InternalError, ServiceUnavailable
from k8sfromscratch.api.registry import API_SERVICES, RESOURCES
from k8sfromscratch.components.apiserver import streaming_tunnel
from k8sfromscratch.components.apiserver.api_services import Remote, remotes
from k8sfromscratch.components.apiserver.catalog import CacheView
from k8sfromscratch.components.apiserver.service_resolver import ServiceResolver, Unresolved
from k8sfromscratch.components.apiserver.streaming_kubelet import Endpoint, Fetched, fetch, passed_on
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process.http import Request, Response, Upgrade
from k8sfromscratch.process.tls import TlsError, TlsFiles, client_context

_BUILT_IN = frozenset(resource.group for resource in RESOURCES)
_CONTEXTS_MAX = 64
_OPENAPI = "/openapi/v3"
_EXTRA_SAFE = "!#$&'*+.^_`|~-"
"""What a header's name may hold besides letters and digits; `%` itself is escaped."""


class Aggregation:
    """`documents`: by an APIService's name, its server's APIResourceList as last seen; `openapi` the hash of its OpenAPI v3 document."""

    def __init__(self, view: CacheView, services: ServiceResolver, proxy_client: TlsFiles | None = None) -> None:
        self._view, self._services, self._files = view, services, proxy_client
        self._contexts: OrderedDict[tuple[str, bool], ssl.SSLContext] = OrderedDict()
        self._seen = -1
        self._remotes: list[Remote] = []
        self.documents: dict[str, Any] = {}
        self.openapi: dict[str, str] = {}
        self.changes = 0
        """Counts whatever changes what discovery says of others."""

    @property
    def remotes(self) -> list[Remote]:
        """The most preferred group first."""
        seen = self._view.changes(API_SERVICES)
        if seen != self._seen:
            self._remotes = [remote for remote in remotes(self._view.list(API_SERVICES)) if remote.group not in _BUILT_IN]
            self._seen = seen
            self.changes += 1
        return self._remotes

    def find(self, group: str, version: str) -> Remote | None:
        return next((remote for remote in self.remotes if (remote.group, remote.version) == (group, version)), None)

    def of_path(self, path: str) -> Remote | None:
        """Whose the discovery or OpenAPI document at that path is: /apis/G/V, /openapi/v3/apis/G/V."""
        parts = path.removeprefix(_OPENAPI).strip("/").split("/")
        return self.find(parts[1], parts[2]) if len(parts) == 3 and parts[0] == "apis" else None

    async def proxy(self, request: Request, user: UserInfo, remote: Remote) -> Response | Upgrade:
        """Raises ServiceUnavailable."""
        if not remote.available:
            raise ServiceUnavailable("service unavailable")
        endpoint = self.endpoint(remote)
        target = request.raw_path or f"{quote(request.path)}?{urlencode(request.query, doseq=True)}"
        identity = [("Host", f"{remote.server_name}:{remote.port}"), *identity_headers(user)]
        if "upgrade" in request.headers.get("connection", "").lower():
            return streaming_tunnel.tunnel(request, endpoint, target, identity)
        forwarded = request.headers.get("x-forwarded-for")
        headers = CIMultiDict(passed_on(request.headers))
        headers["x-forwarded-for"] = f"{forwarded}, {request.remote}" if forwarded else request.remote
        headers.extend(identity)
        return (await self.fetch(endpoint, request.method, target, headers, request.body)).response()

    async def fetch(self, endpoint: Endpoint, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Fetched:
        """Raises ServiceUnavailable."""
        try:
            return await fetch(endpoint, method, target, headers=headers, body=body)
        except InternalError as error:
            raise ServiceUnavailable(f"error trying to reach service: {error.message}") from error

    def endpoint(self, remote: Remote) -> Endpoint:
        """Raises ServiceUnavailable."""
        try:
            host, port = self._services.resolve(remote.namespace, remote.service, remote.port)
            return Endpoint(host, port, self._context(remote), remote.server_name)
        except (Unresolved, TlsError, ValueError) as error:
            raise ServiceUnavailable(f"error trying to reach service: {error}") from error

    def _context(self, remote: Remote) -> ssl.SSLContext:
        key = remote.ca_bundle, remote.insecure
        context = self._contexts.get(key)
        if context is None:
            ca = base64.b64decode(remote.ca_bundle)
            context = self._contexts[key] = client_context(ca_data=ca, files=self._files, insecure=remote.insecure)
            if len(self._contexts) > _CONTEXTS_MAX:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return context

    def openapi_index(self) -> dict[str, Any]:
        """The paths of others for the index of /openapi/v3."""
        available = {remote.name: remote for remote in self.remotes}
        return {
            f"apis/{available[name].group}/{available[name].version}": {"serverRelativeURL": f"{_OPENAPI}{available[name].path}?hash={digest}"}
            for name, digest in self.openapi.items()
            if name in available
        }

    def learn(self, remote: Remote, document: bytes, openapi: bytes | None) -> None:
        """Keeps what its server says of itself.  Raises ValueError where that is no APIResourceList."""
        said = orjson.loads(document)
        if not isinstance(said, dict) or not isinstance(said.get("resources"), list) or not all(isinstance(entry, dict) for entry in said["resources"]):
            raise ValueError("it is no APIResourceList")
        if self.documents.get(remote.name) != said:
            self.documents[remote.name] = said
            self.changes += 1
        digest = _hash_of(openapi, remote) if openapi is not None else ""
        if digest:
            self.openapi[remote.name] = digest
        else:
            self.openapi.pop(remote.name, None)

    def forget(self, present: set[str]) -> None:
        """All but what the named ones said."""
        for kept in (self.documents, self.openapi):
            for name in [name for name in kept if name not in present]:
                del kept[name]
                self.changes += 1


def identity_headers(user: UserInfo) -> list[tuple[str, str]]:
    """Who asks, for a server that trusts our certificate: a line for each group.  Keys of extra are folded by HTTP, hence escaped as upstream
    does.  Raises ServiceUnavailable for a name that no header can hold."""
    headers = [("X-Remote-User", user.name), *([("X-Remote-Uid", user.uid)] if user.uid else [])]
    headers += [("X-Remote-Group", group) for group in user.groups]
    headers += [(f"X-Remote-Extra-{quote(key.lower(), safe=_EXTRA_SAFE)}", value) for key, values in user.extra.items() for value in values]
    if not all(value.isprintable() for _, value in headers):
        raise ServiceUnavailable("error trying to reach service: the user's name, groups or extra have characters that no header can hold")
    return headers


def _hash_of(index: bytes, remote: Remote) -> str:
    """From its index of OpenAPI v3; empty where it publishes none for the group version."""
    try:
        url = orjson.loads(index)["paths"][remote.path.removeprefix("/")]["serverRelativeURL"]
    except (ValueError, KeyError, TypeError):
        return ""
    digest = str(url).partition("hash=")[2]
    return digest if digest.isalnum() else ""
