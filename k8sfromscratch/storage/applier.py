"""What is committed, applied in order: records to the machine, changes of members to Raft and the membership; results to those who proposed them.

What was proposed here is not read again: its operation is found by the number of its request.  What another member proposed, or an earlier process,
is read from the entry.

    invariant: `index`, `term` and `conf_state` are of the last entry that was applied
"""

from collections.abc import Callable, Sequence

from k8sfromscratch.core.mvcc.errors import MvccError
from k8sfromscratch.core.mvcc.types import Event
from k8sfromscratch.core.raft import confchange, raftpb
from k8sfromscratch.core.raft.node import RawNode
from k8sfromscratch.core.raft.types import ConfChangeRefused, Entry
from k8sfromscratch.process.clock import Clock
from k8sfromscratch.storage.entries import HEAD_BYTES, read_context, read_head
from k8sfromscratch.storage.group import LastVoter, MembershipRefused
from k8sfromscratch.storage.lmdb_backend import Meta
from k8sfromscratch.storage.machine import Kind, Machine, read
from k8sfromscratch.storage.proposals import Proposals

Published = Callable[[int, Sequence[Event]], None]


class Applier:
    def __init__(self, machine: Machine, meta: Meta, node: RawNode, proposals: Proposals, clock: Clock, members_changed: Callable[[], None]) -> None:
        self.machine, self._node, self._proposals, self._clock = machine, node, proposals, clock
        self.index, self.term, self.conf_state = meta.index, meta.term, meta.conf_state
        self._members_changed = members_changed
        self.subscribers: list[Published] = []

    def meta(self) -> Meta:
        store = self.machine.store
        return Meta(self.index, store.revision, store.compact_revision, self.term, self.conf_state)

    def take_over(self, machine: Machine, meta: Meta) -> None:
        """A leader's snapshot is in the place of everything."""
        self.machine.take_over(machine)
        self.index, self.term, self.conf_state = meta.index, meta.term, meta.conf_state
        self._members_changed()

    def apply(self, entries: Sequence[Entry]) -> None:
        """Raises WalError for a record of a kind that this version does not know."""
        now, pending = self._clock.monotonic(), self._proposals.pending
        for entry in entries:
            self.index, self.term = entry.index, entry.term
            if entry.type:
                self._change_members(entry)
                continue
            data = entry.data
            if not data:
                continue
            kind, request = read_head(data)
            proposal = pending.pop(request, None)
            op = proposal.op if proposal is not None else read(kind, data[HEAD_BYTES:])
            try:
                result, revision, events = self.machine.apply(kind, op, now)
            except (MvccError, MembershipRefused) as refused:
                if proposal is not None and proposal.done is not None:
                    proposal.done(None, refused)
                continue
            if events:
                for published in self.subscribers:
                    published(revision, events)
            if kind == Kind.MEMBER:
                self._members_changed()
            if proposal is not None and proposal.done is not None:
                proposal.done(result, None)

    def _change_members(self, entry: Entry) -> None:
        """Refused alike on every member: by the membership, or by Raft's own rules; then Raft is not told of it."""
        change = raftpb.decode_conf_change(entry)
        request, added = read_context(change)
        proposal = self._proposals.pending.pop(request, None)
        error: Exception | None = None
        try:
            self.machine.membership.check(change, added)
            confchange.changed(confchange.Configuration.of(self.conf_state), change)
        except MembershipRefused as refused:
            error = refused
        except ConfChangeRefused:
            error = LastVoter()
        if error is None:
            self.conf_state = self._node.apply_conf_change(entry)
            self.machine.membership.change(change, added)
            self.machine.changes += 1
            self._members_changed()
        if proposal is not None and proposal.done is not None:
            proposal.done(None, error)
