"""Reading containers' logs from disk, whole, from the end, or as they grow; and rotating them when they are large.

`core.pods.logs` knows the format.  A log that is being followed is looked at again every FOLLOW_S: when it is renamed (rotation), the rest of
the old file is read before the new one.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from k8sfromscratch.core.pods.logs import LogFilter, tail_offset

FOLLOW_S = 0.2
CHUNK_BYTES = 256 * 1024
TAIL_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`kubectl logs`' options.  `tail_lines` None: all."""

    follow: bool = False
    tail_lines: int | None = None
    since: datetime | None = None
    timestamps: bool = False
    limit_bytes: int | None = None
    stream: str = ""


async def read_log(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Chunks to print.  `running`: whether more may come; followed until it says no and all is read.  Raises MalformedLog, OSError."""
    log_filter = LogFilter(since=options.since, timestamps=options.timestamps, limit_bytes=options.limit_bytes, stream=options.stream)
    stream: BinaryIO = path.open("rb")
    try:
        if options.tail_lines is not None:
            _seek_tail(stream, options.tail_lines)
        while not log_filter.exhausted:
            may_grow = options.follow and running()
            data = stream.read(CHUNK_BYTES)
            if data:
                out = log_filter.feed(data)
                if out:
                    yield out
                continue
            fresh = _reopened(path, stream)
            if fresh is not None:
                stream.close()
                stream = fresh
            elif may_grow:
                await asyncio.sleep(FOLLOW_S)
            else:
                return
    finally:
        stream.close()


def _reopened(path: Path, stream: BinaryIO) -> BinaryIO | None:
    """The file that is under the path now, if it is another one."""
    try:
        if path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
            return None
        return path.open("rb")
    except FileNotFoundError:
        return None


def _seek_tail(stream: BinaryIO, lines: int) -> None:
    """To where the last so many records begin, reading backwards as far as needed."""
    size = stream.seek(0, os.SEEK_END)
    window = TAIL_BLOCK_BYTES
    while True:
        start = max(size - window, 0)
        stream.seek(start)
        data = stream.read(size - start)
        offset = tail_offset(data, lines)
        if start == 0 or offset > 0:
            stream.seek(start + offset)
            return
        window *= 2


def rotate(path: Path, *, keep_files: int, stamp: str) -> None:
    """Renames the log to PATH.STAMP and deletes the oldest so that `keep_files` are left, the one to come counted.
    The runtime must be asked to open the path anew afterwards."""
    path.rename(path.with_name(f"{path.name}.{stamp}"))
    rotated = sorted(p for p in path.parent.iterdir() if p.name.startswith(path.name + "."))
    for old in rotated[: max(len(rotated) - (keep_files - 1), 0)]:
        old.unlink()
