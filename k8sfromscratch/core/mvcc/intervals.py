"""Ranges of keys as half-open intervals, and whether some of them together cover another.

[b"a", b"c") and [b"b", b"f")   merged: [b"a", b"f"), which covers [b"b", b"d")
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """From `start` to before `end`; None is behind every key."""

    start: bytes
    end: bytes | None

    @classmethod
    def of(cls, key: bytes, range_end: bytes) -> "Interval":
        """As etcd writes ranges: b"" for the one key, b"\\0" to the end."""
        if not range_end:
            return cls(key, key + b"\0")
        return cls(key, None if range_end == b"\0" else range_end)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same keys in the fewest intervals, sorted; those that hold no key are left out."""
    found: list[Interval] = []
    for each in sorted((i for i in intervals if i.end is None or i.start < i.end), key=lambda i: i.start):
        last = found[-1] if found else None
        if last is not None and (last.end is None or each.start <= last.end):
            if last.end is not None and (each.end is None or each.end > last.end):
                found[-1] = Interval(last.start, each.end)
        else:
            found.append(each)
    return found


def covers(intervals: Sequence[Interval], wanted: Interval) -> bool:
    """Whether one of these merged intervals holds all of `wanted`."""
    at = bisect_right(intervals, wanted.start, key=lambda i: i.start) - 1
    if at < 0:
        return False
    end = intervals[at].end
    return end is None or (wanted.end is not None and wanted.end <= end)
