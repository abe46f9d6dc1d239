"""What a member does with a message: first the rule of terms (§5.1), then the table of its role."""

from collections.abc import Callable
from dataclasses import replace

from k8sfromscratch.core.raft import election, raftpb, reads, replication
from k8sfromscratch.core.raft.progress import Progress
from k8sfromscratch.core.raft.state import Raft
from k8sfromscratch.core.raft.types import CAMPAIGN_TRANSFER, NONE, ConfChangeV2, Entry, EntryType, Message, MessageType, ProposalDropped, ReadState, Role

T = MessageType
_VOTES = (T.VOTE, T.PRE_VOTE)
_ELECTION = (*_VOTES, T.VOTE_RESP, T.PRE_VOTE_RESP)
_FROM_LEADER = (T.APP, T.HEARTBEAT, T.SNAP)


def step(r: Raft, m: Message) -> None:
    """Raises ProposalDropped for a proposal, or a read, that is not begun."""
    if m.type in _ELECTION:
        election.learn_commit(r, m)
    if m.term > r.term:
        if m.type in _VOTES and m.context != CAMPAIGN_TRANSFER and election.leader_is_alive(r):
            return
        granted = m.type == T.PRE_VOTE_RESP and not m.reject
        if m.type != T.PRE_VOTE and not granted:  # neither begins the term it speaks of
            r.become_follower(m.term, m.from_ if m.type in _FROM_LEADER else NONE)
    elif 0 < m.term < r.term:
        _of_earlier_term(r, m)
        return
    if m.type == T.HUP:
        election.hup(r)
    elif m.type in _VOTES:
        election.handle_vote_request(r, m)
    else:
        _ROLES[r.role](r, m)


def _of_earlier_term(r: Raft, m: Message) -> None:
    """Ignored, but for two: a leader of an earlier term must learn of this one, which a member with a later term cannot tell it by campaigning when
    votes are refused; and a pre-candidate must learn of the term it has missed."""
    if m.type in (T.APP, T.HEARTBEAT) and (r.config.check_quorum or r.config.pre_vote):
        r.send(Message(type=T.APP_RESP, to=m.from_))
    elif m.type == T.PRE_VOTE:
        election.refuse(r, m)


def _leader(r: Raft, m: Message) -> None:
    if m.type == T.PROP:
        propose(r, m.entries)
    elif m.type == T.READ_INDEX:
        reads.handle_request(r, m)
    elif m.from_ in r.progress and m.type in _LEADER_OF_MEMBER:
        _LEADER_OF_MEMBER[m.type](r, m, r.progress[m.from_])


def propose(r: Raft, entries: tuple[Entry, ...]) -> None:
    if r.id not in r.progress:
        raise ProposalDropped("this member was removed")
    if r.lead_transferee:
        raise ProposalDropped("the leadership is being handed over")
    for entry in entries:
        if entry.type != EntryType.NORMAL:
            _check_conf_change(r, raftpb.decode_conf_change(entry))
    first = r.log.last_index + 1
    replication.append_own(r, [(entry.type, entry.data) for entry in entries])
    for at, entry in enumerate(entries):
        if entry.type != EntryType.NORMAL:
            r.pending_conf_index = first + at
    replication.broadcast_append(r)


def _check_conf_change(r: Raft, change: ConfChangeV2) -> None:
    if r.pending_conf_index > r.log.applied:
        raise ProposalDropped("another change of members is not applied yet")
    if r.conf.joint and not change.leaves_joint:
        raise ProposalDropped("the configuration is joint: it must be left first")
    if not r.conf.joint and change.leaves_joint:
        raise ProposalDropped("the configuration is not joint")


def _transfer(r: Raft, m: Message, progress: Progress) -> None:
    """Thesis §3.10: nothing is taken any more, the other is brought up to date, then told to campaign at once."""
    if progress.learner or m.from_ in (r.id, r.lead_transferee):
        return
    r.lead_transferee, r.election_elapsed = m.from_, 0
    if progress.match == r.log.last_index:
        r.send(Message(type=T.TIMEOUT_NOW, to=m.from_))
    else:
        replication.send_append(r, m.from_)


_LEADER_OF_MEMBER: dict[MessageType, Callable[[Raft, Message, Progress], None]] = {
    T.APP_RESP: replication.handle_append_response,
    T.HEARTBEAT_RESP: replication.handle_heartbeat_response,
    T.SNAP_STATUS: replication.handle_snapshot_status,
    T.UNREACHABLE: lambda r, m, progress: replication.handle_unreachable(progress),
    T.TRANSFER_LEADER: _transfer,
}


def _candidate(r: Raft, m: Message) -> None:
    if m.type in _FROM_LEADER:
        r.become_follower(m.term, m.from_)
        _follower(r, m)
    elif m.type in (T.VOTE_RESP, T.PRE_VOTE_RESP):
        election.handle_vote_response(r, m)
    elif m.type in (T.PROP, T.READ_INDEX):
        raise ProposalDropped("there is no leader")


_FOLLOWS = {T.APP: replication.handle_append, T.HEARTBEAT: replication.handle_heartbeat, T.SNAP: replication.handle_snapshot}


def _follower(r: Raft, m: Message) -> None:
    if m.type in _FROM_LEADER:
        r.election_elapsed, r.lead = 0, m.from_
        _FOLLOWS[m.type](r, m)
    elif m.type in (T.PROP, T.READ_INDEX, T.TRANSFER_LEADER):
        if r.lead == NONE:
            raise ProposalDropped("there is no leader")
        r.send(replace(m, to=r.lead, from_=m.from_ or r.id, term=0))
    elif m.type == T.TIMEOUT_NOW:
        election.hup(r, transfer=True)
    elif m.type == T.READ_INDEX_RESP:
        r.read_states.append(ReadState(m.index, m.context))


_ROLES: dict[Role, Callable[[Raft, Message], None]] = {
    Role.FOLLOWER: _follower,
    Role.CANDIDATE: _candidate,
    Role.PRE_CANDIDATE: _candidate,
    Role.LEADER: _leader,
}
