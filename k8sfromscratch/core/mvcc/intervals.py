"""Ranges of keys as half-open intervals: whether some of them together cover another, and which of many hold a key.

[b"a", b"c") and [b"b", b"f")   merged: [b"a", b"f"), which covers [b"b", b"d")
"""

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

REBUILD_MIN = 16
"""Intervals that may be looked at one by one before it is worth sorting them."""


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


T = TypeVar("T", bound=Hashable)


class IntervalMap(Generic[T]):
    """Values by the interval that each has, and all whose intervals hold a key: of a thousand watches, the few that an event is for.

    The different intervals lie in a list, sorted by their start, which is read as a tree: its middle is the root, the halves are the subtrees.  Beside
    each stands how far the intervals of its subtree reach.  Nothing of a subtree that ends before a key holds it, nor what is right of a start behind it:

            [b, c)                 [b, c)  [d, h)  [e, f)           who holds f?   root [d, h): reach h, holds f
            [d, h)                reach: c     h       f                           left: reach c, out;  right [e, f): reach f, out
            [e, f)

    invariant: `_values` is the truth.  The tree may have intervals that no value has any more, and lack those in `_added`; it is built again when there
    are many of either, so that a change costs little, and a look-up the logarithm of the intervals and what it finds.
    """

    def __init__(self) -> None:
        self._values: dict[Interval, set[T]] = {}
        self._sorted: list[Interval] = []
        self._reach: list[bytes | None] = []
        self._known: set[Interval] = set()
        """What is in the tree."""
        self._added: list[Interval] = []

    def add(self, interval: Interval, value: T) -> None:
        alike = self._values.get(interval)
        if alike is None:
            alike = self._values[interval] = set()
            if interval not in self._known:
                self._known.add(interval)
                self._added.append(interval)
        alike.add(value)

    def discard(self, interval: Interval, value: T) -> None:
        alike = self._values.get(interval)
        if alike is not None:
            alike.discard(value)
            if not alike:
                del self._values[interval]

    def at(self, key: bytes) -> list[T]:
        """The values of the intervals that hold the key."""
        if len(self._added) > REBUILD_MIN + len(self._values) // 8 or len(self._known) > REBUILD_MIN + 2 * len(self._values):
            self._build()
        found: list[T] = []
        for interval in self._added:
            if interval.start <= key and (interval.end is None or key < interval.end):
                found += self._values.get(interval, ())
        self._find(key, 0, len(self._sorted), found)
        return found

    def __len__(self) -> int:
        return sum(map(len, self._values.values()))

    def __iter__(self) -> Iterator[T]:
        for alike in self._values.values():
            yield from alike

    def _find(self, key: bytes, low: int, high: int, found: list[T]) -> None:
        while low < high:
            middle = (low + high) // 2
            reach = self._reach[middle]
            if reach is not None and reach <= key:
                return
            self._find(key, low, middle, found)
            start, end = self._sorted[middle]
            if start > key:
                return
            if end is None or key < end:
                found += self._values.get(self._sorted[middle], ())
            low = middle + 1

    def _build(self) -> None:
        self._sorted, self._known, self._added = sorted(self._values, key=lambda i: i.start), set(self._values), []
        self._reach = [interval.end for interval in self._sorted]
        self._fill_reach(0, len(self._sorted))

    def _fill_reach(self, low: int, high: int) -> None:
        """How far each subtree reaches; None is behind every key."""
        middle = (low + high) // 2
        for lower, upper in ((low, middle), (middle + 1, high)):
            if lower < upper:
                self._fill_reach(lower, upper)
                mine, theirs = self._reach[middle], self._reach[(lower + upper) // 2]
                self._reach[middle] = None if mine is None or theirs is None else max(mine, theirs)
