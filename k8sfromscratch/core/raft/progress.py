"""What a leader knows of one member's log, and how much it may send it.

    PROBE ──(an append was accepted)──► REPLICATE ──(rejected, unreachable)──► PROBE
      └──(what it needs is compacted)──► SNAPSHOT ──(restored, or failed)──► PROBE

PROBE sends one message a round trip until the logs are known to meet; REPLICATE sends ahead of the answers, as many messages as the window holds;
SNAPSHOT sends nothing.

    invariant: match < next; what is at or below `match` is on that member's disk
"""

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum


class ProgressState(IntEnum):
    PROBE = 0
    REPLICATE = 1
    SNAPSHOT = 2


@dataclass(slots=True)
class Progress:
    next: int
    max_inflight: int
    max_inflight_bytes: int
    match: int = 0
    state: ProgressState = ProgressState.PROBE
    probe_sent: bool = False
    """In PROBE: one is on its way; the next goes after its answer, or the next heartbeat's."""
    pending_snapshot: int = 0
    recent_active: bool = False
    """Heard of since the last check of the quorum."""
    learner: bool = False
    _inflight: deque[tuple[int, int]] = field(default_factory=deque)
    """(last index, bytes) of the appends that are not answered."""
    _inflight_bytes: int = 0

    def become_probe(self) -> None:
        after_snapshot = self.pending_snapshot if self.state == ProgressState.SNAPSHOT else 0
        self.next = max(self.match, after_snapshot) + 1
        self._become(ProgressState.PROBE)

    def become_replicate(self) -> None:
        self.next = self.match + 1
        self._become(ProgressState.REPLICATE)

    def become_snapshot(self, index: int) -> None:
        self._become(ProgressState.SNAPSHOT)
        self.pending_snapshot = index

    def _become(self, state: ProgressState) -> None:
        self.state, self.probe_sent, self.pending_snapshot = state, False, 0
        self._inflight.clear()
        self._inflight_bytes = 0

    @property
    def paused(self) -> bool:
        match self.state:
            case ProgressState.PROBE:
                return self.probe_sent
            case ProgressState.REPLICATE:
                return self.full
            case ProgressState.SNAPSHOT:
                return True

    @property
    def full(self) -> bool:
        return len(self._inflight) >= self.max_inflight or self._inflight_bytes >= self.max_inflight_bytes

    def sent(self, last: int, size_bytes: int) -> None:
        """An append with entries up to `last` is on its way (0 entries: last is next - 1)."""
        if self.state == ProgressState.PROBE:
            self.probe_sent = True
        elif last >= self.next:
            self.next = last + 1
            self._inflight.append((last, size_bytes))
            self._inflight_bytes += size_bytes

    def maybe_update(self, index: int) -> bool:
        """It has everything up to `index`.  Whether that is news."""
        self.next = max(self.next, index + 1)
        if index <= self.match:
            return False
        self.match, self.probe_sent = index, False
        return True

    def free_to(self, index: int) -> None:
        while self._inflight and self._inflight[0][0] <= index:
            self._inflight_bytes -= self._inflight.popleft()[1]

    def free_first(self) -> None:
        """Lets one more go although nothing was answered: the answers may be lost."""
        if self._inflight:
            self._inflight_bytes -= self._inflight.popleft()[1]

    def maybe_decrease(self, rejected: int, hint: int) -> bool:
        """A probe at `rejected` did not match; the logs may meet at `hint`.  False for an answer that is out of date."""
        if self.state == ProgressState.REPLICATE:
            if rejected <= self.match:
                return False
            self.next = self.match + 1
            return True
        if self.next - 1 != rejected:
            return False
        self.next = max(min(rejected, hint + 1), self.match + 1)
        self.probe_sent = False
        return True
