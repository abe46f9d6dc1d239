"""A metrics.k8s.io server as small as `kubectl top` lets it be: an extension apiserver for tests of aggregation.

It answers with what it is told and remembers who asked; `watch` streams lines as they are put in, `upgrade` echoes bytes.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson

from k8sfromscratch.process.http import Connection, Request, Response, Upgrade

Object = dict[str, Any]

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_PATH = f"/apis/{GROUP}/{VERSION}"
_VERBS = ["get", "list"]
RESOURCES: Object = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/{VERSION}",
    "resources": [
        {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": _VERBS},
        {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": _VERBS},
        {"name": "pods/history", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get"]},
    ],
}
_USAGE = {"timestamp": "2026-01-01T00:00:00Z", "window": "10s"}


class MetricsServer:
    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.document: bytes = orjson.dumps(RESOURCES)
        self.status = 200

    async def handle(self, request: Request) -> Response | Upgrade:
        self.requests.append(request)
        path = request.path
        if "upgrade" in request.headers.get("connection", "").lower():
            return Upgrade(_echo)
        if path == _PATH:
            return Response(self.status, self.document)
        if path == "/openapi/v3":
            return _json({"paths": {f"apis/{GROUP}/{VERSION}": {"serverRelativeURL": f"/openapi/v3{_PATH}?hash=ABC1"}}})
        if path == f"/openapi/v3{_PATH}":
            return _json({"openapi": "3.0.0", "info": {"title": "metrics", "version": VERSION}, "paths": {}})
        if path == f"{_PATH}/nodes" and request.arg("watch"):
            return Response(200, self._lines())
        if path == f"{_PATH}/nodes":
            return _json(_listed("NodeMetrics", {"metadata": {"name": "n1"}, **_USAGE, "usage": {"cpu": "250m", "memory": "512Mi"}}))
        if path.endswith("/pods"):
            namespace = path.split("/")[5] if "namespaces" in path else "default"
            containers = [{"name": "c", "usage": {"cpu": "5m", "memory": "20Mi"}}]
            return _json(_listed("PodMetrics", {"metadata": {"name": "web", "namespace": namespace}, **_USAGE, "containers": containers}))
        return Response(404, b"no such path", "text/plain")

    async def _lines(self) -> AsyncIterator[bytes]:
        while (line := await self.lines.get()) is not None:
            yield line


def api_service(name: str, port: int, **spec: Any) -> Object:
    """The APIService, and its Service in `default` is NAME."""
    served = {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 100, "versionPriority": 100}
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{VERSION}.{GROUP}"},
        "spec": {**served, "service": {"namespace": "default", "name": name, "port": port}, **spec},
    }


def _listed(kind: str, *items: Object) -> Object:
    described = [{"kind": kind, "apiVersion": f"{GROUP}/{VERSION}", **item} for item in items]
    return {"kind": f"{kind}List", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": described}


def _json(obj: Object) -> Response:
    return Response(200, orjson.dumps(obj))


async def _echo(connection: Connection) -> None:
    connection.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + connection.initial)
    while data := await connection.reader.read(1024):
        connection.writer.write(data)
        await connection.writer.drain()
