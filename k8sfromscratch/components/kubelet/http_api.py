"""The kubelet's HTTPS API, which the apiserver (logs, exec, attach, port-forward) and monitoring (metrics, stats) use.

Every path but /healthz goes through the `Gate`.  Paths and parameters are upstream's; what the apiserver's clients call `stdin`, `stdout` and
`stderr` the kubelet calls `input`, `output` and `error`: both are understood.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from k8sfromscratch.api.errors import ApiError, BadRequest, InternalError, MethodNotAllowed, NotFound
from k8sfromscratch.core.pods.logs import MalformedLog
from k8sfromscratch.core.pods.runtime_state import Container, ContainerState
from k8sfromscratch.core.pods.times import parse
from k8sfromscratch.process import health
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response, Upgrade
from k8sfromscratch.runtime.interface import NotInRuntime, Runtime, RuntimeFailure

from .authentication import Gate
from .log_files import LogOptions, read_log
from .pod_worker import PodWorker
from .pods import Pods
from .stats import Stats
from .streaming import tunnel

Route = Callable[[Request, list[str]], Awaitable[Response | Upgrade]]

RUN_TIMEOUT_S = 120.0
TEXT = "text/plain; charset=utf-8"


class KubeletApi:
    def __init__(self, pods: Pods, runtime: Runtime, stats: Stats, gate: Gate, env: Env, registry: CollectorRegistry) -> None:
        self._pods = pods
        self._runtime = runtime
        self._stats = stats
        self._gate = gate
        self._env = env
        self._registry = registry
        self._routes: dict[str, tuple[tuple[str, ...], Route]] = {
            "pods": (("GET",), self._list_pods),
            "metrics": (("GET",), self._metrics),
            "stats": (("GET",), self._summary),
            "containerLogs": (("GET",), self._logs),
            "exec": (("GET", "POST"), self._exec),
            "attach": (("GET", "POST"), self._attach),
            "portForward": (("GET", "POST"), self._port_forward),
            "run": (("POST",), self._run),
        }

    async def handle(self, request: Request) -> Response | Upgrade:
        """A `process.http.Handler`; errors are answered as upstream's kubelet does, in plain text."""
        try:
            return await self._handle(request)
        except ApiError as error:
            return Response(error.http_code, f"{error.message}\n".encode(), TEXT)
        except NotInRuntime as error:
            return Response(404, f"{error}\n".encode(), TEXT)
        except RuntimeFailure as error:
            return Response(500, f"{error}\n".encode(), TEXT)

    async def _handle(self, request: Request) -> Response | Upgrade:
        first, *rest = request.path.strip("/").split("/")
        if first == "healthz":
            return health.report(request, {})
        await self._gate.check(request)
        if first not in self._routes:
            raise NotFound("404 page not found")
        methods, route = self._routes[first]
        if request.method not in methods:
            raise MethodNotAllowed(f"{request.method} is not allowed on /{first}")
        return await route(request, rest)

    async def _list_pods(self, request: Request, rest: list[str]) -> Response:
        return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods.objects()})

    async def _metrics(self, request: Request, rest: list[str]) -> Response:
        if rest == ["resource"]:
            return Response(200, (await self._stats.resource_metrics()).encode(), "text/plain; version=0.0.4; charset=utf-8")
        return health.metrics(self._registry)

    async def _summary(self, request: Request, rest: list[str]) -> Response:
        if rest != ["summary"]:
            raise NotFound("404 page not found")
        return _json(await self._stats.summary())

    # Logs

    async def _logs(self, request: Request, rest: list[str]) -> Response:
        if len(rest) != 3:
            raise NotFound("404 page not found")
        namespace, name, container_name = rest
        worker = self._worker(namespace, name)
        container = await self._logged_container(worker, container_name, request.arg("previous") in ("true", "1"))
        options = _log_options(request, self._env)
        path = Path(container.log_path)
        if not path.is_file():
            raise NotFound(f"container {container_name!r} of pod {name!r} has no log file")

        def running() -> bool:
            latest = next((c for c in worker.runtime.containers if c.id == container.id), None)
            return not worker.finished and latest is not None and latest.state is ContainerState.RUNNING

        return Response(200, _chunks(path, options, running), TEXT)

    async def _logged_container(self, worker: PodWorker, name: str, previous: bool) -> Container:
        history = worker.runtime.history(name)
        position = 1 if previous else 0
        if len(history) <= position:
            pod = worker.pod["metadata"]["name"]
            raise BadRequest(
                f'previous terminated container "{name}" in pod "{pod}" not found'
                if previous
                else f'container "{name}" in pod "{pod}" is waiting to start: {_waiting_reason(worker, name)}'
            )
        found = history[position]
        return found if found.log_path else await self._runtime.container(found.id)

    # Streams

    async def _exec(self, request: Request, rest: list[str]) -> Upgrade:
        container = self._running_container(rest)
        command = request.query.get("command") or []
        if not command:
            raise BadRequest("you must specify at least one command for the container")
        return tunnel(request, await self._runtime.exec_url(container.id, command, **_streams(request)))

    async def _attach(self, request: Request, rest: list[str]) -> Upgrade:
        container = self._running_container(rest)
        return tunnel(request, await self._runtime.attach_url(container.id, **_streams(request)))

    async def _port_forward(self, request: Request, rest: list[str]) -> Upgrade:
        if len(rest) not in (2, 3):
            raise NotFound("404 page not found")
        sandbox = self._worker(rest[0], rest[1]).runtime.sandbox
        if sandbox is None or not sandbox.ready:
            raise BadRequest(f"pod {rest[0]}/{rest[1]} is not running")
        ports = [_number("port", text) for value in request.query.get("port", []) for text in value.split(",")]
        return tunnel(request, await self._runtime.port_forward_url(sandbox.id, ports))

    async def _run(self, request: Request, rest: list[str]) -> Response:
        container = self._running_container(rest)
        command = request.arg("cmd").split()
        if not command:
            raise BadRequest("cmd is required")
        result = await self._runtime.exec_sync(container.id, command, RUN_TIMEOUT_S)
        output = result.stdout + result.stderr
        if result.exit_code != 0:
            raise InternalError(f"command {command} exited with {result.exit_code}: {output.decode(errors='replace')}")
        return Response(200, output, TEXT)

    def _worker(self, namespace: str, name: str) -> PodWorker:
        worker = self._pods.find(namespace, name)
        if worker is None:
            raise NotFound(f'pod "{namespace}/{name}" does not exist on this node')
        return worker

    def _running_container(self, rest: list[str]) -> Container:
        """Of NAMESPACE/POD[/UID]/CONTAINER."""
        if len(rest) not in (3, 4):
            raise NotFound("404 page not found")
        namespace, pod, name = rest[0], rest[1], rest[-1]
        container = self._worker(namespace, pod).runtime.latest(name)
        if container is None or container.state is not ContainerState.RUNNING:
            raise NotFound(f'container "{name}" of pod "{namespace}/{pod}" is not running')
        return container


async def _chunks(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    try:
        async for chunk in read_log(path, options, running):
            yield chunk
    except MalformedLog as error:
        yield f"failed to get parse function: {error}\n".encode()


def _log_options(request: Request, env: Env) -> LogOptions:
    since = None
    if request.arg("sinceTime"):
        try:
            since = parse(request.arg("sinceTime"))
        except ValueError as error:
            raise BadRequest(f"sinceTime {request.arg('sinceTime')!r} is not an RFC 3339 time") from error
    elif request.arg("sinceSeconds"):
        since = env.clock.now() - timedelta(seconds=_number("sinceSeconds", request.arg("sinceSeconds")))
    tail = request.arg("tailLines")
    limit = request.arg("limitBytes")
    stream = request.arg("stream", "All")
    if stream not in ("All", "Stdout", "Stderr"):
        raise BadRequest(f"stream {stream!r}: expected All, Stdout or Stderr")
    return LogOptions(
        follow=_flag(request, "follow"),
        tail_lines=_number("tailLines", tail) if tail and tail != "all" else None,
        since=since,
        timestamps=_flag(request, "timestamps"),
        limit_bytes=_number("limitBytes", limit) if limit else None,
        stream="" if stream == "All" else stream.lower(),
    )


def _streams(request: Request) -> dict[str, bool]:
    tty = _flag(request, "tty")
    wanted = {ours: _flag(request, ours) or _flag(request, theirs) for ours, theirs in (("stdin", "input"), ("stdout", "output"), ("stderr", "error"))}
    if not any(wanted.values()):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    # A terminal has one output: runtimes refuse a second.
    return {**wanted, "stderr": wanted["stderr"] and not tty, "tty": tty}


def _flag(request: Request, name: str) -> bool:
    return request.arg(name).lower() in ("1", "true")


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise BadRequest(f"{name} {text!r} is not a number")
    return int(text)


def _waiting_reason(worker: PodWorker, name: str) -> str:
    status = worker.pod.get("status") or {}
    for entry in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        if entry.get("name") == name:
            return str((entry.get("state") or {}).get("waiting", {}).get("reason", "ContainerCreating"))
    return "ContainerCreating"


def _json(body: Any) -> Response:
    return Response(200, orjson.dumps(body))
