"""What a slow machine may not decide: whether a property holds."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

LONGER_THAN_A_DEADLINE_S = 0.25


def test_an_example_may_take_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the processor is taken away in the midst of one: Hypothesis is told the time by this clock."""
    clock, away_s = time.perf_counter, 0.0

    @settings(max_examples=3)
    @given(st.integers())
    def holds(number: int) -> None:
        nonlocal away_s
        away_s += LONGER_THAN_A_DEADLINE_S

    monkeypatch.setattr(time, "perf_counter", lambda: clock() + away_s)
    holds()
