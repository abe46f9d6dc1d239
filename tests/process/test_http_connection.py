"""One connection without a socket: whatever the pieces in which its bytes come, and whatever the bytes."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8sfromscratch.process import http_head
from k8sfromscratch.process.http import Request, Response
from k8sfromscratch.process.http_connection import AHEAD_MAX, HttpConnection, Shared

BODY_MAX_BYTES = 1000
TURNS = 200
"""Of the loop, for everything that was sent to be answered."""


class Wire(asyncio.Transport):
    """What a socket would have sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = self.aborted = self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else default

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


async def echo(request: Request) -> Response:
    said = {"method": request.method, "path": request.path, "query": request.query, "body": request.body.decode("latin-1")}
    return Response(200, orjson.dumps(said))


def exchanged(pieces: Sequence[bytes]) -> Wire:
    async def main() -> Wire:
        wire = Wire()
        connection = HttpConnection(Shared(echo, BODY_MAX_BYTES))
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(TURNS):
            if not connection.busy:
                break
            await asyncio.sleep(0)
        connection.connection_lost(None)
        await asyncio.sleep(0)
        return wire

    return asyncio.run(main())


SENT = (
    b"GET /a%20b?x=1&x=%32 HTTP/1.1\r\nHost: h\r\n\r\n"
    b"POST /sized HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
    b"PUT /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    b"DELETE /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
)


def without_dates(sent: bytes) -> bytes:
    return b"\r\n".join(line for line in sent.split(b"\r\n") if not line.startswith(b"Date: "))


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(min_value=1, max_value=len(SENT) - 1), max_size=12))
def test_it_does_not_matter_how_requests_are_cut(cuts: set[int]) -> None:
    bounds = [0, *sorted(cuts), len(SENT)]
    wire = exchanged([SENT[start:end] for start, end in pairwise(bounds)])
    said = [orjson.loads(part[part.index(b"{") : part.rindex(b"}") + 1]) for part in wire.sent.split(b"HTTP/1.1 200 OK")[1:]]
    assert [(one["method"], one["path"], one["query"], one["body"]) for one in said] == [
        ("GET", "/a b", {"x": ["1", "2"]}, ""),
        ("POST", "/sized", {}, "hello"),
        ("PUT", "/chunked", {}, "abcde"),
        ("DELETE", "/last", {}, ""),
    ]
    assert wire.closed and without_dates(wire.sent) == without_dates(exchanged([SENT]).sent)


LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"GET  HTTP/1.1",
        b"POST /x HTTP/1.0",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT h:1 HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"Host: h",
        b"Content-Length: 3",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Connection: upgrade",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
        b"X-Bytes: \xff\x00\xfe",
        b" folded",
        b"abc",
        b"3",
        b"0",
        b"",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(LINES, max_size=12).map(b"\r\n".join)), st.integers(min_value=1, max_value=50))
def test_nothing_that_is_sent_is_a_fault_of_ours(sent: bytes, step: int) -> None:
    logger = logging.getLogger("k8sfromscratch.process")
    faults: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = faults.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        wire = exchanged([sent[at : at + step] for at in range(0, len(sent), step)])
    finally:
        logger.removeHandler(handler)
    assert not faults and not wire.aborted
    statuses = [int(part[:3]) for part in wire.sent.split(b"HTTP/1.1 ")[1:]]
    assert all(status in (100, 200, 400, 413) for status in statuses)
    if statuses and statuses[-1] >= 400:
        assert wire.closed, "after a request that cannot be read, nobody knows where the next one begins"


@pytest.mark.parametrize("head", [b"GET /" + b"x" * 200_000, b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000])
def test_a_head_without_an_end_is_refused(head: bytes) -> None:
    wire = exchanged([head[at : at + 10_000] for at in range(0, len(head), 10_000)])
    assert wire.sent.startswith(b"HTTP/1.1 400") and wire.closed


def test_what_passes_a_target_on_sees_no_host_of_the_clients_choice() -> None:
    assert http_head.target(b"http://evil:99/api%2F1?x=1") == ("/api%2F1?x=1", "/api/1", {"x": ["1"]})
    assert http_head.target(b"http://evil")[0] == "/"
    assert http_head.target(b"/a%20b?x=%32")[0] == "/a%20b?x=%32"
    assert http_head.target(b"/a#b/exec?x=1") == ("/a", "/a", {})


BODY = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("endless", [b"0\r\nX: " + b"y" * 200_000, b"1;" + b"x" * 200_000, b"1\r\na\r\n0\r\n" + b"X: y\r\n" * 40_000])
def test_what_stands_beside_a_bodys_bytes_is_bounded_too(endless: bytes) -> None:
    sent = BODY + endless
    wire = exchanged([sent[at : at + 10_000] for at in range(0, len(sent), 10_000)])
    assert wire.sent.startswith(b"HTTP/1.1 413") and wire.closed


def test_nothing_is_piled_up_behind_an_upgrade_that_must_wait() -> None:
    async def main() -> None:
        held = asyncio.Event()

        async def handler(request: Request) -> Response:
            if request.path == "/slow":
                await held.wait()
            return Response(200, b"")

        wire = Wire()
        connection = HttpConnection(Shared(handler, BODY_MAX_BYTES))
        connection.connection_made(wire)
        quick, slow = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"
        upgrade = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        connection.data_received(quick * 10 + slow + quick * AHEAD_MAX + upgrade)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        held.set()
        while wire.sent.count(b"HTTP/1.1 200") < 20:
            assert wire.paused
            await asyncio.sleep(0)
        while not wire.closed:
            await asyncio.sleep(0)
        connection.connection_lost(None)

    asyncio.run(main())
