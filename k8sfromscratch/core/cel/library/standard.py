"""CEL's standard library but for operators: sizes, strings' basics, conversions, times, types, optionals."""

import math
import re
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from k8sfromscratch.core.cel.errors import CelEvaluationError
from k8sfromscratch.core.cel.library.operators import int64, uint64
from k8sfromscratch.core.cel.overload import Overload, traversal
from k8sfromscratch.core.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    A,
    B,
    CelType,
    list_of,
    map_of,
    optional_of,
    type_name,
)
from k8sfromscratch.core.cel.values import ABSENT, Optional, Timestamp, UInt, duration, parse_duration, parse_timestamp, timestamp, type_of

_INT = re.compile(r"[+-]?[0-9]{1,32}")
_DOUBLE = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?[iI]nf(?:inity)?|NaN|nan")
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)", re.ASCII)


def _int_of_text(text: str) -> int:
    if _INT.fullmatch(text) is None:
        raise CelEvaluationError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int64(int(text))


def _uint_of_text(text: str) -> UInt:
    if _INT.fullmatch(text) is None or text[0] in "+-":
        raise CelEvaluationError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    return uint64(int(text))


def _int_of_double(value: float) -> int:
    if not -(2.0**63) < value < 2.0**63:
        raise CelEvaluationError("integer overflow")
    return int(value)


def _uint_of_double(value: float) -> UInt:
    if not 0 <= value < 2.0**64:
        raise CelEvaluationError("unsigned integer overflow")
    return UInt(value)


def _double_of_text(text: str) -> float:
    if len(text) > 400 or _DOUBLE.fullmatch(text) is None:
        raise CelEvaluationError(f'strconv.ParseFloat: parsing "{text}": invalid syntax')
    return float(text)


def _bool_of_text(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise CelEvaluationError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def double_text(value: float) -> str:
    """Go's shortest form: `1`, `0.5`, `1e+21`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return repr(value)


def _text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CelEvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


def _zone(name: str) -> tzinfo:
    found = _OFFSET.fullmatch(name)
    if found is not None:
        minutes = int(found[2]) * 60 + int(found[3])
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes))
    try:
        return UTC if name in ("", "UTC") else zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise CelEvaluationError(f"unknown time zone {name}") from None


_ACCESSORS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
    "getMilliseconds": lambda moment: moment.microsecond // 1000,
}
_DURATION_NS = {"getHours": 3600 * 10**9, "getMinutes": 60 * 10**9, "getSeconds": 10**9, "getMilliseconds": 10**6}


def _towards_zero(value: int, by: int) -> int:
    return value // by if value >= 0 else -(-value // by)


def _accessors() -> list[Overload]:
    found: list[Overload] = []
    for name, read in _ACCESSORS.items():

        def of_time(moment: Timestamp, zone: str = "UTC", read: Callable[[datetime], int] = read) -> int:
            return read(moment.utc.astimezone(_zone(zone)))

        found.append(Overload(name, (TIMESTAMP,), INT, lambda moment, read=read: read(moment.utc), member=True))
        found.append(Overload(name, (TIMESTAMP, STRING), INT, of_time, member=True))
    for name, unit in _DURATION_NS.items():
        found.append(Overload(name, (DURATION,), INT, lambda span, unit=unit: _towards_zero(span.ns, unit), member=True))
    return found


def _sizes() -> list[Overload]:
    sized: list[CelType] = [STRING, BYTES, list_of(A), map_of(A, B)]
    return [Overload("size", (each,), INT, len, member=member) for each in sized for member in (False, True)]


def _or_value(optional: Optional, default: Any) -> Any:
    return optional.value if optional.present else default


def _optional_value(optional: Optional) -> Any:
    if not optional.present:
        raise CelEvaluationError("optional.none() dereference")
    return optional.value


def _non_zero(value: Any) -> Optional:
    return Optional(value) if value else ABSENT


_SOME = optional_of(A)

OVERLOADS: tuple[Overload, ...] = (
    *_sizes(),
    Overload("contains", (STRING, STRING), BOOL, lambda text, part: part in text, member=True, cost=traversal),
    Overload("startsWith", (STRING, STRING), BOOL, str.startswith, member=True),
    Overload("endsWith", (STRING, STRING), BOOL, str.endswith, member=True),
    Overload("int", (INT,), INT, lambda value: value),
    Overload("int", (UINT,), INT, lambda value: int64(int(value))),
    Overload("int", (DOUBLE,), INT, _int_of_double),
    Overload("int", (STRING,), INT, _int_of_text),
    Overload("int", (TIMESTAMP,), INT, lambda moment: moment.ns // 10**9),
    Overload("int", (DURATION,), INT, lambda span: span.ns),
    Overload("uint", (UINT,), UINT, lambda value: value),
    Overload("uint", (INT,), UINT, uint64),
    Overload("uint", (DOUBLE,), UINT, _uint_of_double),
    Overload("uint", (STRING,), UINT, _uint_of_text),
    Overload("double", (DOUBLE,), DOUBLE, lambda value: value),
    Overload("double", (INT,), DOUBLE, float),
    Overload("double", (UINT,), DOUBLE, float),
    Overload("double", (STRING,), DOUBLE, _double_of_text),
    Overload("bool", (BOOL,), BOOL, lambda value: value),
    Overload("bool", (STRING,), BOOL, _bool_of_text),
    Overload("string", (STRING,), STRING, lambda value: value),
    Overload("string", (BOOL,), STRING, lambda value: "true" if value else "false"),
    Overload("string", (INT,), STRING, str),
    Overload("string", (UINT,), STRING, lambda value: str(int(value))),
    Overload("string", (DOUBLE,), STRING, double_text),
    Overload("string", (BYTES,), STRING, _text_of_bytes, cost=traversal),
    Overload("string", (TIMESTAMP,), STRING, str),
    Overload("string", (DURATION,), STRING, str),
    Overload("string", (TYPE,), STRING, type_name),
    Overload("bytes", (BYTES,), BYTES, lambda value: value),
    Overload("bytes", (STRING,), BYTES, lambda value: value.encode("utf-8", "replace"), cost=traversal),
    Overload("timestamp", (TIMESTAMP,), TIMESTAMP, lambda value: value),
    Overload("timestamp", (STRING,), TIMESTAMP, parse_timestamp),
    Overload("timestamp", (INT,), TIMESTAMP, lambda seconds: timestamp(seconds * 10**9)),
    Overload("duration", (DURATION,), DURATION, lambda value: value),
    Overload("duration", (STRING,), DURATION, parse_duration),
    Overload("duration", (INT,), DURATION, lambda ns: duration(ns)),
    Overload("dyn", (A,), DYN, lambda value: value),
    Overload("type", (A,), TYPE, lambda value: _bare(type_of(value))),
    Overload("optional.of", (A,), _SOME, Optional),
    Overload("optional.ofNonZeroValue", (A,), _SOME, _non_zero),
    Overload("optional.none", (), _SOME, lambda: ABSENT),
    Overload("hasValue", (_SOME,), BOOL, lambda optional: optional.present, member=True),
    Overload("value", (_SOME,), A, _optional_value, member=True),
    Overload("orValue", (_SOME, A), A, _or_value, member=True),
    Overload("or", (_SOME, _SOME), _SOME, lambda one, other: one if one.present else other, member=True),
    *_accessors(),
)


def _bare(type_: CelType) -> CelType:
    """`type([1]) == list`: without what it is a list of."""
    return CelType(type_.kind, name=type_.name)
