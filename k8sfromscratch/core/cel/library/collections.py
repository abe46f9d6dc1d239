"""Lists as Kubernetes extends them, sets (lists as sets), and math.

[1, 2, 2].isSorted()        sets.contains([1, 2], [1])        math.greatest(1, 2.5)
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

from k8sfromscratch.core.cel.errors import CelEvaluationError
from k8sfromscratch.core.cel.library.operators import int64, int_add, uint64
from k8sfromscratch.core.cel.overload import Overload, traversal
from k8sfromscratch.core.cel.types import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, UINT, A, CelType, list_of
from k8sfromscratch.core.cel.values import INT_MIN, NO_OVERLOAD, UInt, duration, equal, less

_LISTS = list_of(A)
_FLATTEN_DEPTH_MAX = 32


def _is_sorted(items: list[Any]) -> bool:
    return not any(less(later, earlier) for earlier, later in itertools.pairwise(items))


def _extreme(items: list[Any], name: str, better: Callable[[Any, Any], bool]) -> Any:
    if not items:
        raise CelEvaluationError(f"{name} called on empty list")
    best = items[0]
    for each in items[1:]:
        if better(each, best):
            best = each
    return best


def _sum_int(items: list[Any]) -> int:
    total = 0
    for each in items:
        total = int_add(total, each)
    return total


def _index_of(items: list[Any], value: Any) -> int:
    return next((index for index, each in enumerate(items) if equal(each, value)), -1)


def _last_index_of(items: list[Any], value: Any) -> int:
    return next((index for index in range(len(items) - 1, -1, -1) if equal(items[index], value)), -1)


def _contains(items: list[Any], wanted: list[Any]) -> bool:
    return all(any(equal(each, one) for each in items) for one in wanted)


def _product(one: list[Any], other: list[Any]) -> int:
    return len(one) * len(other) + len(one) + len(other)


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise CelEvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise CelEvaluationError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(items):
        raise CelEvaluationError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def _flatten(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise CelEvaluationError("level must be non-negative")
    for _ in range(min(depth, _FLATTEN_DEPTH_MAX)):
        if not any(each.__class__ is list for each in items):
            break
        items = [inner for each in items for inner in (each if each.__class__ is list else [each])]
    return items


def _distinct(items: list[Any]) -> list[Any]:
    found: list[Any] = []
    for each in items:
        if not any(equal(each, other) for other in found):
            found.append(each)
    return found


def _sort(items: list[Any]) -> list[Any]:
    for earlier, later in itertools.pairwise(items):
        less(earlier, later)
    return sorted(items)


def _range(count: int) -> list[int]:
    if count > 1_000_000:
        raise CelEvaluationError("lists.range() argument is too large")
    return list(range(count))


def _summable() -> list[Overload]:
    sums: dict[CelType, Callable[[list[Any]], Any]] = {
        INT: _sum_int,
        UINT: lambda items: uint64(sum(map(int, items))),
        DOUBLE: lambda items: float(sum(items)),
        DURATION: lambda items: duration(sum(each.ns for each in items)),
    }
    return [Overload("sum", (list_of(type_),), type_, call, member=True, cost=traversal) for type_, call in sums.items()]


def _ordered() -> list[Overload]:
    found: list[Overload] = []
    for type_ in (INT, UINT, DOUBLE, BOOL, STRING, BYTES, TIMESTAMP, DURATION):
        items = list_of(type_)
        found += [
            Overload("isSorted", (items,), BOOL, _is_sorted, member=True, cost=traversal),
            Overload("min", (items,), type_, lambda items: _extreme(items, "min", less), member=True, cost=traversal),
            Overload("max", (items,), type_, lambda items: _extreme(items, "max", lambda a, b: less(b, a)), member=True, cost=traversal),
            Overload("sort", (items,), items, _sort, member=True, cost=traversal),
        ]
    return found


def _greatest(*values: Any) -> Any:
    return _extreme(_flat(values), "math.greatest", lambda a, b: a > b)


def _least(*values: Any) -> Any:
    return _extreme(_flat(values), "math.least", lambda a, b: a < b)


def _flat(values: tuple[Any, ...]) -> list[Any]:
    items: list[Any] = values[0] if len(values) == 1 and values[0].__class__ is list else list(values)
    if any(each.__class__ is bool or not isinstance(each, (int, float)) for each in items):
        raise CelEvaluationError(NO_OVERLOAD)
    return items


_ARGUMENTS_MAX = 8
"""math.greatest takes any number; a list takes the rest."""


def _extremes() -> list[Overload]:
    found: list[Overload] = []
    for name, call in (("math.greatest", _greatest), ("math.least", _least)):
        for type_ in (INT, UINT, DOUBLE):
            found += [Overload(name, (type_,) * count, type_, call) for count in range(1, _ARGUMENTS_MAX + 1)]
            found.append(Overload(name, (list_of(type_),), type_, call, cost=traversal))
        mixed = [(one, other) for one in (INT, UINT, DOUBLE) for other in (INT, UINT, DOUBLE) if one is not other]
        found += [Overload(name, pair, DYN, call) for pair in mixed]
    return found


def _round(value: float) -> float:
    return float(math.copysign(math.floor(abs(value) + 0.5), value)) if math.isfinite(value) else value


def _whole(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda value: float(function(value)) if math.isfinite(value) else value


def _absolute(value: int) -> int:
    if value == INT_MIN:
        raise CelEvaluationError("integer overflow")
    return abs(value)


def _signs() -> list[Overload]:
    return [
        Overload("math.abs", (INT,), INT, _absolute),
        Overload("math.abs", (UINT,), UINT, lambda value: value),
        Overload("math.abs", (DOUBLE,), DOUBLE, abs),
        Overload("math.sign", (INT,), INT, lambda value: (value > 0) - (value < 0)),
        Overload("math.sign", (UINT,), UINT, lambda value: UInt(value > 0)),
        Overload("math.sign", (DOUBLE,), DOUBLE, lambda value: float((value > 0) - (value < 0))),
    ]


OVERLOADS: tuple[Overload, ...] = (
    *_summable(),
    *_ordered(),
    Overload("indexOf", (_LISTS, A), INT, _index_of, member=True, cost=lambda items, value: len(items)),
    Overload("lastIndexOf", (_LISTS, A), INT, _last_index_of, member=True, cost=lambda items, value: len(items)),
    Overload("slice", (_LISTS, INT, INT), _LISTS, _slice, member=True, cost=lambda items, start, end: len(items)),
    Overload("flatten", (_LISTS,), list_of(DYN), _flatten, member=True, cost=traversal),
    Overload("flatten", (_LISTS, INT), list_of(DYN), _flatten, member=True, cost=traversal),
    Overload("distinct", (_LISTS,), _LISTS, _distinct, member=True, cost=lambda items: len(items) ** 2),
    Overload("reverse", (_LISTS,), _LISTS, lambda items: items[::-1], member=True, cost=traversal),
    Overload("lists.range", (INT,), list_of(INT), _range, cost=lambda count: max(count, 0)),
    Overload("sets.contains", (_LISTS, _LISTS), BOOL, _contains, cost=_product),
    Overload("sets.equivalent", (_LISTS, _LISTS), BOOL, lambda a, b: _contains(a, b) and _contains(b, a), cost=_product),
    Overload("sets.intersects", (_LISTS, _LISTS), BOOL, lambda a, b: any(equal(one, other) for one in a for other in b), cost=_product),
    *_extremes(),
    *_signs(),
    Overload("math.ceil", (DOUBLE,), DOUBLE, _whole(math.ceil)),
    Overload("math.floor", (DOUBLE,), DOUBLE, _whole(math.floor)),
    Overload("math.trunc", (DOUBLE,), DOUBLE, _whole(math.trunc)),
    Overload("math.round", (DOUBLE,), DOUBLE, _round),
    Overload("math.isNaN", (DOUBLE,), BOOL, math.isnan),
    Overload("math.isInf", (DOUBLE,), BOOL, math.isinf),
    Overload("math.isFinite", (DOUBLE,), BOOL, math.isfinite),
    Overload("math.bitAnd", (INT, INT), INT, lambda a, b: a & b),
    Overload("math.bitOr", (INT, INT), INT, lambda a, b: a | b),
    Overload("math.bitXor", (INT, INT), INT, lambda a, b: a ^ b),
    Overload("math.bitNot", (INT,), INT, lambda a: int64(~a)),
)
