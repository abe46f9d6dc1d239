"""The write-ahead log: what was acknowledged is in it, whatever happens to the process or the power.

A segment begins with a header of its own; then come frames, and a frame is what was synced together:

    segment   "kfslog2\n" | salt 8 | crc32 4
    frame     "kfsF" | length 4 | crc32 of the records 4 | crc32 of salt, place in the file, and the twelve bytes before 4 | records
    record    length 4 | kind 1 | payload

A frame is written and synced before the next is begun, so a crash can tear at most the last one: it was never acknowledged and is cut off.  A bad
frame with another behind it cannot come from a crash: that is corruption, and opening is refused.  Where a frame ends, its header says, which has a
checksum of its own; where the header is bad too, the bytes behind it are searched for frames.  What clients store can look like a frame, a copy of
a log even; but none has the salt of this segment and its place in it, so nothing stored is ever taken for one.

Segments are named by the index of their first record, and dropped when everything in them is in the B+tree file.  Those of the first format, which
had frames of "kfsW" without a header's checksum, are read, and never written to again.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MAGIC, FIRST_MAGIC = b"kfsF", b"kfsW"
FORMAT = b"kfslog2\n"
SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment is closed when it is larger, as etcd's."""

_HEADER = struct.Struct("<8s8sI")
_FRAME = struct.Struct("<4sIII")
_FIRST_FRAME = struct.Struct("<4sII")
_PLACE = struct.Struct("<8sQ")
_RECORD = struct.Struct("<IB")


class WalError(Exception):
    """The log cannot be trusted; the message names the file and the place."""


@dataclass(frozen=True, slots=True)
class Record:
    index: int
    kind: int
    payload: bytes


def encode_frame(records: Sequence[tuple[int, bytes]], salt: bytes, at: int) -> bytes:
    """One frame of (kind, payload), for a place in a segment."""
    parts = []
    for kind, payload in records:
        parts.append(_RECORD.pack(len(payload), kind))
        parts.append(payload)
    body = b"".join(parts)
    header = MAGIC + len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little")
    return header + _header_checksum(header, salt, at).to_bytes(4, "little") + body


class Wal:
    """`append` blocks on the disk: call it in a thread, one call at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[tuple[int, Path]] = []
        """(index of the first record, file), in order."""
        self._file = -1
        self._lock = -1
        self._size, self._salt = 0, b""
        """Of the segment that is written to."""
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
        self._go_on()

    def _go_on(self) -> None:
        """Makes the last segment, or a new one, ready for what is appended."""
        if self._segments:
            first, path = self._segments[-1]
            salt = _salt(path.read_bytes()[: _HEADER.size])
            if salt:
                self._file, self._salt = os.open(path, os.O_WRONLY | os.O_APPEND), salt
                self._size = os.fstat(self._file).st_size
                return
            if first == self.next_index:
                self._segments.pop()  # nothing is in it: it is made anew, under the same name
        self._new_segment()

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Returns when they are on the disk."""
        if self._size >= SEGMENT_BYTES:
            self._new_segment()
        data = encode_frame(records, self._salt, self._size)
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
        self._salt = os.urandom(8)
        os.write(self._file, _HEADER.pack(FORMAT, self._salt, zlib.crc32(FORMAT + self._salt)))
        os.fsync(self._file)
        self._size = _HEADER.size
        self._segments.append((self.next_index, path))
        for place in (self._folder, self._folder.parent):
            folder = os.open(place, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _frames(self, path: Path, *, last: bool) -> Iterator[tuple[int, bytes]]:
        data = path.read_bytes()
        salt = _salt(data[: _HEADER.size])
        if not salt and not data.startswith(FIRST_MAGIC):
            if last and len(data) <= _HEADER.size:
                return  # a crash while it was made: there is nothing in it
            raise WalError(f"{path}: the segment's header is damaged or of a newer version; if it is damaged, restore from a backup")
        at = _HEADER.size if salt else 0
        while at < len(data):
            size, body = _frame_at(data, at, salt)
            if body is None:
                torn = at + size >= len(data) if size else not _frame_behind(data, at + 1, salt)
                if not last or not torn:
                    raise WalError(f"{path}: the frame at byte {at} is damaged and good ones follow: the disk or someone has changed it; restore from a backup")
                with path.open("r+b") as file:
                    file.truncate(at)
                    os.fsync(file.fileno())
                return
            yield from _records(body)
            at += size


def _salt(header: bytes) -> bytes:
    """Of a whole segment header; b"" where this is none."""
    if len(header) < _HEADER.size:
        return b""
    form, salt, checksum = _HEADER.unpack(header)
    return bytes(salt) if form == FORMAT and checksum == zlib.crc32(FORMAT + salt) else b""


def _header_checksum(header: bytes, salt: bytes, at: int) -> int:
    return zlib.crc32(header, zlib.crc32(_PLACE.pack(salt, at)))


def _frame_at(data: bytes, at: int, salt: bytes) -> tuple[int, bytes | None]:
    """(its length, 0 where not even that is known; its records, None where they are damaged).  Without a salt, of the first format."""
    form = _FRAME if salt else _FIRST_FRAME
    if len(data) - at < form.size:
        return 0, None
    magic, length, checksum = _FIRST_FRAME.unpack_from(data, at)
    if magic != (MAGIC if salt else FIRST_MAGIC):
        return 0, None
    if salt and int.from_bytes(data[at + _FIRST_FRAME.size : at + _FRAME.size], "little") != _header_checksum(data[at : at + _FIRST_FRAME.size], salt, at):
        return 0, None
    body = data[at + form.size : at + form.size + length]
    if len(body) == length and zlib.crc32(body) == checksum:
        return form.size + length, body
    return form.size + length if salt else 0, None  # in the first format a damaged frame's length is not to be trusted


def _frame_behind(data: bytes, at: int, salt: bytes) -> bool:
    """Whether a frame begins somewhere behind: one with a good header, or, in the first format, a good frame."""
    while (at := data.find(MAGIC if salt else FIRST_MAGIC, at)) >= 0:
        if _frame_at(data, at, salt)[0]:
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
