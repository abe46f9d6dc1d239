"""Time and randomness as values that are handed in.

Nothing in this package reads a clock or a random source by itself: it is given an `Env`.  In production that is the system's;
on a virtual-time event loop (`testing.virtual`) the clock follows `loop.time()` and the random source has a seed, so a whole
cluster can be replayed.  Waiting needs no seam of its own: `asyncio.sleep` and `asyncio.timeout` follow the running loop.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The wall clock, an aware datetime in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class LoopClock:
    """Follows the running event loop's own time: on a virtual-time loop, virtual time.  `epoch` is the wall time at loop time 0."""

    def __init__(self, epoch: datetime) -> None:
        self._epoch = epoch

    def now(self) -> datetime:
        return self._epoch + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Env:
    """What a component may know of the world besides its inputs."""

    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.SystemRandom)

    def uid(self) -> str:
        """A random UUID (version 4) as the API prints it."""
        bits = self.rng.getrandbits(128)
        # RFC 9562 §5.4: the version in the 13th digit, the variant in the 17th.
        digits = f"{bits & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def rfc3339(moment: datetime) -> str:
    """metav1.Time: whole seconds, `2026-01-02T03:04:05Z`."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def rfc3339_micro(moment: datetime) -> str:
    """metav1.MicroTime: `2026-01-02T03:04:05.000006Z` (leases and events)."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_rfc3339(text: str) -> datetime:
    """Either of the two forms back to an aware datetime.  Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
