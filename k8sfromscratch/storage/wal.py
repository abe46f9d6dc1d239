"""The write-ahead log: what was acknowledged is in it, whatever happens to the process or the power.

A segment is a file of frames; a frame is what was synced together:

    magic 4 | length 4 | crc32 4 | records: (length 4 | kind 1 | payload) …

A frame is written and synced before the next is begun, so a crash can tear at most the last one: it was never acknowledged and is cut off. A bad frame
with a good one behind it cannot come from a crash: that is corruption, and opening is refused.  Segments are named by the index of their first record,
and dropped when everything in them is in the B+tree file.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"kfsW"
SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment is closed when it is larger, as etcd's."""

_FRAME = struct.Struct("<4sII")
_RECORD = struct.Struct("<IB")


class WalError(Exception):
    """The log cannot be trusted; the message names the file and the place."""


@dataclass(frozen=True, slots=True)
class Record:
    index: int
    kind: int
    payload: bytes


def encode_frame(records: Sequence[tuple[int, bytes]]) -> bytes:
    """One frame of (kind, payload)."""
    parts = []
    for kind, payload in records:
        parts.append(_RECORD.pack(len(payload), kind))
        parts.append(payload)
    body = b"".join(parts)
    return _FRAME.pack(MAGIC, len(body), zlib.crc32(body)) + body


class Wal:
    """`append` blocks on the disk: call it in a thread, one call at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[tuple[int, Path]] = []
        """(index of the first record, file), in order."""
        self._file = -1
        self._lock = -1
        self._size = 0
        self.next_index = 1

    def lock(self) -> None:
        """Takes the log for this process alone, until `close`: two that write one log destroy it.  Raises WalError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WalError(f"{self._folder}: another process has this log open: is etcd running on this data directory already?") from error

    def open(self, after: int) -> Iterator[Record]:
        """Reads the log, mends its end, and makes it ready for `append`.  Yields the records above index `after`; must be read to its end.
        Raises WalError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._segments = sorted((int(path.stem, 16), path) for path in self._folder.glob("*.wal"))
        self.next_index = after + 1
        expected = self._segments[0][0] if self._segments else after + 1
        if expected > after + 1:
            raise WalError(f"{self._folder}: the log begins at record {expected}, and {after + 1} is the next that is needed: segments are missing")
        for number, (first, path) in enumerate(self._segments):
            if first != expected:
                raise WalError(f"{path}: begins at record {first} where {expected} was expected: a segment is missing")
            for kind, payload in self._frames(path, last=number == len(self._segments) - 1):
                if expected > after:
                    yield Record(expected, kind, payload)
                expected += 1
        self.next_index = max(expected, after + 1)
        while self._segments and expected < self.next_index:  # all of them lie behind the B+tree file: what comes next would leave a gap
            self._segments.pop()[1].unlink()
        if self._segments:
            self._file = os.open(self._segments[-1][1], os.O_WRONLY | os.O_APPEND)
            self._size = os.fstat(self._file).st_size
        else:
            self._new_segment()

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Returns when they are on the disk."""
        data = encode_frame(records)
        if self._size >= SEGMENT_BYTES:
            self._new_segment()
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.fdatasync(self._file)
        self._size += len(data)
        self.next_index += len(records)

    def drop_below(self, index: int) -> None:
        """Removes segments all of whose records are below `index`."""
        while len(self._segments) > 1 and self._segments[1][0] <= index:
            self._segments.pop(0)[1].unlink()

    def close(self) -> None:
        self._close_segment()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _close_segment(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _new_segment(self) -> None:
        self._close_segment()
        path = self._folder / f"{self.next_index:016x}.wal"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._size = 0
        self._segments.append((self.next_index, path))
        for place in (self._folder, self._folder.parent):
            folder = os.open(place, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _frames(self, path: Path, *, last: bool) -> Iterator[tuple[int, bytes]]:
        data = path.read_bytes()
        at = 0
        while at < len(data):
            body = _body_at(data, at)
            if body is None:
                if not last or _good_frame_behind(data, at + 1):
                    raise WalError(f"{path}: the frame at byte {at} is damaged and good ones follow: the disk or someone has changed it; restore from a backup")
                with path.open("r+b") as file:
                    file.truncate(at)
                    os.fsync(file.fileno())
                return
            yield from _records(body)
            at += _FRAME.size + len(body)


def _body_at(data: bytes, at: int) -> bytes | None:
    if len(data) - at < _FRAME.size:
        return None
    magic, length, checksum = _FRAME.unpack_from(data, at)
    body = data[at + _FRAME.size : at + _FRAME.size + length]
    return body if magic == MAGIC and len(body) == length and zlib.crc32(body) == checksum else None


def _good_frame_behind(data: bytes, at: int) -> bool:
    while (at := data.find(MAGIC, at)) >= 0:
        if _body_at(data, at):
            return True
        at += 1
    return False


def _records(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(body):
        length, kind = _RECORD.unpack_from(body, at)
        at += _RECORD.size
        yield kind, body[at : at + length]
        at += length
