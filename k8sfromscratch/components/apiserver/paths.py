"""Paths that are no resource: discovery, OpenAPI, health, metrics, version."""

from typing import TYPE_CHECKING

from k8sfromscratch import KUBERNETES_VERSION, __version__
from k8sfromscratch.api import errors
from k8sfromscratch.components.apiserver import replies
from k8sfromscratch.components.apiserver.discovery import Discovery
from k8sfromscratch.components.apiserver.openapi_documents import OpenApiDocuments
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process import health
from k8sfromscratch.process.http import Request, Response

if TYPE_CHECKING:
    from k8sfromscratch.components.apiserver.server import ApiServer


class Paths:
    def __init__(self, server: "ApiServer", discovery: Discovery, documents: OpenApiDocuments) -> None:
        self._server = server
        self._discovery = discovery
        self._documents = documents

    async def answer(self, request: Request, user: UserInfo) -> Response:
        """Raises NotFound, MethodNotAllowed."""
        path = request.path
        extra = self._server.options.paths.get(path)
        if extra is not None:
            return await extra(request, user)
        first = path.split("/", 2)[1]
        if first not in ("", "api", "apis", "version", "healthz", "livez", "readyz", "metrics", "openapi"):
            raise errors.NotFound("the server could not find the requested resource")
        if request.method not in ("GET", "HEAD"):
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        if first in ("api", "apis"):
            return self._discovery.answer(request)
        if first == "openapi":
            return self._documents.answer(request)
        if first == "version":
            return replies.of(version())
        if first == "metrics":
            self._server.publish_metrics()
            return health.metrics(self._server.metrics.registry)
        if first == "":
            return replies.of({"paths": self._listed()})
        return health.report(request, self._checks(first))

    def _listed(self) -> list[str]:
        groups = sorted({f"/apis/{s.resource.group}" for s in self._server.catalog if s.resource.group})
        versions = sorted({f"/apis/{s.resource.api_version}" for s in self._server.catalog if s.resource.group})
        own = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
        return sorted({*own, *groups, *versions, *self._server.options.paths})

    def _checks(self, endpoint: str) -> dict[str, health.Check]:
        server = self._server
        checks: dict[str, health.Check] = {"ping": lambda: None, "etcd": lambda: None if server.feed.connected else "the watch on the store is down"}
        if endpoint == "readyz":
            checks["informer-sync"] = lambda: None if server.feed.synced else "the watch cache is not filled yet"
            checks["shutdown"] = lambda: "process is shutting down" if server.stopping else None
        for name in server.hook_names:
            checks[f"poststarthook/{name}"] = lambda name=name: "not finished" if name in server.hooks_pending else None  # type: ignore[misc]
        return checks


def version() -> dict[str, str]:
    """apimachinery's version.Info; the git fields say which program this is."""
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": KUBERNETES_VERSION,
        "gitCommit": f"k8sfromscratch-{__version__}",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "cpython",
        "platform": "linux/amd64",
    }
