"""The WebSocket server's end, spoken to by wsproto's client."""

import pytest
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode

from k8sfromscratch.core.streams.websocket import MESSAGE_BYTES_MAX, Closed, Message, WebSocketServer, accept_head, negotiate


def client() -> FrameProtocol:
    return FrameProtocol(client=True, extensions=[])


def heard(peer: FrameProtocol, data: bytes) -> list[tuple[Opcode, object]]:
    peer.receive_bytes(data)
    return [(frame.opcode, bytes(frame.payload) if isinstance(frame.payload, bytearray) else frame.payload) for frame in peer.received_frames()]


def test_the_specifications_example_key() -> None:
    """RFC 6455 §1.3."""
    head = accept_head("dGhlIHNhbXBsZSBub25jZQ==", "v5.channel.k8s.io").decode()
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head and head.startswith("HTTP/1.1 101 ") and head.endswith("\r\n\r\n")


@pytest.mark.parametrize(("offered", "chosen"), [("b, a", "b"), ("x,a", "a"), ("x", None), ("", None)])
def test_the_clients_first_choice_that_we_have(offered: str, chosen: str | None) -> None:
    assert negotiate(offered, ("a", "b")) == chosen


def test_messages_are_put_together() -> None:
    peer, server = client(), WebSocketServer()
    wire = (
        bytes(peer.send_data(b"one", fin=False)) + bytes(peer.ping(b"are you there")) + bytes(peer.send_data(b" two", fin=True)) + bytes(peer.send_data("text"))
    )
    events = [event for i in range(len(wire)) for event in server.receive(wire[i : i + 1])]
    assert events == [Message(b"one two"), Message(b"text")]
    assert heard(peer, server.take()) == [(Opcode.PONG, b"are you there")]


def test_messages_to_the_client() -> None:
    peer, server = client(), WebSocketServer()
    server.send(bytes(70_000))
    assert b"".join(payload for _, payload in heard(peer, server.take())) == bytes(70_000)  # type: ignore[misc]


def test_closing_is_answered_and_is_the_end() -> None:
    peer, server = client(), WebSocketServer()
    assert server.receive(bytes(peer.close(CloseReason.GOING_AWAY, "bye"))) == [Closed(1001, "bye")]
    server.send(b"more")
    assert heard(peer, server.take()) == [(Opcode.CLOSE, (CloseReason.GOING_AWAY, "bye"))]
    assert server.receive(b"anything") == []


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (bytes.fromhex("8201ff"), CloseReason.PROTOCOL_ERROR),  # not masked
        (bytes.fromhex("f28000000000"), CloseReason.PROTOCOL_ERROR),  # reserved bits
    ],
)
def test_a_client_that_breaks_the_protocol_is_told_and_dropped(wire: bytes, code: CloseReason) -> None:
    peer, server = client(), WebSocketServer()
    (event,) = server.receive(wire)
    assert isinstance(event, Closed) and event.code == code
    assert [payload[0] for opcode, payload in heard(peer, server.take()) if opcode is Opcode.CLOSE] == [code]  # type: ignore[index]


def test_a_message_without_end_is_dropped() -> None:
    peer, server = client(), WebSocketServer()
    chunk = bytes(64 * 1024)
    events: list[object] = []
    for _ in range(MESSAGE_BYTES_MAX // len(chunk) + 1):
        events += server.receive(bytes(peer.send_data(chunk, fin=False)))
    assert [event.code for event in events if isinstance(event, Closed)] == [CloseReason.MESSAGE_TOO_BIG]
