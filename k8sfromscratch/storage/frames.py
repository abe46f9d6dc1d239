"""Frames of a log's segment: what was synced together, and how a torn one is told from a damaged one.

    segment   "kfslog3\n" | salt 8 | crc32 4
    frame     "kfsF" | length 4 | crc32 of the records 4 | crc32 of salt, place in the file, and the twelve bytes before 4 | records
    record    length 4 | kind 1 | payload

A frame is written and synced before the next is begun, so a crash can tear at most the last one: it was never acknowledged and is cut off.  A bad
frame with another behind it cannot come from a crash: that is corruption, and reading is refused.  Where a frame ends, its header says, which has a
checksum of its own; where the header is bad too, the bytes behind it are searched for frames.  What clients store can look like a frame, a copy of
a log even; but none has the salt of this segment and its place in it, so nothing stored is ever taken for one.

Of the second format only the first line differs; the first had frames of "kfsW" without a header's checksum, and no line.  Both are read only.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAGIC, FIRST_MAGIC = b"kfsF", b"kfsW"
FORMATS = {b"kfslog2\n": 2, b"kfslog3\n": 3}
FORMAT = b"kfslog3\n"

HEADER = struct.Struct("<8s8sI")
RECORD = struct.Struct("<IB")
_FRAME = struct.Struct("<4sIII")
_FIRST_FRAME = struct.Struct("<4sII")
_PLACE = struct.Struct("<8sQ")


class WalError(Exception):
    """The log cannot be trusted; the message names the file and the place."""


class Form(NamedTuple):
    """Of a segment; version 0 where a crash left it without a header and so without anything in it, salt b"" in the first format."""

    version: int
    salt: bytes


def new_header() -> tuple[bytes, bytes]:
    """(a segment's header, its salt)."""
    salt = os.urandom(8)
    return HEADER.pack(FORMAT, salt, zlib.crc32(FORMAT + salt)), salt


def form_of(path: Path, *, last: bool) -> Form:
    """Raises WalError."""
    with path.open("rb") as file:
        start = file.read(HEADER.size + 1)
    header = start[: HEADER.size]
    if len(header) == HEADER.size:
        name, salt, checksum = HEADER.unpack(header)
        if name in FORMATS and checksum == zlib.crc32(name + salt):
            return Form(FORMATS[name], salt)
    if header.startswith(FIRST_MAGIC):
        return Form(1, b"")
    if last and len(start) <= HEADER.size:
        return Form(0, b"")
    raise WalError(f"{path}: the segment's header is damaged or of a newer version; if it is damaged, restore from a backup")


def encode_frame(body: bytes, salt: bytes, at: int) -> bytes:
    """For the place `at` in a segment."""
    header = MAGIC + len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little")
    return header + _header_checksum(header, salt, at).to_bytes(4, "little") + body


def records(path: Path, form: Form, *, last: bool) -> Iterator[tuple[int, bytes]]:
    """(kind, payload) of all; a torn end of the last segment is cut off, and its last frame is made sure of.  Raises WalError."""
    if not form.version:
        return
    data, salt = path.read_bytes(), form.salt
    before = at = HEADER.size if salt else 0
    while at < len(data):
        size, body = _frame_at(data, at, salt)
        if body is None:
            torn = at + size >= len(data) if size else not _frame_behind(data, at + 1, salt)
            if not last or not torn:
                raise WalError(f"{path}: the frame at byte {at} is damaged and good ones follow: the disk or someone has changed it; restore from a backup")
            break
        yield from _records(body)
        before, at = at, at + size
    if last:
        _make_sure(path, before, data[before:at])


def _make_sure(path: Path, at: int, frame: bytes) -> None:
    """The last frame may be known to the kernel only: the process was killed before its sync, or the sync failed, and then the kernel takes what it
    has for written.  It is about to count as being on the disk, so it is written once more, and synced.  What is behind it goes."""
    with path.open("r+b") as file:
        file.truncate(at + len(frame))
        file.seek(at)
        file.write(frame)
        file.flush()
        os.fsync(file.fileno())


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
        length, kind = RECORD.unpack_from(body, at)
        at += RECORD.size
        yield kind, body[at : at + length]
        at += length
