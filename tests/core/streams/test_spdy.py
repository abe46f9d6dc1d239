"""SPDY/3.1 between two ends of ours, held to the wire by recorded bytes, and to any cutting of the bytes by Hypothesis."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.streams.spdy import (
    DATA_BYTES_MAX,
    DICTIONARY,
    HEADERS_BYTES_MAX,
    Data,
    Event,
    GoAway,
    Opened,
    Replied,
    Reset,
    SpdyConnection,
    SpdyError,
)


def pair() -> tuple[SpdyConnection, SpdyConnection]:
    return SpdyConnection(client=True), SpdyConnection(client=False)


def test_the_dictionary_is_the_specifications() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_the_frames_on_the_wire() -> None:
    """SYN_STREAM of stream 1: version 3, type 1, flags and length, stream, associated stream, priority, slot; then zlib with the dictionary's checksum."""
    client = SpdyConnection(client=True)
    client.open({"streamType": "error"})
    sent = client.take()
    assert sent[:4] == bytes.fromhex("80030001") and int.from_bytes(sent[5:8], "big") == len(sent) - 8
    assert sent[8:18] == bytes.fromhex("00000001 00000000 0000")
    assert sent[18] == 0x78 and sent[19] & 0x20 and sent[20:24] == bytes.fromhex("e3c6a7c2")
    plain = zlib.decompressobj(zdict=DICTIONARY).decompress(sent[18:])
    assert plain == struct.pack(">I", 1) + struct.pack(">I", 10) + b"streamtype" + struct.pack(">I", 5) + b"error"
    client.send(1, b"hi", fin=True)
    assert client.take() == bytes.fromhex("00000001 01000002") + b"hi"
    client.reset(1, 3)
    assert client.take() == bytes.fromhex("80030003 00000008 00000001 00000003")


def test_a_conversation() -> None:
    client, server = pair()
    streams = [client.open({"streamtype": kind}) for kind in ("error", "stdin", "stdout")]
    assert streams == [1, 3, 5]
    opened = server.receive(client.take())
    assert opened == [Opened(n, {"streamtype": k}, False) for n, k in ((1, "error"), (3, "stdin"), (5, "stdout"))]
    for stream in streams:
        server.reply(stream)
    assert client.receive(server.take()) == [Replied(stream, {}) for stream in streams]
    client.send(3, b"in", fin=True)
    assert server.receive(client.take()) == [Data(3, b"in", True)]
    server.send(5, b"out")
    server.send(5, b"", fin=True)
    server.reset(1, 5)
    server.go_away()
    assert client.receive(server.take()) == [Data(5, b"out", False), Data(5, b"", True), Reset(1, 5), GoAway(0)]
    assert server.open({}) == 2


def test_headers_go_on_using_one_compressor() -> None:
    client, server = pair()
    for i in range(50):
        client.open({"streamtype": "data", "port": str(8000 + i), "requestid": str(i)})
        (event,) = server.receive(client.take())
        assert isinstance(event, Opened) and event.headers["port"] == str(8000 + i)


def test_pings_are_answered_and_answers_are_not() -> None:
    server = SpdyConnection(client=False)
    ping = bytes.fromhex("80030006 00000004 00000001")
    assert server.receive(ping) == [] and server.take() == ping
    own = bytes.fromhex("80030006 00000004 00000002")
    assert server.receive(own) == [] and server.take() == b""


def test_settings_and_window_updates_mean_nothing_to_us() -> None:
    connection = SpdyConnection(client=True)
    assert connection.receive(bytes.fromhex("80030004 00000004 00000000") + bytes.fromhex("80030009 00000008 00000001 00010000")) == []


def test_large_data_comes_in_pieces_and_fin_with_the_last() -> None:
    client, server = pair()
    client.send(1, bytes(1000), fin=True)
    wire = client.take()
    assert server.receive(wire[:508]) == [Data(1, bytes(500), False)]
    assert server.receive(wire[508:]) == [Data(1, bytes(500), True)]


def test_more_than_a_frame_holds_is_split() -> None:
    client, server = pair()
    client.send(1, bytes(DATA_BYTES_MAX + 5), fin=True)
    events = server.receive(client.take())
    assert [(len(e.data), e.fin) for e in events if isinstance(e, Data)] == [(DATA_BYTES_MAX, False), (5, True)]


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        ("80020001 00000000", "version 2"),
        ("8003000b 00000000", "unknown type 11"),
        ("80030003 00000004 00000001", "too short"),
        ("80030001 00ffffff", "control frame of 16777215 bytes"),
        ("80030002 00000008 00000001 deadbeef", "cannot be decompressed"),
        ("80030002 00000004 00000001", "too short"),
    ],
)
def test_what_breaks_the_protocol(wire: str, complaint: str) -> None:
    with pytest.raises(SpdyError, match=complaint):
        SpdyConnection(client=True).receive(bytes.fromhex(wire))


def test_a_header_bomb_is_refused() -> None:
    bomb = zlib.compressobj(9, zdict=DICTIONARY)
    block = bomb.compress(struct.pack(">II", 1, 2**31) + bytes(50 * HEADERS_BYTES_MAX)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    assert len(block) < HEADERS_BYTES_MAX
    with pytest.raises(SpdyError, match="headers of more than"):
        SpdyConnection(client=True).receive(struct.pack(">HHI", 0x8003, 2, 4 + len(block)) + struct.pack(">I", 1) + block)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.dictionaries(st.text("abcxyz", min_size=1, max_size=5), st.text("abc 1", max_size=20), max_size=4)),
        st.tuples(st.just("send"), st.binary(max_size=60)),
        st.tuples(st.just("end"), st.binary(max_size=5)),
    ),
    max_size=12,
)


@given(steps, st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_any_cutting_of_the_bytes_gives_the_same_events(story: list[tuple[str, object]], cuts: list[int]) -> None:
    client, whole, cut = SpdyConnection(client=True), SpdyConnection(client=False), SpdyConnection(client=False)
    stream = 1
    for kind, value in story:
        if kind == "open":
            stream = client.open(value)  # type: ignore[arg-type]
        else:
            client.send(stream, value, fin=kind == "end")  # type: ignore[arg-type]
    wire = client.take()
    expected = joined(whole.receive(wire))
    events: list[Event] = []
    at, i = 0, 0
    while at < len(wire):
        events += cut.receive(wire[at : at + cuts[i % len(cuts)]])
        at, i = at + cuts[i % len(cuts)], i + 1
    assert joined(events) == expected


def joined(events: list[Event]) -> list[object]:
    """Data of a stream put together up to its end."""
    out: list[object] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, Data) and isinstance(last, Data) and last.stream == event.stream and not last.fin:
            out[-1] = Data(event.stream, last.data + event.data, event.fin)
        elif not (isinstance(event, Data) and not event.data and not event.fin):
            out.append(event)
    return out


@given(st.binary(max_size=300))
def test_garbage_never_does_more_than_fail(wire: bytes) -> None:
    try:
        SpdyConnection(client=True).receive(wire)
    except SpdyError:
        pass
