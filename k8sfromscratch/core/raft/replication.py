"""Log replication: what a leader sends, what a follower answers, when something is committed (§5.3, §5.4.2, §7).

    leader                                   follower
    MsgApp(index, log_term, entries, commit) ──►  has (index, log_term)?  append, MsgAppResp(index = last new)   once that is on its disk
                                             ◄──  no: MsgAppResp(reject, reject_hint, log_term): where the logs may meet
    MsgSnap                                  ──►  what it needs is compacted: the state instead

A leader counts its own entries as anyone else's: when its shell has written them (`persisted`).
"""

from collections.abc import Sequence

from k8sfromscratch.core.raft import quorum, reads
from k8sfromscratch.core.raft.confchange import Configuration
from k8sfromscratch.core.raft.progress import Progress, ProgressState
from k8sfromscratch.core.raft.state import Raft
from k8sfromscratch.core.raft.types import Entry, EntryType, Message, MessageType, ProposalDropped, Role, Snapshot


def append_own(r: Raft, payloads: Sequence[tuple[EntryType, bytes]]) -> None:
    """Raises ProposalDropped when too much is uncommitted; an empty log of them takes one of any size, and empty entries always."""
    size = sum(len(data) for _, data in payloads)
    if size and r.uncommitted_bytes and r.uncommitted_bytes + size > r.config.max_uncommitted_size:
        raise ProposalDropped("too much is uncommitted")
    r.uncommitted_bytes += size
    last = r.log.last_index
    r.log.append([Entry(r.term, last + at, data, kind) for at, (kind, data) in enumerate(payloads, 1)])


def persisted(r: Raft) -> None:
    """The shell has written the log up to `stable`: a leader's own entries count from here on."""
    if r.role == Role.LEADER and r.id in r.progress and r.progress[r.id].maybe_update(r.log.stable) and maybe_commit(r):
        broadcast_append(r)


def maybe_commit(r: Raft) -> bool:
    index = quorum.joint_committed(r.conf.voters, r.conf.outgoing, lambda member: r.progress[member].match)
    if not r.log.maybe_commit(index, r.term):
        return False
    reads.release_early(r)
    return True


def broadcast_append(r: Raft) -> None:
    for member in sorted(r.progress):
        if member != r.id:
            send_append(r, member)


def send_append(r: Raft, to: int, *, even_empty: bool = True) -> bool:
    """The next entries for this member, or a snapshot where they are compacted.  Whether something was sent."""
    progress = r.progress[to]
    if progress.paused:
        return False
    previous = progress.next - 1
    log_term = r.log.term(previous)
    if log_term is None:
        return _send_snapshot(r, to, progress)
    entries = r.log.slice(progress.next, r.log.last_index, r.config.max_size_per_message)
    if not entries and not even_empty:
        return False
    r.send(Message(type=MessageType.APP, to=to, index=previous, log_term=log_term, entries=tuple(entries), commit=r.log.committed))
    progress.sent(previous + len(entries), sum(entry.size for entry in entries))
    return True


def _send_snapshot(r: Raft, to: int, progress: Progress) -> bool:
    snapshot = r.snapshot_source() if progress.recent_active else None
    if snapshot is None:
        return False
    r.send(Message(type=MessageType.SNAP, to=to, snapshot=snapshot))
    progress.become_snapshot(snapshot.index)
    return True


def broadcast_heartbeat(r: Raft) -> None:
    """Carries the newest read that waits: its answers confirm all before it."""
    context = r.pending_reads[-1].request.context if r.pending_reads else b""
    for member in sorted(r.progress):
        if member != r.id:
            # A follower may not have what is committed: it is told no more than it is known to have.
            commit = min(r.progress[member].match, r.log.committed)
            r.send(Message(type=MessageType.HEARTBEAT, to=member, commit=commit, context=context))


# A leader's ear


def handle_append_response(r: Raft, m: Message, progress: Progress) -> None:
    progress.recent_active = True
    if m.reject:
        hint = r.log.find_conflict_by_term(m.reject_hint, m.log_term) if m.log_term else m.reject_hint
        if progress.maybe_decrease(m.index, hint):
            if progress.state == ProgressState.REPLICATE:
                progress.become_probe()
            send_append(r, m.from_)
        return
    was_paused = progress.paused
    news = progress.maybe_update(m.index)
    if not news and not (progress.state == ProgressState.PROBE and progress.match == m.index):
        return
    match progress.state:
        case ProgressState.PROBE:
            progress.become_replicate()
        case ProgressState.SNAPSHOT:
            if progress.match + 1 > r.log.offset:
                progress.become_probe()
                progress.become_replicate()
        case ProgressState.REPLICATE:
            progress.free_to(m.index)
    if maybe_commit(r):
        broadcast_append(r)
    elif was_paused:
        send_append(r, m.from_)
    while m.from_ in r.progress and send_append(r, m.from_, even_empty=False):
        if r.progress[m.from_].state != ProgressState.REPLICATE:
            break
    if m.from_ == r.lead_transferee and progress.match == r.log.last_index:
        r.send(Message(type=MessageType.TIMEOUT_NOW, to=m.from_))


def handle_heartbeat_response(r: Raft, m: Message, progress: Progress) -> None:
    progress.recent_active = True
    progress.probe_sent = False
    if progress.state == ProgressState.REPLICATE and progress.full:
        progress.free_first()
    if progress.match < r.log.last_index or progress.state == ProgressState.PROBE:
        send_append(r, m.from_)
    if m.context:
        reads.acknowledge(r, m.from_, m.context)


def handle_snapshot_status(r: Raft, m: Message, progress: Progress) -> None:
    """From the shell: the snapshot went through, or (`reject`) it did not."""
    if progress.state != ProgressState.SNAPSHOT:
        return
    if m.reject:
        progress.pending_snapshot = 0
    progress.become_probe()
    progress.probe_sent = True  # its own answer, or the next heartbeat's, comes first


def handle_unreachable(progress: Progress) -> None:
    """From the shell: messages were lost, so nothing is sent ahead any more."""
    if progress.state == ProgressState.REPLICATE:
        progress.become_probe()


# A follower


def handle_append(r: Raft, m: Message) -> None:
    if m.index < r.log.committed:
        r.send(Message(type=MessageType.APP_RESP, to=m.from_, index=r.log.committed))
        return
    last = r.log.maybe_append(m.index, m.log_term, m.commit, m.entries)
    if last is not None:
        r.send(Message(type=MessageType.APP_RESP, to=m.from_, index=last))
        return
    hint = r.log.find_conflict_by_term(m.index, m.log_term)
    term = r.log.term(hint) or 0
    r.send(Message(type=MessageType.APP_RESP, to=m.from_, index=m.index, reject=True, reject_hint=hint, log_term=term))


def handle_heartbeat(r: Raft, m: Message) -> None:
    r.log.commit_to(m.commit)
    r.send(Message(type=MessageType.HEARTBEAT_RESP, to=m.from_, context=m.context))


def handle_snapshot(r: Raft, m: Message) -> None:
    assert m.snapshot is not None, "a snapshot message without a snapshot"
    restored = _restore(r, m.snapshot)
    r.send(Message(type=MessageType.APP_RESP, to=m.from_, index=r.log.last_index if restored else r.log.committed))


def _restore(r: Raft, snapshot: Snapshot) -> bool:
    """Whether the log gave way.  It does not for what is known already, or is in this log (§7: then the entries behind it are kept)."""
    if snapshot.index <= r.log.committed:
        return False
    if r.log.matches(snapshot.index, snapshot.term):
        r.log.commit_to(snapshot.index)
        return False
    r.log.restore(snapshot)
    r.conf = Configuration.of(snapshot.conf_state)
    r.follow_members()
    return True
