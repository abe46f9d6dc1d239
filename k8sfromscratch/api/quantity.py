"""Resource quantities: `100m`, `1.5Gi`, `2e3` (apimachinery's resource.Quantity)."""

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

_SUFFIXES: dict[str, Decimal] = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)")


@lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Decimal:
    """The exact value.  Raises ValueError in upstream's words."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, exponent, suffix = found.groups()
    value = Decimal(number)
    return value.scaleb(int(exponent)) if exponent else value * _SUFFIXES[suffix or ""]


@lru_cache(maxsize=4096)
def parse_cpu_m(text: str) -> int:
    """Thousandths of a core, rounded up as upstream's MilliValue does."""
    return int((parse_quantity(text) * 1000).to_integral_value(ROUND_CEILING))


@lru_cache(maxsize=4096)
def parse_bytes(text: str) -> int:
    """Whole units, rounded up as upstream's Value does."""
    return int(parse_quantity(text).to_integral_value(ROUND_CEILING))
