"""The write-ahead log: Raft's entries and hard state, in the order in which they were written, whatever happens to the process or the power.

    SEQUENCE-FIRST.wal     a segment of frames (`frames`); FIRST is the entry that comes next when it is begun
    ENTRY                  index 8 | term 8 | type 1 | data       replaces what stood at this index, and all behind it
    HARD_STATE             term 8 | vote 8 | commit 8             the last one counts
    RESTART                index 8 | term 8                       a leader's snapshot has taken the place of all that was written before

    entries 5 6 7 (term 2), then 6 (term 3), then 7 (term 3)   is   5 of term 2, 6 and 7 of term 3

A segment begins with the hard state, so that those before it can be dropped: when all their entries are in the B+tree file and none is kept for
members that lag.  The sequence has no gaps: a segment that is missing is noticed.

Logs of the first two formats (FIRST.wal) had no Raft: their records are read by `old_records`, once, and never written again.
"""

import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from k8sfromscratch.core.raft.types import Entry, EntryType, HardState
from k8sfromscratch.storage import frames
from k8sfromscratch.storage.folders import sync_folders
from k8sfromscratch.storage.frames import HEADER, RECORD, WalError

__all__ = ["Found", "Record", "Wal", "WalError"]

SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment is closed when it is larger, as etcd's."""

ENTRY, HARD_STATE, RESTART = 1, 2, 3
_ENTRY_RECORD = struct.Struct("<IBQQB")
_ENTRY = struct.Struct("<QQB")
_STATE = struct.Struct("<QQQ")
_RESTART = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Record:
    """Of the old formats."""

    index: int
    kind: int
    payload: bytes


class _Segment(NamedTuple):
    sequence: int
    first: int
    path: Path


@dataclass(slots=True)
class Found:
    """What the log says: the entries behind (offset, offset_term)."""

    offset: int
    offset_term: int
    entries: list[Entry] = field(default_factory=list)
    state: HardState | None = None
    void: bool = False
    """Whether the file has a snapshot that the log was to give way to: a crash came between the two."""


class Wal:
    """`append`, `restart` and `drop_below` block on the disk: one `append` or `restart` at a time; `drop_below` may go on beside it, in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[_Segment] = []
        self._file = -1
        self._lock = -1
        self._size, self._salt = 0, b""
        """Of the segment that is written to."""
        self._state = HardState()
        self.next_index = 1

    def lock(self) -> None:
        """Takes the log for this process alone, until `close`: two that write one log destroy it.  Raises WalError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WalError(f"{self._folder}: another process has this log open: is etcd running on this data directory already?") from error

    # At the start

    def old_records(self, after: int) -> Iterator[Record]:
        """Those above index `after` of a log of the old formats; must be read to its end.  Raises WalError."""
        segments = [(int(path.stem, 16), path) for path in self._old_segments()]
        expected = segments[0][0] if segments else after + 1
        if expected > after + 1:
            raise WalError(f"{self._folder}: the log begins at record {expected}, and {after + 1} is the next that is needed: segments are missing")
        for number, (first, path) in enumerate(segments):
            if first != expected:
                raise WalError(f"{path}: begins at record {first} where {expected} was expected: a segment is missing")
            last = number == len(segments) - 1
            for kind, payload in frames.records(path, frames.form_of(path, last=last), last=last):
                if expected > after:
                    yield Record(expected, kind, payload)
                expected += 1

    def drop_old(self) -> None:
        """Removes what `old_records` reads."""
        for path in self._old_segments():
            path.unlink()

    def read(self, filed: int, filed_term: int, keep: int) -> Found:
        """What is there behind the B+tree file, which has all up to `filed`, and at most `keep` entries before that.  Mends the log's end.
        Raises WalError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        parts = sorted((*(int(part, 16) for part in path.stem.split("-")), path) for path in self._folder.glob("*-*.wal"))
        self._segments = [_Segment(*part) for part in parts]  # type: ignore[arg-type]
        reader = _Reader(self._folder, filed, keep)
        for before, segment in zip([None, *self._segments], self._segments, strict=False):
            if before is not None and segment.sequence != before.sequence + 1:
                raise WalError(f"{segment.path}: number {segment.sequence} follows {before.sequence}: a segment is missing")
            last = segment is self._segments[-1]
            reader.segment(segment.path, segment.first, last=last)
        found = reader.found(filed_term)
        self.next_index = found.offset + len(found.entries) + 1
        return found

    def begin(self, found: Found, state: HardState) -> None:
        """Makes the log ready for `append`, behind what was found."""
        self._state = state
        empty = self._segments and self._segments[-1].path.stat().st_size <= HEADER.size
        if empty:
            self._segments.pop().path.unlink()  # a crash left it with nothing in it: the next has its number
        if found.void or not self._segments:
            self._restart(found.offset, found.offset_term, [])
        elif empty:
            self._new_segment(self._segments[-1].sequence + 1)
        else:
            last = self._segments[-1].path
            self._size, self._salt = last.stat().st_size, frames.form_of(last, last=True).salt
            self._file = os.open(last, os.O_WRONLY | os.O_APPEND)

    # Writing

    def append(self, entries: Sequence[Entry], state: HardState | None) -> None:
        """Returns when they are on the disk."""
        if self._size >= SEGMENT_BYTES:
            self._new_segment(self._segments[-1].sequence + 1)
        if state is not None:
            self._state = state
        self._write(_encode_entries(entries) + (_encode_state(state) if state is not None else b""))
        if entries:
            self.next_index = entries[-1].index + 1

    def restart(self, index: int, term: int, entries: Sequence[Entry], state: HardState | None) -> None:
        """A snapshot up to this index is in the file: the log goes on behind it, with these entries.  Returns when that is on the disk."""
        if state is not None:
            self._state = state
        self._restart(index, term, entries)

    def _restart(self, index: int, term: int, entries: Sequence[Entry]) -> None:
        self.next_index = index + 1
        sequence = self._segments[-1].sequence + 1 if self._segments else 0
        given_up = self._segments
        self._segments = []
        self._new_segment(sequence, _encode(RESTART, _RESTART.pack(index, term)) + _encode_entries(entries))
        if entries:
            self.next_index = entries[-1].index + 1
        for segment in given_up:
            segment.path.unlink()

    def droppable(self, index: int) -> bool:
        return len(self._segments) > 1 and self._segments[1].first <= index

    def drop_below(self, index: int) -> None:
        """Removes segments all of whose entries are below `index`, which is applied."""
        while self.droppable(index):
            self._segments.pop(0).path.unlink()

    def close(self) -> None:
        self._close_segment()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write(self, body: bytes) -> None:
        data = frames.encode_frame(body, self._salt, self._size)
        _write_all(self._file, data)
        os.fdatasync(self._file)
        self._size += len(data)

    def _close_segment(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _new_segment(self, sequence: int, body: bytes = b"") -> None:
        self._close_segment()
        path = self._folder / f"{sequence:016x}-{self.next_index:016x}.wal"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        header, self._salt = frames.new_header()
        _write_all(self._file, header)
        os.fsync(self._file)
        self._size = len(header)
        sync_folders(self._folder, self._folder.parent)
        self._write(_encode_state(self._state) + body)
        self._segments.append(_Segment(sequence, self.next_index, path))

    def _old_segments(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.wal") if "-" not in path.stem)


class _Reader:
    """Puts together what the records say; keeps no more entries before the filed one than asked."""

    def __init__(self, folder: Path, filed: int, keep: int) -> None:
        self._folder, self._filed, self._keep = folder, filed, keep
        self._base: tuple[int, int] | None = None
        """What the entries follow; None while it is not known, in a log whose beginning was dropped."""
        self._floor = 0
        """What a snapshot has, and so nothing replaces."""
        self._entries: list[Entry] = []
        self._state: HardState | None = None
        self._first = 0

    def segment(self, path: Path, first: int, *, last: bool) -> None:
        self._first = self._first or first
        for kind, payload in frames.records(path, frames.form_of(path, last=last), last=last):
            match kind:
                case 1:
                    index, term, entry_type = _ENTRY.unpack_from(payload)
                    self._entry(path, Entry(term, index, payload[_ENTRY.size :], EntryType(entry_type)))
                case 2:
                    self._state = HardState(*_STATE.unpack(payload))
                case 3:
                    self._base = _RESTART.unpack(payload)
                    self._floor = self._base[0]
                    self._entries.clear()
                case _:
                    raise WalError(f"{path}: a record of the unknown kind {kind}: was it written by a newer version?")

    def _entry(self, path: Path, entry: Entry) -> None:
        entries = self._entries
        first = entries[0].index if entries else self._base[0] + 1 if self._base is not None else entry.index
        if self._floor < entry.index < first:  # replaces what stood in a segment that was dropped, or was trimmed here: a leader could not commit it
            entries.clear()
            self._base, first = None, entry.index
        if not first <= entry.index <= first + len(entries):
            raise WalError(f"{path}: entry {entry.index} does not follow what is there: the disk or someone has changed it; restore from a backup")
        del entries[entry.index - first :]
        entries.append(entry)
        if len(entries) > 2 * self._keep + 1000:
            self._trim()

    def _trim(self) -> None:
        surplus = min(self._filed, self._entries[-1].index) - self._entries[0].index + 1 - self._keep
        if surplus > 0:
            last = self._entries[surplus - 1]
            self._base = last.index, last.term
            del self._entries[:surplus]

    def found(self, filed_term: int) -> Found:
        """Raises WalError."""
        filed, entries = self._filed, self._entries
        first = entries[0].index if entries else (self._base[0] + 1 if self._base is not None else self._first or filed + 1)
        if first > filed + 1:
            raise WalError(f"{self._folder}: the log begins at entry {first}, and {filed + 1} is the next that is needed: segments are missing")
        if self._base is None:
            if entries and first <= filed:
                self._base = first, entries[0].term
                del entries[0]
            else:
                self._base = filed, filed_term
        offset, offset_term = self._base
        last = offset + len(entries)
        term = offset_term if filed == offset else entries[filed - offset - 1].term if offset < filed <= last else None
        if term != filed_term:
            return Found(filed, filed_term, state=self._state, void=True)
        if entries:
            self._trim()
        return Found(*self._base, entries, self._state)


def _write_all(file: int, data: bytes) -> None:
    """A disk that is nearly full takes a part."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _encode(kind: int, payload: bytes) -> bytes:
    return RECORD.pack(len(payload), kind) + payload


def _encode_state(state: HardState) -> bytes:
    return _encode(HARD_STATE, _STATE.pack(*state))


def _encode_entries(entries: Sequence[Entry]) -> bytes:
    parts = []
    for entry in entries:
        data = entry.data
        parts.append(_ENTRY_RECORD.pack(len(data) + _ENTRY.size, ENTRY, entry.index, entry.term, entry.type))
        parts.append(data)
    return b"".join(parts)
