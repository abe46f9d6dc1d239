"""Quantities: what upstream accepts, its canonical form, and a naive twin."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.api.quantity import canonical_quantity, format_quantity, parse_bytes, parse_cpu_m, parse_quantity


@pytest.mark.parametrize(
    ("given_text", "canonical"),
    [
        ("0", "0"),
        ("0Gi", "0"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("+5", "5"),
        ("1500m", "1500m"),
        ("1.5Gi", "1536Mi"),
        ("1024Mi", "1Gi"),
        ("0.5Ki", "512"),
        ("0.1Ki", "102400m"),
        ("1000k", "1M"),
        ("128974848", "128974848"),
        ("129M", "129M"),
        ("1e3", "1e3"),
        ("129e6", "129e6"),
        ("1E", "1E"),
        ("1Ei", "1Ei"),
        ("-1.5Gi", "-1536Mi"),
        ("1e-10", "1e-9"),
        ("12E", "9223372036854775807"),
    ],
)
def test_canonical_form(given_text: str, canonical: str) -> None:
    assert canonical_quantity(given_text) == canonical
    assert canonical_quantity(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must match"),
        ("a", "must match"),
        ("1.5.5", "must match"),
        ("1 Gi", "must match"),
        ("--1", "must match"),
        ("1ki", "suffix"),
        ("1Kii", "suffix"),
        ("1e", "suffix"),
    ],
)
def test_what_is_no_quantity_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_quantity(text)


def test_whole_units_round_up() -> None:
    assert (parse_cpu_m("0.0001"), parse_cpu_m("250m"), parse_cpu_m("2")) == (1, 250, 2000)
    assert (parse_bytes("0.1"), parse_bytes("1500m"), parse_bytes("1Ki")) == (1, 2, 1024)


def test_formats() -> None:
    assert format_quantity(1536 * 2**20, "BinarySI") == "1536Mi"
    assert format_quantity(1000, "BinarySI") == "1k"
    assert format_quantity(Decimal("0.25")) == "250m"


POWERS = {"n": (10, -9), "u": (10, -6), "m": (10, -3), "": (10, 0), "k": (10, 3), "M": (10, 6), "G": (10, 9), "Ki": (2, 10), "Mi": (2, 20), "Gi": (2, 30)}


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 6), st.sampled_from(sorted(POWERS)), st.booleans())
def test_as_the_naive_twin(whole: int, fraction: int, digits: int, suffix: str, negative: bool) -> None:
    part = f".{fraction:0{digits}d}"[: digits + 1] if digits else ""
    text = f"{'-' if negative else ''}{whole}{part}{suffix}"
    base, power = POWERS[suffix]
    exact = Fraction(f"{whole}{part}") * Fraction(base) ** power
    # Finer than a billionth is rounded away from zero.
    billionths = -(-exact * 10**9 // 1)
    expected = Fraction(int(billionths), 10**9) * (-1 if negative else 1)
    assert Fraction(parse_quantity(text)) == expected
    assert Fraction(parse_quantity(canonical_quantity(text))) == expected
