"""How far this member knows its log to be committed, where that outlives the process: for the day on which it goes on alone (`alone`).

The log says so only with its next frame, and the file a moment later: a sync of its own would cost as much as the entries.  What was applied and
answered in between is in the log all the same, and any majority knows that it is committed; only who goes on without one cannot tell it from what the
others had given up.  So it stands in a page of memory that is a file's, too: the kernel keeps it when the process is killed.  When the power fails it
may be older.

    invariant: what is below the mark is committed, and was synced here before
"""

import mmap
import os
import struct
from pathlib import Path

_INDEX = struct.Struct("<Q")


class CommitMark:
    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < _INDEX.size:
                os.pwrite(descriptor, bytes(mmap.PAGESIZE), 0)  # so that there is room for it
            self._page = mmap.mmap(descriptor, _INDEX.size)
        finally:
            os.close(descriptor)

    @property
    def index(self) -> int:
        return int(_INDEX.unpack_from(self._page)[0])

    def move(self, index: int) -> None:
        _INDEX.pack_into(self._page, 0, index)

    def close(self) -> None:
        self._page.close()


def mark_path(data_dir: Path) -> Path:
    return data_dir / "wal" / "committed"
