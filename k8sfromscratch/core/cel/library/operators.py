"""Arithmetic, comparison, membership and indexing: cel-go's `_+_`, `_<_`, `@in`, `_[_]`.

Integers are 64 bits wide and overflow is an error; division cuts off towards zero; numbers of different kinds compare by value.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

from k8sfromscratch.core.cel.errors import CelEvaluationError
from k8sfromscratch.core.cel.overload import Overload, traversal
from k8sfromscratch.core.cel.types import BOOL, BYTES, DOUBLE, DURATION, INT, STRING, TIMESTAMP, UINT, A, B, CelType, list_of, map_of, optional_of
from k8sfromscratch.core.cel.values import ABSENT, INT_MAX, INT_MIN, NO_OVERLOAD, UINT_MAX, Optional, UInt, duration, equal, timestamp

Binary = Callable[[Any, Any], Any]


def int64(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise CelEvaluationError("integer overflow")


def uint64(value: int) -> UInt:
    if 0 <= value <= UINT_MAX:
        return UInt(value)
    raise CelEvaluationError("unsigned integer overflow")


def int_add(a: int, b: int) -> int:
    value = a + b
    return value if INT_MIN <= value <= INT_MAX else int64(value)


def int_divide(a: int, b: int) -> int:
    if b == 0:
        raise CelEvaluationError("division by zero")
    quotient = abs(a) // abs(b)
    return int64(quotient if (a < 0) == (b < 0) else -quotient)


def int_modulo(a: int, b: int) -> int:
    if b == 0:
        raise CelEvaluationError("modulus by zero")
    if a == INT_MIN and b == -1:
        raise CelEvaluationError("integer overflow")
    return int(math.copysign(1, a)) * (abs(a) % abs(b))


def double_divide(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)
    return a / b


def uint_divide(a: int, b: int) -> UInt:
    if b == 0:
        raise CelEvaluationError("division by zero")
    return UInt(int(a) // int(b))


def uint_modulo(a: int, b: int) -> UInt:
    if b == 0:
        raise CelEvaluationError("modulus by zero")
    return UInt(int(a) % int(b))


def list_index(items: list[Any], index: float) -> Any:
    if 0 <= index < len(items) and index == int(index):
        return items[int(index)]
    raise CelEvaluationError(f"index out of bounds: {index}")


def map_index(mapping: dict[Any, Any], key: Any) -> Any:
    try:
        return mapping[key]
    except KeyError:
        raise CelEvaluationError(f"no such key: {key}") from None
    except TypeError:
        raise CelEvaluationError(NO_OVERLOAD) from None


def optional_index(container: Any, key: Any) -> Any:
    if container.__class__ is list:
        return Optional(container[key]) if 0 <= key < len(container) else ABSENT
    if container.__class__ is dict:
        return Optional(container[key]) if key in container else ABSENT
    raise CelEvaluationError(NO_OVERLOAD)


def _through(index: Binary) -> Binary:
    """The same on what an optional holds, if anything."""
    return lambda container, key: index(container.value, key) if container.present else ABSENT


def in_list(value: Any, items: list[Any]) -> bool:
    if value.__class__ is str:
        return value in items
    return any(equal(value, each) for each in items)


def in_map(key: Any, mapping: dict[Any, Any]) -> bool:
    try:
        return key in mapping
    except TypeError:
        raise CelEvaluationError(NO_OVERLOAD) from None


def _comparisons() -> list[Overload]:
    numbers = (INT, UINT, DOUBLE)
    pairs: list[tuple[CelType, CelType]] = [(each, each) for each in (BOOL, STRING, BYTES, TIMESTAMP, DURATION)]
    pairs += [(one, other) for one in numbers for other in numbers]
    functions: dict[str, Binary] = {"_<_": operator.lt, "_<=_": operator.le, "_>_": operator.gt, "_>=_": operator.ge}
    return [Overload(name, pair, BOOL, function) for name, function in functions.items() for pair in pairs]


_OPTIONAL_MAP = optional_of(map_of(A, B))
_OPTIONAL_LIST = optional_of(list_of(A))

OVERLOADS: tuple[Overload, ...] = (
    Overload("_+_", (INT, INT), INT, int_add),
    Overload("_+_", (UINT, UINT), UINT, lambda a, b: uint64(int(a) + int(b))),
    Overload("_+_", (DOUBLE, DOUBLE), DOUBLE, operator.add),
    Overload("_+_", (STRING, STRING), STRING, operator.add, cost=traversal),
    Overload("_+_", (BYTES, BYTES), BYTES, operator.add, cost=traversal),
    Overload("_+_", (list_of(A), list_of(A)), list_of(A), operator.add, cost=traversal),
    Overload("_+_", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: timestamp(a.ns + b.ns)),
    Overload("_+_", (DURATION, TIMESTAMP), TIMESTAMP, lambda a, b: timestamp(a.ns + b.ns)),
    Overload("_+_", (DURATION, DURATION), DURATION, lambda a, b: duration(a.ns + b.ns)),
    Overload("_-_", (INT, INT), INT, lambda a, b: int64(a - b)),
    Overload("_-_", (UINT, UINT), UINT, lambda a, b: uint64(int(a) - int(b))),
    Overload("_-_", (DOUBLE, DOUBLE), DOUBLE, operator.sub),
    Overload("_-_", (TIMESTAMP, TIMESTAMP), DURATION, lambda a, b: duration(a.ns - b.ns)),
    Overload("_-_", (TIMESTAMP, DURATION), TIMESTAMP, lambda a, b: timestamp(a.ns - b.ns)),
    Overload("_-_", (DURATION, DURATION), DURATION, lambda a, b: duration(a.ns - b.ns)),
    Overload("_*_", (INT, INT), INT, lambda a, b: int64(a * b)),
    Overload("_*_", (UINT, UINT), UINT, lambda a, b: uint64(int(a) * int(b))),
    Overload("_*_", (DOUBLE, DOUBLE), DOUBLE, operator.mul),
    Overload("_/_", (INT, INT), INT, int_divide),
    Overload("_/_", (UINT, UINT), UINT, uint_divide),
    Overload("_/_", (DOUBLE, DOUBLE), DOUBLE, double_divide),
    Overload("_%_", (INT, INT), INT, int_modulo),
    Overload("_%_", (UINT, UINT), UINT, uint_modulo),
    Overload("-_", (INT,), INT, lambda a: int64(-a)),
    Overload("-_", (DOUBLE,), DOUBLE, operator.neg),
    Overload("-_", (DURATION,), DURATION, lambda a: duration(-a.ns)),
    Overload("!_", (BOOL,), BOOL, operator.not_),
    *_comparisons(),
    Overload("@in", (A, list_of(A)), BOOL, in_list, cost=lambda value, items: len(items)),
    Overload("@in", (A, map_of(A, B)), BOOL, in_map),
    Overload("_[_]", (list_of(A), INT), A, list_index),
    Overload("_[_]", (map_of(A, B), A), B, map_index),
    Overload("_[_]", (_OPTIONAL_LIST, INT), optional_of(A), _through(optional_index)),
    Overload("_[_]", (_OPTIONAL_MAP, A), optional_of(B), _through(optional_index)),
    Overload("_[?_]", (list_of(A), INT), optional_of(A), optional_index),
    Overload("_[?_]", (map_of(A, B), A), optional_of(B), optional_index),
    Overload("_[?_]", (_OPTIONAL_LIST, INT), optional_of(A), _through(optional_index)),
    Overload("_[?_]", (_OPTIONAL_MAP, A), optional_of(B), _through(optional_index)),
)
