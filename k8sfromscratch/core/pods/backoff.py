"""How long a crashing container waits before it is started again: 10 s, doubled at every restart, at most 5 min.

The delay counts from the end of the last run.  A container that has not been restarted for twice the maximum starts over.
One value belongs to one pod; it is memory of the kubelet's, lost with its process, as upstream's is.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

INITIAL_S = 10.0
MAX_S = 300.0


@dataclass(slots=True)
class _Entry:
    delay_s: float
    last_restart: datetime


@dataclass(slots=True)
class CrashBackoff:
    initial_s: float = INITIAL_S
    max_s: float = MAX_S
    _entries: dict[str, _Entry] = field(default_factory=dict)

    def until(self, name: str, ended: datetime, now: datetime) -> datetime | None:
        """When the container may start again, or None if it may now."""
        entry = self._live_entry(name, now)
        if entry is None:
            return None
        due = ended + timedelta(seconds=entry.delay_s)
        return due if due > now else None

    def delay_s(self, name: str, now: datetime) -> float:
        entry = self._live_entry(name, now)
        return entry.delay_s if entry else 0.0

    def note_restart(self, name: str, now: datetime) -> None:
        """The container is started again now: its next end waits longer."""
        entry = self._live_entry(name, now)
        delay_s = self.initial_s if entry is None else min(entry.delay_s * 2, self.max_s)
        self._entries[name] = _Entry(delay_s, now)

    def _live_entry(self, name: str, now: datetime) -> _Entry | None:
        entry = self._entries.get(name)
        if entry is None or now - entry.last_restart > timedelta(seconds=2 * self.max_s):
            return None
        return entry
