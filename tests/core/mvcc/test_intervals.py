"""Which of many intervals hold a key, against looking at all of them."""

from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.core.mvcc.intervals import Interval, IntervalMap

KEYS = st.binary(max_size=2)
INTERVALS = st.builds(Interval, KEYS, st.none() | KEYS)
CHANGES = st.lists(st.tuples(st.booleans(), INTERVALS, st.integers(0, 3)), max_size=120)


@given(CHANGES, st.lists(KEYS, min_size=1, max_size=5))
def test_it_finds_what_looking_at_all_finds(changes: list[tuple[bool, Interval, int]], keys: list[bytes]) -> None:
    ours: IntervalMap[tuple[Interval, int]] = IntervalMap()
    twin: set[tuple[Interval, int]] = set()
    for number, (added, interval, value) in enumerate(changes):
        if added:
            ours.add(interval, (interval, value))
            twin.add((interval, value))
        else:
            ours.discard(interval, (interval, value))
            twin.discard((interval, value))
        if number % 7 == 0 or number == len(changes) - 1:
            assert len(ours) == len(twin) and set(ours) == twin
            for key in keys:
                found = ours.at(key)
                holding = {each for each in twin if each[0].start <= key and (each[0].end is None or key < each[0].end)}
                assert len(found) == len(holding) and set(found) == holding, key


def test_a_look_up_among_many_looks_at_few() -> None:
    looked = 0

    class Counted(bytes):
        def __le__(self, other: bytes) -> bool:
            nonlocal looked
            looked += 1
            return bytes(self) <= bytes(other)

    many: IntervalMap[int] = IntervalMap()
    for number in range(10_000):
        many.add(Interval(b"%05d" % number, Counted(b"%05d" % (number + 1))), number)
    assert many.at(b"07777") == [7777]
    looked = 0
    assert many.at(b"01234") == [1234]
    assert looked < 100
