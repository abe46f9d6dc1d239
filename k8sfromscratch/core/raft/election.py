"""Elections: who asks for votes, who gets one, and when a leader stops believing in itself (§5.2, §5.4.1; thesis §6.2, §9.6).

A pre-vote asks "would you vote for me?" in the next term without beginning it, so that a member that was cut off does not end a good leader's term
when it comes back.  With check-quorum a member that hears from its leader refuses votes (the leader's lease), and a leader that does not hear from
a majority within an election timeout steps down.

Votes and their answers say what their sender knows to be committed (commit, commit_term).  A member goes by the configuration it has applied, and
learns what is committed from a leader; where the last leader is gone and had told only some, those who know of a change may be no voters any more,
or need the vote of one that does not know it is a voter and has the longer log: without a leader nobody would tell it, and so there would be none.

    1 led, and crashed: it has applied "leave: voters 2, learners 1 3", as 3 has, and its log is longer than 2's by an entry that nobody waits for
    2 (has the leave, not that it is committed) asks 1 2 3: refused by 1 and 3 for its shorter log; they ask nobody, being learners
      ... with the refusal comes "committed: 4, term 5": 2 has that entry, applies it, and is a majority by itself

An entry with that index and term is the same in every log (log matching), and what is committed stays so: whoever says it, and in whichever term.
"""

from dataclasses import replace

from k8sfromscratch.core.raft import quorum, replication
from k8sfromscratch.core.raft.state import Raft
from k8sfromscratch.core.raft.types import CAMPAIGN_TRANSFER, NONE, EntryType, Message, MessageType, Role

RESPONSE_OF = {MessageType.VOTE: MessageType.VOTE_RESP, MessageType.PRE_VOTE: MessageType.PRE_VOTE_RESP}


def hup(r: Raft, *, transfer: bool = False) -> None:
    """Begins an election, unless this member may not: not a voter, or a change of members is committed that it has not applied."""
    if r.role == Role.LEADER or not r.promotable:
        return
    if _change_is_unapplied(r):
        return
    if r.config.pre_vote and not transfer:
        r.become_pre_candidate()
        r.restart_election_timer()
        _ask(r, MessageType.PRE_VOTE, r.term + 1, b"")
    else:
        _campaign(r, CAMPAIGN_TRANSFER if transfer else b"")


def _change_is_unapplied(r: Raft) -> bool:
    return any(entry.type != EntryType.NORMAL for entry in r.log.slice(r.log.applied + 1, r.log.committed, 2**62))


def _campaign(r: Raft, context: bytes) -> None:
    r.become_candidate()
    _ask(r, MessageType.VOTE, r.term, context)


def _ask(r: Raft, kind: MessageType, term: int, context: bytes) -> None:
    for member in sorted(r.voters - {r.id}):
        ask = Message(type=kind, to=member, term=term, index=r.log.last_index, log_term=r.log.last_term, context=context)
        r.send(_with_commit(r, ask))
    _count(r, r.id, True)


def _count(r: Raft, member: int, granted: bool) -> None:
    r.votes.setdefault(member, granted)
    result = quorum.joint_vote_result(r.conf.voters, r.conf.outgoing, r.votes)
    if result is True:
        if r.role == Role.PRE_CANDIDATE:
            _campaign(r, b"")
        else:
            r.become_leader()
            replication.append_own(r, [(EntryType.NORMAL, b"")])
            replication.broadcast_append(r)
    elif result is False:
        r.become_follower(r.term, NONE)


def handle_vote_request(r: Raft, m: Message) -> None:
    """At most one vote a term, and only for a log that is as up to date as this one (§5.2, §5.4.1).  A pre-vote promises nothing."""
    may = r.vote == m.from_ or (r.vote == NONE and r.lead == NONE) or (m.type == MessageType.PRE_VOTE and m.term > r.term)
    if may and r.log.is_up_to_date(m.index, m.log_term):
        r.send(_with_commit(r, Message(type=RESPONSE_OF[m.type], to=m.from_, term=m.term)))
        if m.type == MessageType.VOTE:
            r.election_elapsed, r.vote = 0, m.from_
    else:
        refuse(r, m)


def refuse(r: Raft, m: Message) -> None:
    r.send(_with_commit(r, Message(type=RESPONSE_OF[m.type], to=m.from_, term=r.term, reject=True)))


def handle_vote_response(r: Raft, m: Message) -> None:
    mine = MessageType.PRE_VOTE_RESP if r.role == Role.PRE_CANDIDATE else MessageType.VOTE_RESP
    if m.type == mine and r.conf.is_voter(m.from_):
        _count(r, m.from_, not m.reject)


def _with_commit(r: Raft, m: Message) -> Message:
    return replace(m, commit=r.log.committed, commit_term=r.log.term(r.log.committed) or 0)


def learn_commit(r: Raft, m: Message) -> None:
    """From a vote or its answer.  Who finds a change of members among it does not go on with an election by the old ones; a leader has its own rule."""
    if r.role == Role.LEADER or not m.commit_term or not r.log.matches(m.commit, m.commit_term):
        return
    r.log.commit_to(m.commit)
    if r.role in (Role.CANDIDATE, Role.PRE_CANDIDATE) and _change_is_unapplied(r):
        r.become_follower(r.term, NONE)


def leader_is_alive(r: Raft) -> bool:
    """This member has heard from a leader within the shortest election timeout, and so refuses to help end its term."""
    return r.config.check_quorum and r.lead != NONE and r.election_elapsed < r.config.election_tick


def check_quorum(r: Raft) -> None:
    """A leader that a majority may have left behind steps down: its clients go elsewhere (thesis §6.2)."""
    active = {member: progress.recent_active or member == r.id for member, progress in r.progress.items()}
    if quorum.joint_vote_result(r.conf.voters, r.conf.outgoing, active) is not True:
        r.become_follower(r.term, NONE)
        return
    for member, progress in r.progress.items():
        progress.recent_active = member == r.id


def tick(r: Raft) -> None:
    r.election_elapsed += 1
    if r.role != Role.LEADER:
        if r.promotable and r.election_elapsed >= r.election_timeout:
            r.election_elapsed = 0
            hup(r)
        return
    r.heartbeat_elapsed += 1
    if r.election_elapsed >= r.config.election_tick:
        r.election_elapsed = 0
        if r.config.check_quorum:
            check_quorum(r)
        if r.role == Role.LEADER and not r.conf.is_voter(r.id):
            _hand_over(r)
        r.lead_transferee = NONE  # a handover that took that long has failed (thesis §3.10)
    if r.role == Role.LEADER and r.heartbeat_elapsed >= r.config.heartbeat_tick:
        r.heartbeat_elapsed = 0
        replication.broadcast_heartbeat(r)


def _hand_over(r: Raft) -> None:
    """A leader that is no voter any more leads on until the others know that the change is committed (§6): did it stop at once, those that do not
    might need its vote and not get it, as its log is longer.  Then the one that has most is told to campaign."""
    best = max(r.conf.voters, key=lambda member: (r.progress[member].match, -member))
    r.send(Message(type=MessageType.TIMEOUT_NOW, to=best))
