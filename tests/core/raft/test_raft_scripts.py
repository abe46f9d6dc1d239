"""One situation of the paper each: a few members in memory, messages delivered or lost by hand."""

import random

import pytest

from k8sfromscratch.core.raft import raftpb
from k8sfromscratch.core.raft.log import RaftLog
from k8sfromscratch.core.raft.node import RawNode, Start, first_start, joining
from k8sfromscratch.core.raft.state import Config
from k8sfromscratch.core.raft.types import (
    ConfChangeRefused,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    ProposalDropped,
    ReadState,
    Role,
    Snapshot,
)

T = MessageType


class Group:
    def __init__(self, *voters: int) -> None:
        self.nodes = {each: self._node(each, first_start(voters)) for each in voters}
        self.cut: set[int] = set()
        self.applied: dict[int, list[bytes]] = {each: [] for each in voters}
        self.reads: dict[int, list[ReadState]] = {each: [] for each in voters}

    def _node(self, number: int, start: Start) -> RawNode:
        return RawNode(Config(id=number), random.Random(number), start, self._snapshot)

    def _snapshot(self) -> Snapshot:
        leader = next(node for node in self.nodes.values() if node.role == Role.LEADER)
        status = leader.status()
        return Snapshot(status.applied, leader.log.term(status.applied) or 0, status.conf_state)

    def join(self, number: int) -> None:
        self.nodes[number], self.applied[number], self.reads[number] = self._node(number, joining()), [], []

    def settle(self) -> None:
        while any(node.has_ready() for node in self.nodes.values()):
            for node in self.nodes.values():
                if node.has_ready():
                    self._turn(node)

    def _turn(self, node: RawNode) -> None:
        ready = node.ready()
        for entry in ready.committed_entries:
            if entry.type != EntryType.NORMAL:
                node.apply_conf_change(entry)
            elif entry.data:
                self.applied[node.id].append(entry.data)
        self.reads[node.id] += ready.read_states
        node.advance()
        for m in (*ready.messages, *ready.messages_after_persist):
            if m.to in self.nodes and not {m.to, m.from_, node.id} & self.cut:
                self.nodes[m.to].step(m)

    def tick(self, count: int) -> None:
        for _ in range(count):
            for node in self.nodes.values():
                node.tick()
            self.settle()

    def elect(self, number: int) -> RawNode:
        self.nodes[number].campaign()
        self.settle()
        assert self.nodes[number].role == Role.LEADER
        return self.nodes[number]


def test_one_leader_is_elected_and_replicates() -> None:
    group = Group(1, 2, 3)
    group.elect(1)
    group.nodes[3].propose(b"through a follower")
    group.settle()
    assert group.applied == {each: [b"through a follower"] for each in (1, 2, 3)}


def test_a_member_that_was_cut_off_disturbs_nobody() -> None:
    """Thesis 9.6: pre-vote."""
    group = Group(1, 2, 3)
    leader = group.elect(1)
    term = leader.term
    group.cut = {3}
    group.tick(60)
    assert group.nodes[3].term == term
    group.cut = set()
    group.tick(5)
    assert (leader.role, leader.term) == (Role.LEADER, term)


def test_a_leader_without_a_majority_steps_down_and_answers_no_read() -> None:
    """Thesis 6.2, 6.4."""
    group = Group(1, 2, 3)
    leader = group.elect(1)
    group.cut = {1}
    leader.read_index(b"late")
    group.settle()
    group.tick(45)
    assert leader.role != Role.LEADER
    assert group.reads[1] == []
    assert sum(node.role == Role.LEADER for node in group.nodes.values()) == 1
    with pytest.raises(ProposalDropped):
        leader.propose(b"x")


@pytest.mark.parametrize("asked", [1, 2])
def test_a_read_is_confirmed_at_the_leader_and_through_a_follower(asked: int) -> None:
    group = Group(1, 2, 3)
    leader = group.elect(1)
    group.nodes[asked].read_index(b"r")
    group.settle()
    assert group.reads[asked] == [ReadState(leader.log.committed, b"r")]


def test_handover() -> None:
    """Thesis 3.10."""
    group = Group(1, 2, 3)
    leader = group.elect(1)
    leader.transfer_leadership(3)
    with pytest.raises(ProposalDropped):
        leader.propose(b"x")
    group.settle()
    assert group.nodes[3].role == Role.LEADER


def test_joint_change_with_a_snapshot_for_the_new_one() -> None:
    """Section 6: replace member 3 by 4, and leave the joint configuration without being asked."""
    group = Group(1, 2, 3)
    leader = group.elect(1)
    leader.propose(b"before")
    group.settle()
    group.join(4)
    leader.propose_conf_change(ConfChangeV2((ConfChangeSingle(ConfChangeType.REMOVE_NODE, 3), ConfChangeSingle(ConfChangeType.ADD_NODE, 4))))
    group.tick(6)
    assert leader.status().conf_state == ConfState((1, 2, 4))
    assert group.nodes[4].status().applied == leader.status().applied


def test_explicit_joint_waits_to_be_left() -> None:
    group = Group(1, 2, 3)
    leader = group.elect(1)
    leader.propose_conf_change(ConfChangeV2((ConfChangeSingle(ConfChangeType.REMOVE_NODE, 3),), ConfChangeTransition.JOINT_EXPLICIT))
    group.settle()
    assert leader.status().conf_state == ConfState((1, 2), (), (1, 2, 3))
    with pytest.raises(ProposalDropped):
        leader.propose_conf_change(ConfChangeV2((ConfChangeSingle(ConfChangeType.REMOVE_NODE, 2),)))
    leader.propose_conf_change(ConfChangeV2())
    group.settle()
    assert leader.status().conf_state == ConfState((1, 2))


def test_a_learner_does_not_count_until_it_is_promoted() -> None:
    group = Group(1)
    leader = group.elect(1)
    group.join(2)
    leader.propose_conf_change(ConfChangeV2((ConfChangeSingle(ConfChangeType.ADD_LEARNER_NODE, 2),)))
    group.tick(4)
    group.cut = {2}
    leader.propose(b"alone")
    group.settle()
    assert group.applied[1] == [b"alone"]
    group.cut = set()
    leader.propose_conf_change(ConfChangeV2((ConfChangeSingle(ConfChangeType.ADD_NODE, 2),)))
    group.tick(4)
    group.cut = {2}
    leader.propose(b"not by itself")
    group.settle()
    assert group.applied[1] == [b"alone"]


def test_the_last_voter_stays() -> None:
    group = Group(1)
    leader = group.elect(1)
    with pytest.raises(ConfChangeRefused):
        leader.propose_conf_change(ConfChangeV2((ConfChangeSingle(ConfChangeType.REMOVE_NODE, 1),)))


def test_figure_8_an_older_entry_is_not_committed_by_counting() -> None:
    log = RaftLog([Entry(1, 1), Entry(2, 2), Entry(4, 3)])
    assert not log.maybe_commit(2, 4)
    assert log.maybe_commit(3, 4)
    assert log.committed == 3


def _log(*terms: int) -> RaftLog:
    return RaftLog([Entry(term, at) for at, term in enumerate(terms, 1)])


@pytest.mark.parametrize(
    "terms",
    [(1, 1, 1, 4, 4, 5, 5, 6, 6), (1, 1, 1, 4), (1, 1, 1, 4, 4, 4, 4), (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3), (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6)],
)
def test_figure_7_every_follower_ends_with_the_leaders_log(terms: tuple[int, ...]) -> None:
    leader, follower = _log(1, 1, 1, 4, 4, 5, 5, 6, 6, 6), _log(*terms)
    at = leader.last_index
    for _ in range(5):
        entries = leader.slice(at + 1, leader.last_index, 10**6)
        if follower.maybe_append(at, leader.term(at) or 0, 0, entries) is not None:
            break
        hint = follower.find_conflict_by_term(at, leader.term(at) or 0)
        at = min(at - 1, leader.find_conflict_by_term(hint, follower.term(hint) or 0))
    assert [follower.term(index) for index in range(1, 11)] == [leader.term(index) for index in range(1, 11)]


def test_one_vote_a_term_over_a_restart_and_only_for_a_log_as_good() -> None:
    """Sections 5.2, 5.4.1."""
    start = Start(ConfState((1, 2, 3)), HardState(5, 2, 1), [Entry(4, 2)], 1, 1, 1)
    node = RawNode(Config(id=1), random.Random(1), start, lambda: None)
    for candidate, log_term in ((3, 4), (2, 3), (2, 4)):
        node.step(Message(type=T.VOTE, from_=candidate, to=1, term=5, index=2, log_term=log_term))
    assert [(m.to, m.reject) for m in node.ready().messages_after_persist] == [(3, True), (2, True), (2, False)]


def test_an_append_is_answered_only_after_the_disk() -> None:
    node = RawNode(Config(id=1), random.Random(1), first_start((1, 2)), lambda: None)
    node.step(Message(type=T.APP, from_=2, to=1, term=1, index=1, log_term=1, entries=(Entry(1, 2, b"x"),), commit=2))
    ready = node.ready()
    assert (ready.must_sync, list(ready.messages), [m.type for m in ready.messages_after_persist]) == (True, [], [T.APP_RESP])
    assert not ready.committed_entries
    node.advance()
    assert [entry.data for entry in node.ready().committed_entries] == [b"x"]


def test_the_window_bounds_what_is_sent_ahead() -> None:
    group = Group(1, 2)
    group.nodes[1] = RawNode(Config(id=1, max_inflight_messages=2), random.Random(1), first_start((1, 2)), lambda: None)
    leader = group.elect(1)
    for number in range(5):
        leader.propose(b"%d" % number)
    assert len([m for m in leader.ready().messages if m.type == T.APP]) == 2
    leader.advance()


def _entry_of(index: int, *changes: tuple[ConfChangeType, int]) -> Entry:
    change = ConfChangeV2(tuple(ConfChangeSingle(*each) for each in changes))
    return Entry(5, index, raftpb.encode_conf_change(change), EntryType.CONF_CHANGE_V2)


def test_a_voter_learns_from_a_refusal_that_the_others_have_been_demoted() -> None:
    """1 led and crashed as it left the joint configuration: 1 and 3 have the longer logs, and are learners; 2 does not know it yet."""
    joint = ConfState((2,), (), (1, 2, 3), (1, 3), auto_leave=True)
    leave, more = _entry_of(3), Entry(5, 4, b"nobody waits for it")
    after = ConfState((2,), (1, 3))
    group = Group(1, 2, 3)
    for number in (1, 3):
        group.nodes[number] = group._node(number, Start(after, HardState(5, 1, 3), [leave, more], offset=2, offset_term=5, applied=3))
    group.nodes[2] = group._node(2, Start(joint, HardState(5, 1, 2), [leave], offset=2, offset_term=5, applied=2))
    group.tick(100)
    assert group.nodes[2].role == Role.LEADER
    assert group.nodes[2].status().conf_state == after
    assert {node.log.last_term for node in group.nodes.values()} == {group.nodes[2].term}


def test_a_learner_learns_from_a_vote_request_that_it_was_promoted() -> None:
    """1 led, is gone, and had told 2 that 3 is a voter now; 3 has the longest log and must lead: 2 alone is no majority."""
    before, after = ConfState((1, 2), (3,)), ConfState((1, 2, 3))
    promote, more = _entry_of(3, (ConfChangeType.ADD_NODE, 3)), Entry(5, 4, b"more")
    group = Group(1, 2, 3)
    group.nodes[2] = group._node(2, Start(after, HardState(5, 1, 3), [promote], offset=2, offset_term=5, applied=3))
    group.nodes[3] = group._node(3, Start(before, HardState(5, 1, 2), [promote, more], offset=2, offset_term=5, applied=2))
    group.cut = {1}
    group.tick(100)
    assert group.nodes[3].role == Role.LEADER
    assert group.applied[2] == [b"more"]


def test_a_commit_is_learned_only_of_an_entry_that_the_log_has() -> None:
    node = Group(1, 2, 3)._node(1, Start(ConfState((1, 2, 3)), HardState(5, 0, 1), [Entry(5, 2, b"other")], offset=1, offset_term=1, applied=1))
    ask = {"from_": 2, "term": 7, "index": 9, "log_term": 6, "commit": 2}
    node.step(Message(type=T.VOTE, **ask, commit_term=6))
    assert node.status().hard_state.commit == 1
    node.step(Message(type=T.VOTE, **ask, commit_term=5))
    assert node.status().hard_state.commit == 2


def test_messages_survive_the_wire() -> None:
    snapshot = Snapshot(7, 3, ConfState((1, 2), (3,), (1,), (2,), True), b"state")
    message = Message(type=T.SNAP, to=1, from_=2, term=3, entries=(Entry(1, 2, b"x"),), snapshot=snapshot, reject=True, reject_hint=9, context=b"c")
    vote = Message(type=T.VOTE, to=1, from_=2, term=3, index=9, log_term=2, commit=7, commit_term=1)
    for each in (message, vote):
        assert raftpb.decode_message(raftpb.encode_message(each)) == each
    assert raftpb.encode_entry(Entry(2, 3, b"hi")).hex() == "1002180322026869"
