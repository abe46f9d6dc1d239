"""Linearizable reads without a log entry: ReadIndex (thesis §6.4, §6.4.1).

    client ─ read_index(context) ─► leader: remembers its commit index, asks a majority "am I still the leader?" with the next heartbeats
           ◄─ ReadState(index, context): the read is served as soon as `index` is applied

A leader that was replaced without knowing it gets no majority, so no read misses a write that was acknowledged before it began.
Only a leader that has committed an entry of its own term knows what is committed (§8): earlier requests wait.
"""

from k8sfromscratch.core.raft import quorum, replication
from k8sfromscratch.core.raft.state import PendingRead, Raft
from k8sfromscratch.core.raft.types import Message, MessageType, ProposalDropped, ReadState


def handle_request(r: Raft, m: Message) -> None:
    """At a leader.  Raises ProposalDropped when too many wait."""
    if len(r.pending_reads) + len(r.early_reads) >= r.config.max_pending_reads:
        raise ProposalDropped("too many reads wait")
    if not r.has_own_commit:
        r.early_reads.append(m)
        return
    _begin(r, m)


def _begin(r: Raft, m: Message) -> None:
    if quorum.joint_vote_result(r.conf.voters, r.conf.outgoing, {r.id: True}) is True:
        _answer(r, m, r.log.committed)
        return
    r.pending_reads.append(PendingRead(r.log.committed, m, {r.id}))
    replication.broadcast_heartbeat(r)


def release_early(r: Raft) -> None:
    waiting, r.early_reads = r.early_reads, []
    for m in waiting:
        _begin(r, m)


def acknowledge(r: Raft, member: int, context: bytes) -> None:
    """A member has answered the heartbeat that carried this context: it takes this one for the leader, after every read up to that one began."""
    found = next((at for at, read in enumerate(r.pending_reads) if read.request.context == context), None)
    if found is None:
        return
    read = r.pending_reads[found]
    read.acks.add(member)
    if quorum.joint_vote_result(r.conf.voters, r.conf.outgoing, dict.fromkeys(read.acks, True)) is True:
        confirmed, r.pending_reads = r.pending_reads[: found + 1], r.pending_reads[found + 1 :]
        for each in confirmed:
            _answer(r, each.request, each.index)


def _answer(r: Raft, m: Message, index: int) -> None:
    if m.from_ in (0, r.id):
        r.read_states.append(ReadState(index, m.context))
    else:
        r.send(Message(type=MessageType.READ_INDEX_RESP, to=m.from_, index=index, context=m.context))
