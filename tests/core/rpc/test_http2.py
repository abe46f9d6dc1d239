"""HTTP/2 frame by frame: what peers may do, and what they must not."""

import struct

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.rpc import grpc, http2
from k8sfromscratch.core.rpc.headers import encode_headers, header
from k8sfromscratch.core.rpc.http2 import PREFACE, Http2Connection, frame

REQUEST = encode_headers([(":method", "POST"), (":path", "/s/M"), (":scheme", "http"), ("content-type", "application/grpc")])


def server() -> Http2Connection:
    made = Http2Connection(client=False)
    made.receive(PREFACE + frame(http2.SETTINGS, 0, 0))
    made.take_output()
    return made


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found, at = [], 0
    while at < len(data):
        high, low, kind, flags, stream = struct.unpack_from("!HBBBL", data, at)
        size = (high << 8) | low
        found.append((kind, flags, stream, data[at + 9 : at + 9 + size]))
        at += 9 + size
    return found


def test_bytes_may_come_in_any_pieces() -> None:
    data = PREFACE + frame(http2.SETTINGS, 0, 0) + frame(http2.HEADERS, http2.END_HEADERS, 1, REQUEST) + frame(http2.DATA, http2.END_STREAM, 1, b"xyz")
    whole = Http2Connection(client=False).receive(data)
    one = Http2Connection(client=False)
    pieces = [event for byte in data for event in one.receive(bytes([byte]))]
    assert pieces == whole
    assert [type(event).__name__ for event in whole] == ["HeadersReceived", "DataReceived"]


def test_our_headers_are_read_by_the_hpack_library() -> None:
    headers = [("a", "b" * 300), ("grpc-status", "0"), ("c", "")]
    assert [(str(n), str(v)) for n, v in hpack.Decoder().decode(encode_headers(headers))] == headers


def test_a_block_that_changes_the_table_is_never_taken_from_the_memo() -> None:
    connection, encoder = server(), hpack.Encoder()
    stream = 1
    for _ in range(3):
        for value in ("one", "two"):
            headers = [(":method", "POST"), (":path", "/m"), ("x", value)]
            events = connection.receive(frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, encoder.encode(headers)))
            assert header(events[0].headers, "x") == value  # type: ignore[union-attr]
            stream += 2


def test_continuation_padding_and_priority() -> None:
    connection = server()
    padded = bytes([3]) + b"\0" * 5 + REQUEST[:10] + b"\0\0\0"
    events = connection.receive(
        frame(http2.HEADERS, http2.PADDED | http2.PRIORITY_FLAG, 1, padded) + frame(http2.CONTINUATION, http2.END_HEADERS, 1, REQUEST[10:])
    )
    assert header(events[0].headers, ":path") == "/s/M"  # type: ignore[union-attr]


def test_data_waits_for_the_peers_window_and_trailers_wait_behind_it() -> None:
    connection = server()
    connection.receive(frame(http2.SETTINGS, 0, 0, struct.pack("!HL", 4, 10)))
    connection.receive(frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, REQUEST))
    connection.take_output()
    connection.send_data(1, b"0123456789abcdef")
    connection.send_headers(1, b"", end=True)
    sent = frames(connection.take_output())
    assert [(kind, body) for kind, _, _, body in sent] == [(http2.DATA, b"0123456789")]
    assert connection.pending_bytes(1) == 6
    connection.receive(frame(http2.WINDOW_UPDATE, 0, 1, struct.pack("!L", 100)))
    rest = frames(connection.take_output())
    assert [(kind, body) for kind, _, _, body in rest] == [(http2.DATA, b"abcdef"), (http2.HEADERS, b"")]


def test_a_header_block_longer_than_the_peers_frames_goes_on_in_continuations() -> None:
    connection = server()
    connection.receive(frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, REQUEST))
    connection.take_output()
    block = encode_headers([("grpc-message", "x" * 40_000)])
    connection.send_headers(1, block, end=True)
    sent = frames(connection.take_output())
    assert [(kind, flags) for kind, flags, _, _ in sent] == [
        (http2.HEADERS, http2.END_STREAM),
        (http2.CONTINUATION, 0),
        (http2.CONTINUATION, http2.END_HEADERS),
    ]
    assert b"".join(body for *_, body in sent) == block and max(len(body) for *_, body in sent) == 16384


def test_streams_beyond_the_granted_number_are_refused_and_the_connection_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "STREAMS_MAX", 2)
    connection = server()
    for stream in (1, 3, 5):
        connection.receive(frame(http2.HEADERS, http2.END_HEADERS, stream, REQUEST))
    assert frames(connection.take_output()) == [(http2.RST_STREAM, 0, 5, struct.pack("!L", http2.REFUSED_STREAM))]
    connection.reset(1)
    assert connection.receive(frame(http2.HEADERS, http2.END_HEADERS, 7, REQUEST))


def test_a_client_knows_when_its_stream_numbers_are_used_up() -> None:
    client = Http2Connection(client=True)
    client._next_stream = http2.STREAM_NUMBER_MAX
    assert not client.exhausted
    client.open_stream(REQUEST)
    assert client.exhausted


def test_what_we_receive_is_given_back_to_the_window() -> None:
    connection = server()
    connection.receive(frame(http2.HEADERS, http2.END_HEADERS, 1, REQUEST))
    chunk = b"x" * 2**20
    for _ in range(9):
        connection.receive(frame(http2.DATA, 0, 1, chunk))
    updates = {stream for kind, _, stream, _ in frames(connection.take_output()) if kind == http2.WINDOW_UPDATE}
    assert updates == {0, 1}


def test_a_ping_is_answered() -> None:
    connection = server()
    connection.receive(frame(http2.PING, 0, 0, b"12345678"))
    assert frames(connection.take_output()) == [(http2.PING, http2.ACK, 0, b"12345678")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(http2.DATA, 0, 5, b"x"), http2.PROTOCOL_ERROR),
        (frame(http2.HEADERS, http2.END_HEADERS, 2, REQUEST), http2.PROTOCOL_ERROR),
        (frame(http2.CONTINUATION, 0, 1, b""), http2.PROTOCOL_ERROR),
        (frame(http2.HEADERS, 0, 1, REQUEST) + frame(http2.PING, 0, 0, b"12345678"), http2.PROTOCOL_ERROR),
        (frame(http2.SETTINGS, 0, 0, b"12345"), http2.FRAME_SIZE_ERROR),
        (frame(http2.PING, 0, 0, b"123"), http2.FRAME_SIZE_ERROR),
        (frame(http2.WINDOW_UPDATE, 0, 0, struct.pack("!L", 0)), http2.FLOW_CONTROL_ERROR),
        (frame(http2.PUSH_PROMISE, 0, 1, b""), http2.PROTOCOL_ERROR),
        (frame(http2.SETTINGS, 0, 1), http2.PROTOCOL_ERROR),
        (frame(http2.HEADERS, http2.END_HEADERS | http2.PRIORITY_FLAG, 1, b"\0"), http2.FRAME_SIZE_ERROR),
        (frame(http2.HEADERS, http2.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), http2.COMPRESSION_ERROR),
        (struct.pack("!HBBBL", 0xFFFF, 0xFF, 0, 0, 1), http2.FRAME_SIZE_ERROR),
    ],
)
def test_a_broken_peer_is_told_why_and_left(data: bytes, code: int) -> None:
    connection = server()
    closed = connection.receive(data)[-1]
    assert isinstance(closed, http2.ConnectionClosed) and closed.code == code
    kind, _, _, body = frames(connection.take_output())[-1]
    assert kind == http2.GOAWAY and struct.unpack_from("!LL", body)[1] == code
    assert connection.receive(frame(http2.PING, 0, 0, b"12345678")) == []


@given(st.binary(max_size=400))
def test_any_bytes_give_events_or_an_orderly_end(data: bytes) -> None:
    connection = server()
    connection.receive(data)
    grpc_server = grpc.GrpcServer()
    grpc_server.receive(PREFACE + data)


def exchange(client: grpc.GrpcClient, serving: grpc.GrpcServer) -> tuple[list[grpc.ServerEvent], list[grpc.ClientEvent]]:
    """Carries bytes both ways until nothing moves."""
    at_server: list[grpc.ServerEvent] = []
    at_client: list[grpc.ClientEvent] = []
    while True:
        up, down = client.http.take_output(), serving.http.take_output()
        if not up and not down:
            return at_server, at_client
        at_server += serving.receive(up)
        at_client += client.receive(down)


def test_a_unary_call_there_and_back() -> None:
    client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer()
    stream = client.call("/s/M", [("grpc-timeout", "250m")])
    client.send(stream, b"question", end=True)
    events, _ = exchange(client, serving)
    called, message, half = events
    assert isinstance(called, grpc.Called) and called.method == "/s/M" and called.timeout_s == 0.25
    assert message == grpc.Message(stream, b"question") and half == grpc.HalfClosed(stream)
    serving.reply(stream, b"answer")
    _, answers = exchange(client, serving)
    assert answers == [grpc.Message(stream, b"answer"), grpc.Finished(stream, grpc.OK, "")]
    assert client.http.open_streams == serving.http.open_streams == 0


def test_an_error_carries_its_text_whatever_is_in_it() -> None:
    client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer()
    stream = client.call("/s/M")
    exchange(client, serving)
    serving.finish(stream, grpc.NOT_FOUND, "nothing at 100% — “there”\n")
    _, events = exchange(client, serving)
    assert events == [grpc.Finished(stream, grpc.NOT_FOUND, "nothing at 100% — “there”\n")]


def test_large_messages_cross_windows_and_frames() -> None:
    client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer()
    big = bytes(range(256)) * 200_000
    stream = client.call("/s/M")
    client.send(stream, big, end=True)
    events, _ = exchange(client, serving)
    assert [e.data for e in events if isinstance(e, grpc.Message)] == [big]
    serving.send(stream, big)
    serving.finish(stream)
    _, answers = exchange(client, serving)
    assert [e.data for e in answers if isinstance(e, grpc.Message)] == [big]
    assert answers[-1] == grpc.Finished(stream, grpc.OK, "")


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.lists(st.integers(1, 60), max_size=30))
def test_messages_are_found_however_their_bytes_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer()
    stream = client.call("/s/M")
    data, at = b"".join(grpc.framed(message) for message in messages), 0
    for cut in [*cuts, len(data)]:
        client.http.send_data(stream, data[at : at + cut], end=at < len(data) <= at + cut)
        at += cut
    events, _ = exchange(client, serving)
    assert [event.data for event in events if isinstance(event, grpc.Message)] == messages
    assert events[-1] == grpc.HalfClosed(stream)


def test_a_server_takes_no_longer_messages_than_it_says() -> None:
    for size, refused in ((100, False), (101, True)):
        for pieces in (1, 2):
            client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer(message_max_bytes=100)
            stream = client.call("/s/M")
            data = grpc.framed(b"x" * size)
            for piece in range(pieces):
                client.http.send_data(stream, data[piece * 50 : None if piece == pieces - 1 else 50])
            events, answers = exchange(client, serving)
            assert (grpc.Cancelled(stream) in events) is refused
            assert [(e.code, e.text) for e in answers if isinstance(e, grpc.Finished)] == (
                [(grpc.RESOURCE_EXHAUSTED, "grpc: received message larger than max (101 vs. 100)")] if refused else []
            )


def test_a_cancelled_call_is_told_and_takes_nothing_more() -> None:
    client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer()
    stream = client.call("/s/M")
    exchange(client, serving)
    client.cancel(stream)
    events, _ = exchange(client, serving)
    assert events == [grpc.Cancelled(stream)]
    serving.send(stream, b"late")
    serving.finish(stream)
    assert exchange(client, serving) == ([], [])


def test_compressed_and_cut_off_messages_are_refused() -> None:
    for body, code in ((b"\1\0\0\0\1x", grpc.UNIMPLEMENTED), (b"\0\0\0\0\5x", grpc.INTERNAL), (b"\0\xff\xff\xff\xff", grpc.RESOURCE_EXHAUSTED)):
        client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer()
        stream = client.call("/s/M")
        client.http.send_data(stream, body, end=True)
        exchange(client, serving)
        assert serving.http.open_streams == 0, code


@given(st.binary(max_size=60), st.lists(st.integers(1, 70), max_size=10), st.booleans())
def test_a_unary_call_is_one_request_however_its_bytes_are_cut(message: bytes, cuts: list[int], ended_apart: bool) -> None:
    client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer(unary={"/s/M"})
    stream = client.call("/s/M", [("x", "y")])
    data, at = grpc.framed(message), 0
    for cut in [*cuts, len(data)]:
        client.http.send_data(stream, data[at : at + cut], end=at < len(data) <= at + cut and not ended_apart)
        at += cut
    if ended_apart:
        client.half_close(stream)
    (request,), _ = exchange(client, serving)
    assert isinstance(request, grpc.Request)
    assert (request.stream, request.head.method, request.message) == (stream, "/s/M", message)
    assert header(request.head.metadata, "x") == "y"
    serving.reply(stream, b"answer")
    _, answers = exchange(client, serving)
    assert answers == [grpc.Message(stream, b"answer"), grpc.Finished(stream, grpc.OK, "")]
    assert client.http.open_streams == serving.http.open_streams == 0


def test_a_unary_call_that_ends_without_its_request_is_refused() -> None:
    for body, text in ((b"", "the call ended without a request"), (b"\0\0\0", "the request ends in the middle of a message")):
        client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer(unary={"/s/M"})
        stream = client.call("/s/M")
        client.http.send_data(stream, body, end=True)
        _, answers = exchange(client, serving)
        assert answers == [grpc.Finished(stream, grpc.INTERNAL, f"grpc: {text}")]
        assert serving.http.open_streams == 0


def test_a_unary_call_takes_one_request_and_no_more() -> None:
    client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer(unary={"/s/M"})
    stream = client.call("/s/M")
    client.send(stream, b"one")
    client.send(stream, b"two", end=True)
    events, answers = exchange(client, serving)
    assert [event.message for event in events if isinstance(event, grpc.Request)] == [b"one"] and len(events) == 1
    assert answers == []


def test_calls_with_other_headers_are_told_apart() -> None:
    """What headers mean is remembered with them: those of a call that is gone must not speak for another's."""
    client, serving = grpc.GrpcClient("a", secure=False), grpc.GrpcServer(unary={"/s/A", "/s/B"})
    for turn in range(grpc.HEADS_MAX + 20):
        for method in ("/s/A", "/s/B"):
            stream = client.call(method, [("turn", str(turn))])
            client.send(stream, b"", end=True)
            (request,), _ = exchange(client, serving)
            assert isinstance(request, grpc.Request)
            assert request.head.method == method and header(request.head.metadata, "turn") == str(turn)
            serving.reply(stream, b"")
