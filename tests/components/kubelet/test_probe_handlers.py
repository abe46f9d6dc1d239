"""What probes and hooks ask, against real listeners; commands against a runtime that answers as told."""

import asyncio

import pytest
from aiohttp import web

from k8sfromscratch.components.kubelet.handlers import Answer, Handlers, Target
from k8sfromscratch.runtime.interface import ExecResult, NotInRuntime, RuntimeFailure, RuntimeTimeout, RuntimeUnavailable


class Runtime:
    """Only `exec_sync`; `outcome` is returned or raised."""

    def __init__(self, outcome=None) -> None:
        self._outcome = outcome

    async def exec_sync(self, container_id, command, timeout_s):
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def ask(handler: str, action: dict, *, runtime=None, timeout_s: float = 5, ports=()) -> Answer | None:
    async def main() -> Answer | None:
        handlers = Handlers(runtime or Runtime())
        try:
            return await handlers.ask(handler, action, Target({"name": "app", "ports": list(ports)}, "c1", "127.0.0.1"), timeout_s)
        finally:
            await handlers.close()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (ExecResult(b"", b"", 0), Answer(True)),
        (ExecResult(b"no\n", b"", 1), Answer(False, "no")),
        (ExecResult(b"", b"", 2), Answer(False, "command ['x'] exited with 2")),
        (RuntimeTimeout("deadline"), Answer(False, "command timed out: ['x'] timed out after 5s")),
        (RuntimeFailure("executable file not found"), Answer(False, "executable file not found")),
        (RuntimeUnavailable("the runtime restarts"), None),
        (NotInRuntime("gone"), None),
    ],
)
def test_exec(outcome, answer):
    assert ask("exec", {"command": ["x"]}, runtime=Runtime(outcome)) == answer


def over_http(action: dict, reply, timeout_s: float = 5) -> tuple[Answer | None, list[web.BaseRequest]]:
    seen: list[web.BaseRequest] = []

    async def main() -> Answer | None:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            seen.append(request)
            return await reply(request)

        runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        handlers = Handlers(Runtime())
        target = Target({"name": "app", "ports": [{"name": "http", "containerPort": port}]}, "c1", "127.0.0.1")
        try:
            return await handlers.ask("httpGet", {"port": "http", **action}, target, timeout_s)
        finally:
            await handlers.close()
            await runner.cleanup()

    return asyncio.run(main()), seen


async def ok(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="ok")


def test_http_get_asks_as_the_kubelet():
    answer, (request,) = over_http({"path": "/ready?x=1", "httpHeaders": [{"name": "Host", "value": "example.com"}, {"name": "X-A", "value": "b"}]}, ok)
    assert answer == Answer(True)
    assert request.path_qs == "/ready?x=1"
    assert [request.headers[name] for name in ("User-Agent", "Host", "X-A")] == ["kube-probe/1.35", "example.com", "b"]


@pytest.mark.parametrize(("status", "success"), [(200, True), (302, True), (399, True), (400, False), (404, False), (500, False)])
def test_http_statuses(status, success):
    async def reply(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    answer, seen = over_http({}, reply)
    assert (answer.success, len(seen)) == (success, 1)
    assert success or answer.message == f"HTTP probe failed with statuscode: {status}"


def test_http_that_takes_too_long():
    async def reply(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("never")

    answer, _ = over_http({}, reply, timeout_s=0.1)
    assert "context deadline exceeded" in answer.message


def test_nobody_listens():
    assert ask("tcpSocket", {"port": 1}) == Answer(False, "dial tcp 127.0.0.1:1: connect: connection refused")
    assert ask("httpGet", {"port": 1}) == Answer(False, 'Get "http://127.0.0.1:1/": dial tcp: connect: connection refused')


def test_a_port_that_has_no_name():
    assert ask("tcpSocket", {"port": "web"}) == Answer(False, "container app has no port named 'web'")
    assert ask("httpGet", {"port": "web"}) == Answer(False, "container app has no port named 'web'")


def test_sleep_and_what_is_unknown():
    assert ask("sleep", {"seconds": 0}) == Answer(True)
    assert ask("grpc", {}) == Answer(False, "handlers of type grpc are not supported")
