"""How much of the log stays in memory, and on disk, for members that lag: so many entries, and no more than so many bytes.

offset                         filed
  ├── kept for others ───────────┤── not in the file yet: always kept

invariant: nothing behind what is filed is forgotten
"""

from k8sfromscratch.core.raft.log import RaftLog

BYTES_MAX = 64 * 1024 * 1024
"""However few entries they are."""
WHILE_SENDING = 8
"""How many times as much is kept while a snapshot is on its way: who gets it needs what comes behind it."""
_ALL = 2**62


class Window:
    def __init__(self, log: RaftLog, entries_max: int) -> None:
        self._log, self._entries_max = log, entries_max
        self._counted, self._bytes = log.offset, 0
        """Up to which entry the bytes are counted, from the log's offset on."""

    def surplus(self, filed: int, *, sending: bool) -> int:
        """The index up to which the log can be forgotten; 0 where it is short enough.  `filed` is applied."""
        log, factor = self._log, WHILE_SENDING if sending else 1
        if self._counted < log.offset:  # a snapshot came
            self._counted, self._bytes = log.offset, 0
        self._bytes += sum(len(entry.data) for entry in log.slice(self._counted + 1, filed, _ALL))
        self._counted = max(filed, self._counted)
        end = log.offset
        for entry in log.slice(log.offset + 1, filed, _ALL) if self._too_much(filed - end, factor) else ():
            if not self._too_much(filed - end, factor):
                break
            end, self._bytes = entry.index, self._bytes - len(entry.data)
        return end if end > log.offset else 0

    def _too_much(self, entries: int, factor: int) -> bool:
        return entries > factor * self._entries_max or self._bytes > factor * BYTES_MAX
