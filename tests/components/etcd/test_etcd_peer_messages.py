"""What another member sends is believed only where it can be true; nothing that comes can end the process."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.components.etcd import peer_messages as wire
from k8sfromscratch.core.raft import raftpb
from k8sfromscratch.core.raft.node import RawNode, first_start
from k8sfromscratch.core.raft.state import Config
from k8sfromscratch.core.raft.types import ConfState, Entry, EntryType, Message, MessageType, ProposalDropped, Snapshot

OWN, OTHER = 1, 2

GOOD = Message(type=MessageType.APP, to=OWN, from_=OTHER, term=3, log_term=2, index=7, entries=(Entry(2, 8, b"a"), Entry(3, 9, b"b")), commit=8)


def test_a_message_comes_out_as_it_went_in() -> None:
    assert wire.read_message(raftpb.encode_message(GOOD), OWN) == GOOD


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Message(type=MessageType.HUP, to=OWN, from_=OTHER, term=1), "which no member sends"),
        (Message(type=MessageType.UNREACHABLE, to=OWN, from_=OTHER, term=1), "which no member sends"),
        (Message(type=MessageType.HEARTBEAT, to=3, from_=OTHER, term=1), "from 2 to 3, and this member is 1"),
        (Message(type=MessageType.HEARTBEAT, to=OWN, from_=OWN, term=1), "from 1 to 1"),
        (Message(type=MessageType.HEARTBEAT, to=OWN, from_=OTHER), "without a term"),
        (Message(type=MessageType.SNAP, to=OWN, from_=OTHER, term=1), "without a snapshot"),
        (Message(type=MessageType.APP, to=OWN, from_=OTHER, term=1, snapshot=Snapshot(5, 1, ConfState((1,)))), "with a snapshot"),
        (Message(type=MessageType.APP, to=OWN, from_=OTHER, term=3, index=7, log_term=2, entries=(Entry(2, 9),)), "not in order"),
        (Message(type=MessageType.APP, to=OWN, from_=OTHER, term=3, index=7, log_term=2, entries=(Entry(1, 8),)), "not in order"),
        (Message(type=MessageType.APP, to=OWN, from_=OTHER, term=3, index=7, log_term=2, entries=(Entry(4, 8),)), "not in order"),
        (Message(type=MessageType.HEARTBEAT, to=OWN, from_=OTHER, term=1, entries=(Entry(1, 1),)), "with entries"),
        (Message(type=MessageType.PROP, to=OWN, from_=OTHER), "a proposal of nothing"),
        (Message(type=MessageType.PROP, to=OWN, from_=OTHER, entries=(Entry(0, 0, b"\xff", EntryType.CONF_CHANGE_V2),)), "cannot be read"),
    ],
)
def test_what_no_member_can_mean_is_refused(message: Message, said: str) -> None:
    with pytest.raises(wire.PeerError, match=said):
        wire.read_message(raftpb.encode_message(message), OWN)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(raw: bytes) -> None:
    _feed(raw)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_message_with_a_changed_byte_is_another_or_refused(at: int, byte: int) -> None:
    raw = bytearray(raftpb.encode_message(GOOD))
    raw[at % len(raw)] = byte
    _feed(bytes(raw))


def _feed(raw: bytes) -> None:
    """As the peer port does: what is believed goes to a member that has just started, and is dropped or contradicts its log at the worst."""
    try:
        message = wire.read_message(raw, OWN)
    except wire.PeerError:
        return
    if message.type == MessageType.SNAP:
        return
    node = RawNode(Config(id=OWN), random.Random(1), first_start([1, 2, 3]), lambda: None)
    try:
        node.step(message)
    except (ProposalDropped, AssertionError):
        return


def test_who_calls_must_be_said() -> None:
    caller = wire.Caller(0xABC, 0x1, 0x2)
    assert wire.caller_of(tuple(wire.metadata(caller, ["http://h:1"]))) == caller
    for headers in ((), ((wire.CLUSTER_KEY, "x"), (wire.FROM_KEY, "1"), (wire.TO_KEY, "2"))):
        with pytest.raises(wire.PeerError, match="does not say who it is"):
            wire.caller_of(headers)
