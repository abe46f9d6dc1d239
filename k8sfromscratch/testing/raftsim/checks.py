"""What must hold at every moment of a run, whatever fails (figure 3 of the paper), and what its clients may see."""

from dataclasses import dataclass, field

from k8sfromscratch.core.mvcc.types import Event
from k8sfromscratch.core.raft.node import RawNode, Ready
from k8sfromscratch.core.raft.types import Entry, Message, MessageType, Role
from k8sfromscratch.testing.linearizability import Operation, is_linearizable


class Violation(AssertionError):
    """The run has shown a bug."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)


@dataclass(slots=True)
class Checks:
    leaders: dict[int, int] = field(default_factory=dict)
    votes: dict[tuple[int, int], int] = field(default_factory=dict)
    written: dict[tuple[int, int], tuple[bytes, int | None]] = field(default_factory=dict)
    """(index, term) -> (data, term of the entry before)."""
    committed: dict[int, Entry] = field(default_factory=dict)
    outcomes: dict[int, object] = field(default_factory=dict)
    """What applying the entry at an index did."""
    events: dict[int, list[Event]] = field(default_factory=dict)
    """By revision."""
    operations: dict[bytes, list[Operation]] = field(default_factory=dict)
    lease_alive_until: dict[int, int] = field(default_factory=dict)
    _own_commit: dict[int, tuple[int, int]] = field(default_factory=dict)

    def ready(self, node: RawNode, ready: Ready) -> list[tuple[Entry, int | None]]:
        """The entries with the terms before them: to be given to `persisted` when they are."""
        if node.role == Role.LEADER:
            self._leads(node)
        return [(entry, node.log.term(entry.index - 1)) for entry in ready.entries]

    def _leads(self, node: RawNode) -> None:
        new = (node.term, node.id) not in self.leaders.items()
        require(self.leaders.setdefault(node.term, node.id) == node.id, f"election safety: two leaders in term {node.term}")
        log = node.log
        if new:
            for index, entry in self.committed.items():
                if index > log.offset:
                    require(log.term(index) == entry.term, f"leader completeness: leader {node.id} of term {node.term} lacks committed entry {index}")
            self._own_commit[node.id] = (node.term, log.committed)
        term, before = self._own_commit.get(node.id, (0, 0))
        if term == node.term and log.committed > before:
            require(log.term(log.committed) == node.term, f"leader {node.id} commits entry {log.committed} of an earlier term by counting (5.4.2)")
            self._own_commit[node.id] = (term, log.committed)

    def sent(self, m: Message) -> None:
        """What left the member counts, not what its disk lost before anybody heard of it."""
        if m.type == MessageType.VOTE or (m.type == MessageType.VOTE_RESP and not m.reject):
            vote = m.from_ if m.type == MessageType.VOTE else m.to
            require(self.votes.setdefault((m.from_, m.term), vote) == vote, f"member {m.from_} votes twice in term {m.term}")

    def persisted(self, entries: list[tuple[Entry, int | None]]) -> None:
        for entry, term_before in entries:
            found = (entry.data, term_before)
            same = self.written.setdefault((entry.index, entry.term), found) == found
            require(same, f"log matching: two different entries {entry.index} of term {entry.term}, or different ones before it")

    def applied(self, member: int, before: int, entry: Entry) -> None:
        require(entry.index == before + 1, f"member {member} applies entry {entry.index} after {before}")
        known = self.committed.setdefault(entry.index, entry)
        require(known == entry, f"state machine safety: member {member} applies another entry {entry.index}")

    def outcome(self, member: int, index: int, outcome: object) -> None:
        require(self.outcomes.setdefault(index, outcome) == outcome, f"member {member}: applying entry {index} did something else here")

    def revoked(self, lease: int, now: int) -> None:
        until = self.lease_alive_until.get(lease, 0)
        require(now >= until, f"lease {lease} was renewed until {until} and is revoked at {now}")

    def watched(self, watcher: int, since: int, received: list[tuple[int, list[Event]]], last: int) -> None:
        """Ordered, unique, complete: exactly the revisions from `since` to `last`, each whole."""
        expected = [(revision, self.events[revision]) for revision in sorted(self.events) if since <= revision <= last]
        require(received == expected, f"watch {watcher} got {[r for r, _ in received]} of {[r for r, _ in expected]}")

    def histories(self) -> None:
        for key, operations in self.operations.items():
            require(is_linearizable(operations), f"the history of {key!r} is not linearizable")
