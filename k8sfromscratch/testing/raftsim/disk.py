"""A member's disk: what was written is there after a crash for sure only if it was synced; of the rest a prefix survives, as of a torn log."""

from dataclasses import dataclass, field
from random import Random

from k8sfromscratch.core.raft.node import Start
from k8sfromscratch.core.raft.types import ConfState, Entry, HardState, Snapshot


@dataclass(slots=True)
class Record:
    """One frame of the log: it survives whole or not at all."""

    entries: tuple[Entry, ...] = ()
    hard_state: HardState | None = None
    snapshot: Snapshot | None = None


@dataclass(slots=True)
class Disk:
    start: Start
    """What the log began with."""
    records: list[Record] = field(default_factory=list)
    synced: int = 0
    checkpoint: Snapshot | None = None
    """The state machine's own file: the state as of its index (replaced atomically, as a copy-on-write B+tree's)."""

    def write(self, record: Record) -> int:
        """The position to sync up to."""
        self.records.append(record)
        return len(self.records)

    def sync(self, position: int) -> None:
        self.synced = max(self.synced, position)

    def crash(self, random: Random) -> None:
        survive = random.randint(self.synced, len(self.records))
        del self.records[survive:]
        self.synced = survive

    def recover(self) -> Start:
        """What a start finds."""
        start, state, entries = self.start, self.start.hard_state, list(self.start.entries)
        offset, offset_term = start.offset, start.offset_term
        for record in self.records:
            if record.snapshot is not None:
                entries, offset, offset_term = [], record.snapshot.index, record.snapshot.term
            if record.entries:
                del entries[record.entries[0].index - offset - 1 :]
                entries.extend(record.entries)
            state = record.hard_state or state
        saved = self.checkpoint
        for record in self.records:
            if record.snapshot is not None and (saved is None or saved.index < record.snapshot.index):
                saved = record.snapshot  # its state was saved with it
        applied, conf = (saved.index, saved.conf_state) if saved is not None else (start.applied, start.conf_state)
        return Start(conf, state, entries, offset, offset_term, applied)

    def compact(self, snapshot: Snapshot) -> None:
        """The log begins again behind what the checkpoint holds."""
        assert self.synced == len(self.records), "a log is cut only where nothing is being written"
        found = self.recover()
        entries = [entry for entry in found.entries if entry.index > snapshot.index]
        self.start = Start(ConfState(), found.hard_state, entries, snapshot.index, snapshot.term)
        self.records, self.synced = [], 0
