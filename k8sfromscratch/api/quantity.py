"""Resource quantities: `100m`, `1.5Gi`, `2e3` (apimachinery's resource.Quantity).

Every quantity is stored in its canonical form, the largest suffix of its own family that leaves a whole number: `1000m` is kept as
`1`, `1.5Gi` as `1536Mi`, `0.5` as `500m`.  Amounts finer than one billionth are rounded away from zero, greater than 2⁶³-1 capped.
"""

import re
from decimal import ROUND_CEILING, ROUND_UP, Context, Decimal
from functools import lru_cache
from typing import Literal

Form = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_SUFFIXES = {suffix: Decimal(10) ** power for suffix, power in _DECIMAL.items()} | {suffix: Decimal(2**power) for suffix, power in _BINARY.items()}
_DECIMAL_SUFFIX = {power: suffix for suffix, power in _DECIMAL.items()}

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)")
_SUFFIX = re.compile(r"[eE][+-]?\d{1,3}|[numkMGTPE]|[KMGTPE]i|")
_LARGEST = Decimal(2**63 - 1)
_NANO = Decimal("1e-9")
_EXACT = Context(prec=400)

_FORM_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_SUFFIX_MESSAGE = "unable to parse quantity's suffix"


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[Decimal, Form]:
    number = _NUMBER.match(text)
    if number is None:
        raise ValueError(_FORM_MESSAGE)
    suffix = text[number.end() :]
    if _SUFFIX.fullmatch(suffix) is None:
        raise ValueError(_SUFFIX_MESSAGE if re.fullmatch(r"[eEinumkKMGTP]*[-+]?[0-9]*", suffix) else _FORM_MESSAGE)
    amount = Decimal(number.group())
    form: Form = "BinarySI" if suffix in _BINARY else "DecimalSI"
    if len(suffix) > 1 and suffix not in _BINARY:
        form, amount = "DecimalExponent", amount.scaleb(int(suffix[1:]), _EXACT)
    else:
        amount = _EXACT.multiply(amount, _SUFFIXES[suffix])
    if abs(amount) > _LARGEST:
        amount = _LARGEST.copy_sign(amount)
    elif amount % _NANO:
        amount = amount.quantize(_NANO, ROUND_UP, _EXACT)
    return amount, form


def parse_quantity(text: str) -> Decimal:
    """The exact value.  Raises ValueError in upstream's words."""
    return _parsed(text)[0]


@lru_cache(maxsize=4096)
def parse_cpu_m(text: str) -> int:
    """Thousandths of a core, rounded up as upstream's MilliValue does."""
    return int((parse_quantity(text) * 1000).to_integral_value(ROUND_CEILING))


@lru_cache(maxsize=4096)
def parse_bytes(text: str) -> int:
    """Whole units, rounded up as upstream's Value does."""
    return int(parse_quantity(text).to_integral_value(ROUND_CEILING))


@lru_cache(maxsize=4096)
def canonical_quantity(text: str) -> str:
    """The form in which upstream stores and prints what was given as `text`.  Raises ValueError."""
    return format_quantity(*_parsed(text))


def format_quantity(amount: Decimal | int, form: Form = "DecimalSI") -> str:
    """`Decimal("0.5")` → `500m`; 1073741824 in BinarySI → `1Gi`.  An amount below 1024 or with a fraction has no binary form: decimal is used."""
    exact = Decimal(amount)
    if not exact:
        return "0"
    if form == "BinarySI" and abs(exact) >= 1024 and exact == exact.to_integral_value():
        return _binary(int(exact))
    _, _digits, exponent = exact.normalize(_EXACT).as_tuple()
    power = int(exponent)
    step = power - power % 3
    mantissa = int(exact.scaleb(-step, _EXACT))
    # Above the largest suffix the number itself grows; below the smallest nothing is left after parsing's rounding.
    while step > 18:
        step -= 3
        mantissa *= 1000
    if form == "DecimalExponent":
        return f"{mantissa}e{step}" if step else str(mantissa)
    return f"{mantissa}{_DECIMAL_SUFFIX[step]}"


def _binary(amount: int) -> str:
    suffix = ""
    for candidate in _BINARY:
        quotient, rest = divmod(amount, 1024)
        if rest:
            break
        amount, suffix = quotient, candidate
    return f"{amount}{suffix}"
