"""The checker itself: good and bad histories."""

import pytest

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
