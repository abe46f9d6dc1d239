"""One simulated member: a RawNode, its disk, and the state machine that real members run (`storage.machine`)."""

from collections.abc import Callable, Sequence
from random import Random

from k8sfromscratch.core.mvcc.errors import MvccError
from k8sfromscratch.core.mvcc.store import MvccStore
from k8sfromscratch.core.mvcc.types import Event
from k8sfromscratch.core.raft.node import RawNode, Ready
from k8sfromscratch.core.raft.state import Config
from k8sfromscratch.core.raft.types import Entry, EntryType, Role, Snapshot
from k8sfromscratch.storage.machine import Kind, Machine, read
from k8sfromscratch.testing.raftsim.checks import Checks
from k8sfromscratch.testing.raftsim.disk import Disk, Record


class Member:
    """`up` from its start to its crash; a start after that makes a new one on the same disk."""

    def __init__(self, config: Config, random: Random, disk: Disk, checks: Checks, now: Callable[[], int]) -> None:
        self.id, self.disk = config.id, disk
        self._checks, self._now = checks, now
        start = disk.recover()
        self.node = RawNode(config, random, start, self._snapshot)
        self.conf = start.conf_state
        self.applied = start.applied
        self.machine = Machine(MvccStore())
        self._replay(self.applied)
        self.up = True
        self.led_term = 0
        self.writes: dict[bytes, Callable[[], None]] = {}
        """What to call when a payload of this member's client is applied here."""
        self.reads: dict[bytes, Callable[[], None]] = {}
        self.confirmed: list[tuple[int, bytes]] = []
        self.watchers: list[Callable[[int, list[Event]], None]] = []

    def _replay(self, index: int) -> None:
        """The state as of an index, as its file has it: the same commands through the same function."""
        self.machine = Machine(MvccStore())
        for at in range(2, index + 1):
            entry = self._checks.committed[at]
            if entry.type == EntryType.NORMAL and entry.data:
                self._run(entry)

    def _run(self, entry: Entry) -> tuple[object, list[Event]]:
        kind = entry.data[0]
        try:
            _, revision, events = self.machine.apply(kind, read(kind, entry.data[1:]), float(self._now()))
        except MvccError as error:
            return type(error).__name__, []
        return revision, events

    def _snapshot(self) -> Snapshot | None:
        term = self.node.log.term(self.applied)
        if self.disk.checkpoint is None and term is not None and self.conf.voters:
            self.disk.checkpoint = Snapshot(self.applied, term, self.conf)
        return self.disk.checkpoint

    def checkpoint(self) -> None:
        """The state's file is written up to here, and the log cut behind it."""
        term = self.node.log.term(self.applied)
        if term is None or self.applied <= self.node.log.offset or self.disk.synced != len(self.disk.records):
            return
        self.disk.checkpoint = Snapshot(self.applied, term, self.conf)
        if self.node.log.applied >= self.applied:
            self.disk.compact(self.disk.checkpoint)
            self.node.compact(self.applied)

    def write(self, ready: Ready) -> int:
        return self.disk.write(Record(tuple(ready.entries), ready.hard_state, ready.snapshot))

    def apply(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._checks.applied(self.id, self.applied, entry)
            self.applied = entry.index
            if entry.type != EntryType.NORMAL:
                self.conf = self.node.apply_conf_change(entry)
                self._checks.outcome(self.id, entry.index, self.conf)
            elif entry.data:
                self._apply_command(entry)
        self._serve_reads()

    def _apply_command(self, entry: Entry) -> None:
        if entry.data[0] == Kind.REVOKE and entry.index not in self._checks.outcomes:
            self._checks.revoked(read(Kind.REVOKE, entry.data[1:]), self._now())
        outcome, events = self._run(entry)
        self._checks.outcome(self.id, entry.index, (outcome, tuple(events)))
        if events and isinstance(outcome, int):
            self._checks.events.setdefault(outcome, events)
            for watcher in self.watchers:
                watcher(outcome, events)
        done = self.writes.pop(entry.data, None)
        if done is not None:
            done()

    def restore(self, snapshot: Snapshot) -> None:
        """A leader's snapshot takes the place of the state; watchers go elsewhere, as the events between are not known here."""
        self._replay(snapshot.index)
        self.applied, self.conf = snapshot.index, snapshot.conf_state
        self.disk.checkpoint = snapshot
        self.watchers.clear()

    def confirm(self, ready: Ready) -> None:
        self.confirmed += [(state.index, state.context) for state in ready.read_states]
        self._serve_reads()

    def _serve_reads(self) -> None:
        due = [each for each in self.confirmed if each[0] <= self.applied]
        if due:
            self.confirmed = [each for each in self.confirmed if each[0] > self.applied]
            for _, context in due:
                done = self.reads.pop(context, None)
                if done is not None:
                    done()

    def lead(self) -> bool:
        """Whether it leads and has applied everything from before its term; its leases live anew the first time."""
        node = self.node
        if node.role != Role.LEADER or node.log.term(self.applied) != node.term:
            return False
        if self.led_term != node.term:
            self.led_term = node.term
            self.machine.store.leases.promote(float(self._now()))
        return True
