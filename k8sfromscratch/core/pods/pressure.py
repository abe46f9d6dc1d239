"""When a node is short of something: the thresholds of `--eviction-hard`, and the conditions that follow.

A node under pressure is tainted by the node lifecycle controller, so that nothing more is scheduled to it.  Pods are not evicted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from k8sfromscratch.api.quantity import parse_bytes

DEFAULT_THRESHOLDS = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,pid.available<5%"

CONDITIONS = {"MemoryPressure": ("memory.available",), "DiskPressure": ("nodefs.available", "nodefs.inodesFree"), "PIDPressure": ("pid.available",)}
_SIGNALS = tuple(signal for signals in CONDITIONS.values() for signal in signals)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Absolute, or a share of the capacity."""

    amount: int = 0
    share: float = 0.0

    def of(self, capacity: int) -> int:
        return self.amount or int(capacity * self.share)


def parse_thresholds(text: str) -> dict[str, Threshold]:
    """`memory.available<100Mi,nodefs.available<10%`.  Raises ValueError for a signal or an amount that is not known."""
    found = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        signal, less, amount = part.partition("<")
        if not less or signal not in _SIGNALS:
            raise ValueError(f"eviction threshold {part!r}: expected SIGNAL<AMOUNT with SIGNAL one of {', '.join(_SIGNALS)}")
        found[signal] = Threshold(share=float(amount[:-1]) / 100) if amount.endswith("%") else Threshold(parse_bytes(amount))
    return found


def under_pressure(thresholds: Mapping[str, Threshold], available: Mapping[str, int], capacity: Mapping[str, int]) -> dict[str, bool]:
    """By condition type.  A signal without a capacity (a filesystem that counts no inodes) is never short."""
    return {
        condition: any(
            signal in thresholds and capacity.get(signal, 0) > 0 and available[signal] < thresholds[signal].of(capacity[signal]) for signal in signals
        )
        for condition, signals in CONDITIONS.items()
    }
