"""/healthz, /livez, /readyz and /metrics, as every upstream component has them."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from k8sfromscratch.process.http import Handler, Request, Response

Check = Callable[[], str | None]
"""None when well, else what is wrong."""

PATHS = ("/healthz", "/livez", "/readyz")


def report(request: Request, checks: Mapping[str, Check]) -> Response:
    """One endpoint: `ok`, or with ?verbose (and on failure) a line a check; ?exclude=NAME leaves one out; /livez/NAME asks one."""
    excluded = set(request.query.get("exclude", ()))
    _, _, single = request.path[1:].partition("/")
    if single:
        if single not in checks:
            return _text(404, f"there is no check {single!r}\n")
        problem = checks[single]()
        return _text(200, "ok") if problem is None else _text(500, f"internal server error: {problem}\n")
    lines, failed = [], False
    for name, check in checks.items():
        problem = None if name in excluded else check()
        failed |= problem is not None
        lines.append(f"[+]{name} {'excluded: ok' if name in excluded else 'ok'}" if problem is None else f"[-]{name} failed: {problem}")
    endpoint = request.path.split("/")[1]
    if failed:
        return _text(500, "\n".join([*lines, f"{endpoint} check failed", ""]))
    return _text(200, "\n".join([*lines, f"{endpoint} check passed", ""])) if "verbose" in request.query else _text(200, "ok")


def metrics(registry: CollectorRegistry) -> Response:
    return Response(200, generate_latest(registry), CONTENT_TYPE_LATEST)


def health_handler(registry: CollectorRegistry | None, checks: Mapping[str, Check]) -> Handler:
    """The whole server of a component that serves nothing else."""

    async def handle(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _text(405, "only GET is allowed\n")
        if request.path == "/metrics" and registry is not None:
            return metrics(registry)
        if any(request.path == path or request.path.startswith(path + "/") for path in PATHS):
            return report(request, checks)
        return _text(404, "404 page not found\n")

    return handle


def _text(status: int, body: str) -> Response:
    return Response(status, body.encode(), "text/plain; charset=utf-8", {"X-Content-Type-Options": "nosniff"})
