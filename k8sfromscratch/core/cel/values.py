"""What expressions compute with, and how it differs from Python.

| CEL       | here        | |
|-----------|-------------|-|
| int       | int         | 64 bits: anything greater is an error, never a wider number |
| uint      | UInt        | an int that remembers it is unsigned |
| double    | float       | |
| timestamp | Timestamp   | nanoseconds since 1970, years 1 to 9999 |
| duration  | Duration    | nanoseconds, 64 bits |
| optional  | Optional    | |
| type      | CelType     | |
| the rest  | bool, str, bytes, None, list, dict | objects are the dicts they are in JSON |

Python holds True equal to 1 and CEL does not; hence `equal`, with Python's own comparison wherever the classes settle it.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from k8sfromscratch.core.cel.errors import CelEvaluationError
from k8sfromscratch.core.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    CelType,
    list_of,
    map_of,
    optional_of,
    type_name,
)

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
UINT_MAX = 2**64 - 1
NO_OVERLOAD = "no such overload"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP_MIN_NS = -62135596800 * 10**9
_TIMESTAMP_MAX_NS = 253402300800 * 10**9 - 1


class UInt(int):
    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    ns: int

    @property
    def utc(self) -> datetime:
        """To the microsecond; what is finer is in `ns`."""
        return _EPOCH + timedelta(microseconds=self.ns // 1000)

    def __str__(self) -> str:
        text = (_EPOCH + timedelta(seconds=self.ns // 10**9)).strftime("%Y-%m-%dT%H:%M:%S")
        fraction = f"{self.ns % 10**9:09d}".rstrip("0")
        return f"{text.rjust(19, '0')}{'.' + fraction if fraction else ''}Z"


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    ns: int

    def __str__(self) -> str:
        whole, fraction = divmod(abs(self.ns), 10**9)
        digits = f"{fraction:09d}".rstrip("0")
        return f"{'-' if self.ns < 0 else ''}{whole}{'.' + digits if digits else ''}s"


@dataclass(frozen=True, slots=True)
class Optional:
    """`optional.of(value)`, or `ABSENT`."""

    value: Any
    present: bool = True


ABSENT = Optional(None, False)


class Opaque:
    """Values of opaque types; `cel_type` names it."""

    __slots__ = ()
    cel_type: CelType = DYN


def timestamp(ns: int) -> Timestamp:
    if not _TIMESTAMP_MIN_NS <= ns <= _TIMESTAMP_MAX_NS:
        raise CelEvaluationError("timestamp overflow")
    return Timestamp(ns)


def duration(ns: int) -> Duration:
    if not INT_MIN <= ns <= INT_MAX:
        raise CelEvaluationError("duration overflow")
    return Duration(ns)


_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNIT_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION_LENGTH_MAX = 128
"""Enough for any number Go would parse, and no work for a hostile one."""


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339, or a date alone, which is its midnight in UTC."""
    found = _RFC3339.fullmatch(text)
    try:
        if found is None:
            if _DATE.fullmatch(text) is None:
                raise ValueError(text)
            moment = datetime.fromisoformat(text + "T00:00:00+00:00")
            fraction = ""
        else:
            zone = "+00:00" if found[4] in "Zz" else found[4]
            moment = datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}")
            fraction = found[3] or ""
    except ValueError:
        raise CelEvaluationError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}"') from None
    whole = (moment - _EPOCH) // timedelta(seconds=1)
    return timestamp(whole * 10**9 + int(fraction.ljust(9, "0")))


def parse_duration(text: str) -> Duration:
    """Go's form: `1h30m`, `-1.5s`, `0`."""
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return Duration(0)
    total = Decimal(0)
    at = 0
    while at < len(body) <= _DURATION_LENGTH_MAX and (part := _DURATION_PART.match(body, at)) is not None:
        total += Decimal(part[1]) * _UNIT_NS[part[2]]
        at = part.end()
    if not body or at < len(body):
        raise CelEvaluationError(f'time: invalid duration "{text}"')
    ns = int(total)
    return duration(-ns if text[0] == "-" else ns)


def equal(a: Any, b: Any) -> bool:
    """CEL's ==: numbers by value whatever their kind, everything else only within its kind."""
    kind = a.__class__
    if kind is b.__class__:
        if kind is list:
            return len(a) == len(b) and all(map(equal, a, b))
        if kind is dict:
            return len(a) == len(b) and all(key in b and equal(value, b[key]) for key, value in a.items())
        if kind is Optional:
            return bool(a.present == b.present and equal(a.value, b.value))
        return bool(a == b)
    if kind is bool or b.__class__ is bool:
        return False
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    return False


def order_key_compatible(a: Any, b: Any) -> bool:
    """Can the two be put in order?"""
    kind = a.__class__
    if kind is bool or b.__class__ is bool:
        return kind is b.__class__
    if isinstance(a, (int, float)):
        return isinstance(b, (int, float))
    return kind is b.__class__ and kind in (str, bytes, Timestamp, Duration)


def less(a: Any, b: Any) -> bool:
    if not order_key_compatible(a, b):
        raise CelEvaluationError(NO_OVERLOAD)
    return bool(a < b)


_KINDS: dict[type, CelType] = {
    bool: BOOL, int: INT, UInt: UINT, float: DOUBLE, str: STRING, bytes: BYTES, Timestamp: TIMESTAMP, Duration: DURATION, type(None): NULL,
    list: list_of(DYN), dict: map_of(DYN, DYN), Optional: optional_of(DYN), CelType: TYPE,
}  # fmt: skip


def type_of(value: Any) -> CelType:
    """The type found at evaluation; without parameters' detail."""
    found = _KINDS.get(value.__class__)
    if found is None:
        found = getattr(value, "cel_type", DYN)
    return found


def fits(value: Any, wanted: CelType) -> bool:
    """Is the value what an overload wants here?"""
    if wanted.kind in ("dyn", "param"):
        return True
    actual = type_of(value)
    if wanted.kind == "object":
        return actual.kind == "map"
    if wanted.kind == "opaque":
        # A host object of the caller need not know its type's name.
        return actual.name == wanted.name or (value.__class__ not in _KINDS and actual.kind == "dyn")
    if actual.kind in ("list", "optional_type") and wanted.params and wanted.params[0].kind not in ("dyn", "param"):
        inside = value if actual.kind == "list" else [value.value] if value.present else []
        return actual.kind == wanted.kind and all(fits(each, wanted.params[0]) for each in inside[:1])
    return actual.kind == wanted.kind


def plain(value: Any) -> Any:
    """What a caller gets: JSON's values, bytes, and text for times, types and the like."""
    kind = value.__class__
    if kind in (bool, str, int, float, bytes) or value is None:
        return value
    if kind is list:
        return [plain(each) for each in value]
    if kind is dict:
        return {plain(key): plain(each) for key, each in value.items()}
    if kind is UInt:
        return int(value)
    if kind is Optional:
        return plain(value.value) if value.present else None
    if kind in (Timestamp, Duration):
        return str(value)
    if kind is CelType:
        return type_name(value)
    return str(value) if isinstance(value, Opaque) else value


Converter = Callable[[Any], Any]


def converter(type_: CelType) -> Converter | None:
    """From JSON to `type_`, None where JSON's value will do.  Objects are converted field by field as they are read."""
    kind = type_.kind
    if kind == "optional_type":
        inner = converter(type_.params[0])
        return lambda value: value if isinstance(value, Optional) else ABSENT if value is None else Optional(inner(value) if inner else value)
    if kind == "list" and type_.params and (element := converter(type_.params[0])) is not None:
        return lambda value: [element(each) for each in value] if value.__class__ is list else value
    if kind == "map" and len(type_.params) == 2 and (member := converter(type_.params[1])) is not None:
        return lambda value: {key: member(each) for key, each in value.items()} if value.__class__ is dict else value
    return _LEAVES.get(kind)


def _from_base64(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True) if value.__class__ is str else value
    except binascii.Error:
        raise CelEvaluationError("illegal base64 data") from None


def _from_datetime(value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamp((value - _EPOCH) // timedelta(microseconds=1) * 1000)
    return parse_timestamp(value) if value.__class__ is str else value


_LEAVES: dict[str, Converter] = {
    "double": lambda value: float(value) if value.__class__ is int else value,
    "uint": lambda value: UInt(value) if value.__class__ is int else value,
    "timestamp": _from_datetime,
    "duration": lambda value: parse_duration(value) if value.__class__ is str else value,
    "bytes": _from_base64,
}
