"""One member goes on without the others, who are lost for good: `--force-new-cluster`.

    log      … 7 8 | 9 10            8 is the last that this member knows to be committed
    becomes  … 7 8 | 9' 10'          9' and 10' remove the two others, and are committed: in one frame, with the hard state that says so
                                     so a crash finds the log as it was, or as it will be

What is behind the last that is known to be committed was acknowledged to nobody by this member, and may be what the others had given up: it gives way,
as with upstream.  The others' identifiers count as removed: should one of them come back, it is refused, and ends.

A member that is alone already is left as it is: all of its log is committed, however far its last hard state says.  So the flag does no harm where it
stays set.
"""

import logging
from contextlib import closing
from pathlib import Path

from k8sfromscratch.core.raft import raftpb
from k8sfromscratch.core.raft.node import RawNode
from k8sfromscratch.core.raft.state import Config
from k8sfromscratch.core.raft.types import ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry, EntryType
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.applier import Applier
from k8sfromscratch.storage.commit_mark import CommitMark, mark_path
from k8sfromscratch.storage.entries import with_context
from k8sfromscratch.storage.group import Group
from k8sfromscratch.storage.interface import StorageError
from k8sfromscratch.storage.opening import Opened, open_data
from k8sfromscratch.storage.proposals import Proposals

log = logging.getLogger(__name__)


class CannotGoOn(StorageError):
    """The directory is of no member that could go on alone."""


def go_on_alone(data_dir: Path, env: Env, group: Group, quota_bytes: int) -> None:
    """Blocks: for a thread, before the directory is opened to be used.  Raises CannotGoOn, and what `open_data` does."""
    opened = open_data(data_dir, group, quota_bytes, env.clock.monotonic())
    try:
        with closing(CommitMark(mark_path(data_dir))) as mark:
            _go_on_alone(opened, env, group.member_id, mark.index)
    finally:
        opened.wal.close()
        opened.backend.close()


def _go_on_alone(opened: Opened, env: Env, own: int, marked: int) -> None:
    found = opened.start
    committed = max(found.hard_state.commit, min(marked, found.offset + len(found.entries)))
    start = found._replace(hard_state=found.hard_state._replace(commit=committed))
    node = RawNode(Config(id=own), env.rng, start, lambda: None)
    applier = Applier(opened.machine, opened.meta, node, Proposals(env.rng, 1), env.clock, lambda: None)
    while node.has_ready():  # the members are those of the last entry that is committed, not those that the file has
        applier.apply(node.ready().committed_entries)
        node.advance()
    members = opened.machine.membership.members
    if own not in members:
        raise CannotGoOn(f"member {own:x} has joined no cluster yet, or was removed from it: there is nothing that it could go on with")
    others = sorted(members.keys() - {own})
    if not others:
        return
    promoted = [ConfChangeSingle(ConfChangeType.ADD_NODE, own)] if members[own].is_learner else []
    changes = [*promoted, *(ConfChangeSingle(ConfChangeType.REMOVE_NODE, other) for other in others)]
    state = node.status().hard_state
    entries = [
        Entry(state.term, state.commit + number, raftpb.encode_conf_change(with_context(ConfChangeV2((change,)), 0, None)), EntryType.CONF_CHANGE_V2)
        for number, change in enumerate(changes, 1)
    ]
    opened.wal.append(entries, state._replace(commit=entries[-1].index))
    log.warning(
        "member %x goes on alone from entry %d; %d entries behind it, of which it is not known that they were committed, are discarded; removed: %s",
        own,
        state.commit,
        node.log.last_index - state.commit,
        ", ".join(f"{other:x}" for other in others),
    )
