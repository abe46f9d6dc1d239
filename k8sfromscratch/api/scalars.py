"""Strings with a meaning of their own: times, quantities, base64.  Each reader returns the form that is stored.

They raise ValueError in the words of upstream's decoder (Go's time.Parse, resource.ParseQuantity, encoding/base64).
"""

import binascii
import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from k8sfromscratch.api.quantity import canonical_quantity

_RFC_3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")


@lru_cache(maxsize=4096)
def time(text: str) -> str:
    """metav1.Time: whole seconds, UTC."""
    return _utc(text, "2006-01-02T15:04:05Z07:00").strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=4096)
def micro_time(text: str) -> str:
    """metav1.MicroTime: six digits behind the second, UTC."""
    return _utc(text, "2006-01-02T15:04:05.000000Z07:00").strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _utc(text: str, layout: str) -> datetime:
    found = _RFC_3339.fullmatch(text)
    if found is None:
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"')
    *fields, fraction, zone = found.groups()
    micros = (fraction or "").ljust(6, "0")[:6]
    try:
        return datetime.fromisoformat("{}-{}-{}T{}:{}:{}".format(*fields) + f".{micros}{zone.replace('Z', '+00:00')}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f'parsing time "{text}": value out of range') from None


def quantity(value: Any) -> str:
    """Numbers are allowed as well: `cpu: 2`."""
    if isinstance(value, str):
        return canonical_quantity(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return canonical_quantity("true")
    return canonical_quantity(str(value) if isinstance(value, int) else _plain(value))


def _plain(value: float) -> str:
    """`2.0` as `2`, `1e-07` as `0.0000001`: without an exponent, which would be a format of its own."""
    return f"{Decimal(repr(value)).normalize():f}"


def base64(text: str) -> str:
    try:
        binascii.a2b_base64(text.replace("\r", "").replace("\n", ""), strict_mode=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"illegal base64 data at input byte {_first_bad_byte(text)}") from None
    return text


def _first_bad_byte(text: str) -> int:
    found = re.match(r"(?:[A-Za-z0-9+/\r\n]{4})*", text)
    position = found.end() if found else 0
    while position < len(text) and re.match(r"[A-Za-z0-9+/\r\n]", text[position]):
        position += 1
    return position
