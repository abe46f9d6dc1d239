"""The client's own rules about answers, against a scripted server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import orjson
import pytest

from k8sfromscratch.api.errors import ApiError, BadRequest, Gone, TooManyRequests
from k8sfromscratch.api.registry import CONFIG_MAPS, PODS
from k8sfromscratch.client import Client, DirectTransport, NotConnected, TransportError, WatchEvent
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.testing.faulty_transport import FaultyTransport
from k8sfromscratch.testing.virtual import run_virtual


class Script:
    """Answers one after the other; the last again and again."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.seen: list[Request] = []

    async def handle(self, request: Request) -> Response:
        self.seen.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def ok(body: object) -> Response:
    return Response(200, orjson.dumps(body))


def busy(retry_after: str = "2") -> Response:
    status = {"kind": "Status", "status": "Failure", "reason": "TooManyRequests", "message": "slow down", "code": 429}
    return Response(429, orjson.dumps(status), headers={"Retry-After": retry_after} if retry_after else {})


def stream(*chunks: bytes) -> Response:
    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return Response(200, body())


def play(script: Script, story: Callable[[Client, Env], Coroutine[None, None, None]]) -> None:
    async def main(env: Env) -> None:
        await story(Client(DirectTransport(script.handle, None), user_agent="tester"), env)

    run_virtual(main)


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    script = Script(busy(), busy("3"), ok({"kind": "Pod"}))

    async def story(client: Client, env: Env) -> None:
        started = env.clock.monotonic()
        await client.create(PODS, {"metadata": {"name": "a"}}, namespace="n")
        assert env.clock.monotonic() - started == pytest.approx(5)
        assert [request.method for request in script.seen] == ["POST"] * 3

    play(script, story)


@pytest.mark.parametrize(("retry_after", "asked"), [("1", 5), ("", 1)], ids=["bounded", "only-when-told"])
def test_it_is_not_asked_for_ever(retry_after: str, asked: int) -> None:
    script = Script(busy(retry_after))

    async def story(client: Client, env: Env) -> None:
        with pytest.raises(TooManyRequests, match="slow down"):
            await client.get(PODS, "a", "n")
        assert len(script.seen) == asked

    play(script, story)


def test_only_reads_that_found_no_connection_are_tried_again() -> None:
    script = Script(ok({"kind": "Pod"}))

    async def main(env: Env) -> None:
        transport = FaultyTransport(DirectTransport(script.handle, None))
        client = Client(transport)
        transport.fault = "refuse"
        with pytest.raises(NotConnected):
            await client.get(PODS, "a", "n")
        assert (len(transport.asked), round(env.clock.monotonic(), 3)) == (5, 3.0)
        with pytest.raises(NotConnected):
            await client.create(PODS, {"metadata": {"name": "a", "namespace": "n"}})
        assert len(transport.asked) == 6
        transport.fault = "lose answers"
        with pytest.raises(TransportError):
            await client.get(PODS, "a", "n")
        assert len(transport.asked) == 7

    run_virtual(main)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b""])
def test_an_answer_that_is_no_object_is_a_broken_connection(body: bytes) -> None:
    async def story(client: Client, env: Env) -> None:
        with pytest.raises(TransportError, match="the server's answer is not"):
            await client.get(PODS, "a", "n")

    play(Script(Response(200, body)), story)


def test_an_error_without_a_status_still_has_its_code_and_text() -> None:
    async def story(client: Client, env: Env) -> None:
        with pytest.raises(ApiError, match="bad gateway") as caught:
            await client.get(PODS, "a", "n")
        assert caught.value.http_code == 502

    play(Script(Response(502, b"bad gateway", "text/plain")), story)


@pytest.mark.parametrize("name", ["a/b", "..", "."])
def test_a_name_cannot_reach_another_path(name: str) -> None:
    script = Script(ok({}))

    async def story(client: Client, env: Env) -> None:
        with pytest.raises(BadRequest, match="invalid resource name"):
            await client.delete(PODS, name, "n")
        assert script.seen == []

    play(script, story)


def test_a_list_whose_snapshot_expires_is_read_in_one_piece() -> None:
    gone = {"kind": "Status", "status": "Failure", "reason": "Expired", "message": "too old", "code": 410}
    item = {"metadata": {"name": "a"}}
    script = Script(
        ok({"metadata": {"resourceVersion": "5", "continue": "next"}, "items": [item]}),
        Response(410, orjson.dumps(gone)),
        ok({"metadata": {"resourceVersion": "9"}, "items": [item, item, item]}),
    )

    async def story(client: Client, env: Env) -> None:
        listed = await client.list(CONFIG_MAPS, label_selector="x=y")
        assert (listed["metadata"]["resourceVersion"], len(listed["items"])) == ("9", 3)
        assert [request.arg("continue") for request in script.seen] == ["", "next", ""]
        assert all(request.arg("labelSelector") == "x=y" for request in script.seen) and "limit" not in script.seen[2].query

    play(script, story)


def event(kind: str, version: str) -> bytes:
    return orjson.dumps({"type": kind, "object": {"metadata": {"name": "a", "resourceVersion": version}}}) + b"\n"


def test_events_are_whole_however_their_bytes_arrive() -> None:
    sent = event("ADDED", "1") + event("MODIFIED", "2") + event("BOOKMARK", "3")

    async def story(client: Client, env: Env) -> None:
        for size in (1, 7, 1000):
            script.answers[:] = [stream(*(sent[i : i + size] for i in range(0, len(sent), size)))]
            found: list[WatchEvent] = [e async for e in client.watch(PODS, resource_version="0")]
            assert [(e.type, e.object["metadata"]["resourceVersion"]) for e in found] == [("ADDED", "1"), ("MODIFIED", "2"), ("BOOKMARK", "3")]

    script = Script(ok({}))
    play(script, story)


def test_an_error_event_is_raised() -> None:
    error = {"type": "ERROR", "object": {"kind": "Status", "reason": "Expired", "message": "too old", "code": 410}}

    async def story(client: Client, env: Env) -> None:
        with pytest.raises(Gone, match="too old"):
            await anext(client.watch(PODS, resource_version="1"))

    play(Script(stream(orjson.dumps(error) + b"\n")), story)


@pytest.mark.parametrize("line", [b"{]", b"7", b'{"type": "ADDED"}', b'{"object": {}}'])
def test_a_line_that_is_no_event_is_a_broken_connection(line: bytes) -> None:
    async def story(client: Client, env: Env) -> None:
        with pytest.raises(TransportError):
            await anext(client.watch(PODS, resource_version="1"))

    play(Script(stream(line + b"\n")), story)


def test_one_process_fails_as_two_do(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(request: Request) -> Response:
        match request.path:
            case "/hangs":
                await asyncio.sleep(1e6)
            case "/breaks":
                return Response(200, breaks())
        raise RuntimeError("secret detail")

    async def breaks() -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError("secret detail")

    async def main(env: Env) -> None:
        transport = DirectTransport(handle, None)
        fault = await transport.request("GET", "/fault")
        assert fault.status == 500 and b"secret" not in fault.body
        with pytest.raises(TransportError, match="no answer in 60"):
            await transport.request("GET", "/hangs")
        async with transport.stream("GET", "/breaks") as reply:
            assert await anext(reply.chunks) == b"first"
            with pytest.raises(TransportError):
                await anext(reply.chunks)

    run_virtual(main)
    assert caplog.text.count("RuntimeError: secret detail") == 2
