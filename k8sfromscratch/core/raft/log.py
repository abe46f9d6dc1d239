"""One member's log: the entries behind its last snapshot, which of them are on disk, committed, applied (§5.3, §7).

    snapshot      applied      committed                  last
       │             │             │                        │
    ───┴─────────────┴─────────────┴────────┬───────────────┘
       offset                             stable: on this member's disk

    invariant: offset <= applied <= committed <= last, and applied <= stable <= last
    invariant (log matching, §5.3): an entry with the same index and term in two logs is the same, and so is all that stands before it

A worked example, figure 7's follower (f), which led terms 2 and 3 without committing anything:

    leader    1 1 1 4 4 5 5 6 6 6
    follower  1 1 1 2 2 2 3 3 3 3 3

    MsgApp(index=10, log_term=6) finds term 3 at 10: rejected, with the hint (10, term 3): nothing here is of a later term than the probe's.
    The leader has no term up to 3 behind index 3 (1 1 1): it probes at 3, which matches, and the follower cuts off all behind it: one round trip.
"""

from collections.abc import Sequence

from k8sfromscratch.core.raft.types import Entry, Snapshot


class RaftLog:
    def __init__(self, entries: Sequence[Entry] = (), *, offset: int = 0, offset_term: int = 0, committed: int = 0, applied: int = 0) -> None:
        self.offset, self.offset_term = offset, offset_term
        self._entries = list(entries)
        assert not self._entries or self._entries[0].index == offset + 1, "the log's first entry follows its snapshot"
        self.stable = self.last_index
        self.committed = max(committed, offset)
        self.applied = max(applied, offset)
        assert self.applied <= self.committed <= self.last_index, f"applied {self.applied}, committed {self.committed}, last {self.last_index}"
        self.pending_snapshot: Snapshot | None = None
        """Received, and not yet saved by the shell; nothing is applied before it is."""

    @property
    def last_index(self) -> int:
        return self.offset + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.offset_term

    def term(self, index: int) -> int | None:
        """None where the log has no such entry: compacted, or not there yet."""
        if index == self.offset:
            return self.offset_term
        at = index - self.offset - 1
        return self._entries[at].term if 0 <= at < len(self._entries) else None

    def matches(self, index: int, term: int) -> bool:
        return self.term(index) == term

    def slice(self, low: int, high: int, max_bytes: int) -> list[Entry]:
        """Entries low..high, both included: at least one if there is one, no more than `max_bytes` otherwise."""
        found: list[Entry] = []
        size = 0
        for entry in self._entries[max(low - self.offset - 1, 0) : max(high - self.offset, 0)]:
            size += entry.size
            if found and size > max_bytes:
                break
            found.append(entry)
        return found

    def is_up_to_date(self, index: int, term: int) -> bool:
        """Whether a log that ends so may lead this one: the later last term wins, then the longer log (§5.4.1)."""
        return (term, index) >= (self.last_term, self.last_index)

    # Writing

    def append(self, entries: Sequence[Entry]) -> None:
        """At the end, or in place of what stands there and is not committed."""
        if not entries:
            return
        after = entries[0].index - 1
        assert self.committed <= after <= self.last_index, f"entry {after + 1} would replace a committed one, or leave a gap"
        del self._entries[after - self.offset :]
        self.stable = min(self.stable, after)
        self._entries.extend(entries)

    def maybe_append(self, index: int, term: int, commit: int, entries: Sequence[Entry]) -> int | None:
        """A follower's AppendEntries: the last index that is now the leader's, or None where (index, term) is not in this log."""
        if not self.matches(index, term):
            return None
        last_new = index + len(entries)
        for at, entry in enumerate(entries):
            if not self.matches(entry.index, entry.term):
                self.append(entries[at:])
                break
        self.commit_to(min(commit, last_new))
        return last_new

    def find_conflict_by_term(self, index: int, term: int) -> int:
        """The greatest index not above `index` whose term is not above `term`: where a probe may match at the earliest (§5.3, end).
        What has been compacted may match, so the search ends there."""
        index = min(index, self.last_index)
        while index > self.offset and (found := self.term(index)) is not None and found > term:
            index -= 1
        return index

    def commit_to(self, index: int) -> None:
        """Never goes back."""
        if index > self.committed:
            assert index <= self.last_index, f"commit {index} is behind the log's end {self.last_index}: was the log lost?"
            self.committed = index

    def maybe_commit(self, index: int, term: int) -> bool:
        """A leader's commit: what a quorum has, if the entry there is of the leader's own term (§5.4.2, figure 8); older ones come with it."""
        if index > self.committed and self.matches(index, term):
            self.commit_to(index)
            return True
        return False

    # What the shell has done

    def unstable(self) -> list[Entry]:
        return self._entries[self.stable - self.offset :]

    def stable_to(self, index: int, term: int) -> None:
        """The shell has written up to here.  What was replaced meanwhile does not count."""
        if index > self.stable and self.matches(index, term):
            self.stable = index

    def next_committed(self, max_bytes: int) -> list[Entry]:
        """To apply now: committed, and on this member's own disk, so that no start can find less in the log than in the state."""
        if self.pending_snapshot is not None:
            return []
        return self.slice(self.applied + 1, min(self.committed, self.stable), max_bytes)

    def applied_to(self, index: int) -> None:
        if index > self.applied:
            assert index <= self.committed, "only what is committed is applied"
            self.applied = index

    def restore(self, snapshot: Snapshot) -> None:
        """The whole log gives way to a leader's snapshot."""
        self.offset, self.offset_term = snapshot.index, snapshot.term
        self._entries.clear()
        self.stable = self.committed = snapshot.index
        self.pending_snapshot = snapshot

    def saved_snapshot(self, index: int) -> None:
        if self.pending_snapshot is not None and self.pending_snapshot.index == index:
            self.pending_snapshot = None
            self.applied = max(self.applied, index)

    def compact(self, index: int) -> None:
        """Forgets entries up to `index`, which must be applied: who needs them gets a snapshot."""
        assert index <= self.applied, "only what is applied may be forgotten"
        term = self.term(index)
        if term is None or index <= self.offset:
            return
        del self._entries[: index - self.offset]
        self.offset, self.offset_term = index, term
