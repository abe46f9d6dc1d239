"""The checker itself: good and bad histories, and any small one against the definition."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8sfromscratch.testing.linearizability import Operation, is_linearizable


def w(called: int, returned: int | None, value: bytes) -> Operation:
    return Operation(called, returned, True, value)


def r(called: int, returned: int, value: bytes | None) -> Operation:
    return Operation(called, returned, False, value)


@pytest.mark.parametrize(
    ("history", "good"),
    [
        ([], True),
        ([r(0, 1, None), w(2, 3, b"1"), r(4, 5, b"1")], True),
        ([w(0, 1, b"1"), r(2, 3, None)], False),
        ([w(0, 10, b"1"), r(1, 2, None), r(3, 4, b"1")], True),
        ([w(0, 10, b"1"), r(1, 2, b"1"), r(3, 4, None)], False),
        ([w(0, 1, b"1"), w(2, 3, b"2"), r(4, 5, b"1")], False),
        ([w(0, 5, b"1"), w(0, 5, b"2"), r(6, 7, b"1"), r(8, 9, b"1")], True),
        ([w(0, 5, b"1"), w(0, 5, b"2"), r(6, 7, b"1"), r(8, 9, b"2")], False),
        ([w(0, None, b"1"), r(5, 6, None), r(50, 60, b"1")], True),
        ([w(9, None, b"1"), r(5, 6, b"1")], False),
        ([r(5, 6, b"never written")], False),
    ],
)
def test_known_histories(history: list[Operation], good: bool) -> None:
    assert is_linearizable(history) is good


def by_definition(history: list[Operation]) -> bool:
    """All orders of all that may have happened, one after the other."""
    read = {op.value for op in history if not op.write}
    ops = [op for op in history if op.returned is not None or op.value in read]
    for order in permutations(ops):
        late = any(after.returned is not None and after.returned < before.called for at, before in enumerate(order) for after in order[at + 1 :])
        value: bytes | None = None
        explained = True
        for op in order:
            value, explained = (op.value, explained) if op.write else (value, explained and op.value == value)
        if explained and not late:
            return True
    return False


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    times = st.integers(0, 8)
    found = []
    for number in range(draw(st.integers(0, 3))):
        called = draw(times)
        found.append(w(called, draw(st.none() | st.integers(called, 9)), b"%d" % number))
    values = st.sampled_from([None, *(op.value for op in found)])
    for _ in range(draw(st.integers(0, 2))):
        called = draw(times)
        found.append(r(called, draw(st.integers(called, 9)), draw(values)))
    return found


@settings(max_examples=300, deadline=None, derandomize=True)
@given(histories())
def test_as_by_definition(history: list[Operation]) -> None:
    assert is_linearizable(history) is by_definition(history)


def test_many_writes_at_once_are_no_search() -> None:
    history = [w(number % 7, None if number % 3 else 5000, b"%d" % number) for number in range(1000)]
    history += [r(6000 + number, 6001 + number, b"%d" % number) for number in range(2)]
    assert is_linearizable(history)
    assert not is_linearizable([*history, r(9000, 9001, b"0")])


def test_what_is_written_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        is_linearizable([w(0, 1, b"1"), w(2, 3, b"1")])
