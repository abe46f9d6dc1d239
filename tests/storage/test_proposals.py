"""Proposals that end otherwise than by being applied, and reads that do; on Raft's core alone, without disk or clock."""

import random

from k8sfromscratch.core.raft.node import RawNode, first_start
from k8sfromscratch.core.raft.state import Config
from k8sfromscratch.core.raft.types import Message, MessageType, ReadState
from k8sfromscratch.storage import proposals as proposals_module
from k8sfromscratch.storage.entries import HEAD_BYTES, read_head
from k8sfromscratch.storage.group import LeaderChanged, RequestTimedOut
from k8sfromscratch.storage.machine import Kind
from k8sfromscratch.storage.proposals import Overloaded, Proposals
from k8sfromscratch.storage.reads import Reads


def member(voters: int) -> RawNode:
    node = RawNode(Config(id=1), random.Random(1), first_start(range(1, voters + 1)), lambda: None)
    node.campaign()
    while node.has_ready():
        node.ready()
        node.advance()
    return node


class Told:
    def __init__(self) -> None:
        self.errors: list[Exception | None] = []

    def done(self, result: object, error: Exception | None) -> None:
        self.errors.append(error)

    def served(self, error: Exception | None) -> None:
        self.errors.append(error)


def test_what_waits_for_a_leader_is_not_begun_and_ends_in_time() -> None:
    told, proposals, node = Told(), Proposals(random.Random(1), 3), member(3)
    assert not node.lead
    proposals.add(1, b"x", None, told.done)
    proposals.feed(node)
    assert len(proposals.queue) == 1 and not proposals.pending
    for _ in range(2):
        proposals.tick()
    assert told.errors == []
    proposals.tick()
    assert [str(error) for error in told.errors] == ["request timed out"] and not proposals.queue and proposals.failed == 1


def test_the_reason_for_being_late_is_guessed_as_upstream_does() -> None:
    for changes, reason in (
        ([], "request timed out"),
        ([0], "request timed out, possibly due to connection lost"),
        ([0, 2], "request timed out, possibly due to previous leader failure"),
    ):
        told, proposals = Told(), Proposals(random.Random(1), 5)
        proposals.add(1, b"x", None, told.done)
        proposals.feed(member(1))
        for lead in changes:
            proposals.tick()
            proposals.leader_changed(lead)
        for _ in range(5):
            proposals.tick()
        assert [(type(error), str(error)) for error in told.errors] == [(RequestTimedOut, reason)]


def test_a_batch_has_so_many_bytes_and_what_is_too_much_waits() -> None:
    proposals, node = Proposals(random.Random(1), 5), member(1)
    last = node.log.last_index
    size = proposals_module.BATCH_BYTES // 4
    for _ in range(40):
        proposals.add(1, b"x" * size, None, None)
    proposals.feed(node)
    begun = node.log.last_index - last
    assert begun == len(proposals.pending) and begun + len(proposals.queue) == 40
    assert 0 < begun * size <= node._raft.config.max_uncommitted_size + proposals_module.BATCH_BYTES
    requests = {read_head(entry.data)[1] for entry in node.log.slice(last + 1, node.log.last_index, 2**62)}
    assert requests == set(proposals.pending)


def test_more_than_can_wait_is_refused() -> None:
    told, proposals = Told(), Proposals(random.Random(1), 5)
    for _ in range(proposals_module.QUEUE_MAX + 1):
        proposals.add(1, b"", None, told.done)
    assert [type(error) for error in told.errors] == [Overloaded]


def test_a_read_is_served_when_its_index_is_applied_and_not_before() -> None:
    told, reads, node = Told(), Reads(random.Random(1), 1, 10, 3), member(1)
    reads.ask(told.served)
    reads.feed(node)
    (state,) = node.ready().read_states
    reads.confirm([ReadState(state.index + 5, state.context)], state.index)
    assert told.errors == []
    reads.serve(state.index + 4)
    assert told.errors == []
    reads.serve(state.index + 5)
    assert told.errors == [None]


def test_a_question_that_is_lost_is_asked_again_but_not_of_another_leader() -> None:
    told, reads, node = Told(), Reads(random.Random(1), 1, 10, 3), member(1)
    reads.ask(told.served)
    reads.feed(node)
    (first,) = node.ready().read_states
    node.advance()
    for _ in range(3):
        reads.tick()
    reads.feed(node)
    (second,) = node.ready().read_states
    assert second.context != first.context
    reads.confirm([first], 100)
    assert told.errors == []
    for _ in range(3):
        reads.tick()
    reads.leader_changed()
    assert [type(error) for error in told.errors] == [LeaderChanged]
    reads.confirm([second], 100)
    assert len(told.errors) == 1


def test_a_read_without_a_leader_ends_in_time() -> None:
    told, reads, node = Told(), Reads(random.Random(1), 1, 4, 2), member(3)
    reads.ask(told.served)
    for _ in range(4):
        reads.feed(node)
        reads.tick()
    assert [type(error) for error in told.errors] == [RequestTimedOut]


def test_the_end_of_a_lease_is_not_asked_of_the_next_leader() -> None:
    told, proposals, node = Told(), Proposals(random.Random(1), 5), member(1)
    last, term = node.log.last_index, node.term
    proposals.add(Kind.PUT, b"before", None, None)
    proposals.add(Kind.REVOKE, b"mine", 7, told.done, term=term)
    proposals.feed(node)
    assert node.log.last_index == last + 2 and not told.errors
    proposals.add(Kind.PUT, b"of a client", None, None)
    proposals.add(Kind.REVOKE, b"mine", 7, told.done, term=term)
    node.step(Message(type=MessageType.HEARTBEAT, to=1, from_=2, term=term + 1))
    proposals.feed(node)
    assert [type(error) for error in told.errors] == [LeaderChanged]
    sent = [entry.data for message in node.ready().messages_after_persist for entry in message.entries]
    assert [data[HEAD_BYTES:] for data in sent] == [b"of a client"]
