"""Equality and `+` of lists whose schema says that they are sets or maps (`x-kubernetes-list-type`): order does not matter.

[1, 2] == [2, 1]                    for list-type set
[1, 2] + [2, 3]  →  [1, 2, 3]
[{k: a, v: 1}] + [{k: a, v: 2}]  →  [{k: a, v: 2}]      for list-type map with key k: the right one's element in the left one's place
"""

from collections.abc import Callable
from typing import Any

from k8sfromscratch.core.cel.types import CelType
from k8sfromscratch.core.cel.values import equal

Equal = Callable[[Any, Any], bool]
Plus = Callable[[list[Any], list[Any]], list[Any]]


def equality(type_: CelType) -> Equal:
    """The comparison that values of this static type need: `equal`, unless a set or map lies somewhere within."""
    if not _unordered_within(type_):
        return equal
    if type_.kind == "object":
        members = {field.name: equality(field.type) for field in type_.fields.values()}

        def objects(a: Any, b: Any) -> bool:
            if a.__class__ is not dict or b.__class__ is not dict:
                return equal(a, b)
            return a.keys() == b.keys() and all(members.get(key, equal)(value, b[key]) for key, value in a.items())

        return objects
    if type_.kind == "map":
        member = equality(type_.params[1])
        return lambda a, b: a.keys() == b.keys() and all(member(value, b[key]) for key, value in a.items())
    element = equality(type_.params[0])
    if type_.kind == "optional_type":
        return lambda a, b: a.present == b.present and (not a.present or element(a.value, b.value))
    if type_.list_type == "set":
        return lambda a, b: len(a) == len(b) and _each_in(a, b, element) and _each_in(b, a, element)
    if type_.list_type == "map":
        return lambda a, b: len(a) == len(b) and _each_in(a, b, element)
    return lambda a, b: len(a) == len(b) and all(map(element, a, b))


def _unordered_within(type_: CelType) -> bool:
    if type_.list_type != "atomic":
        return True
    return any(map(_unordered_within, type_.params)) or any(_unordered_within(field.type) for field in type_.fields.values())


def _hashable(values: list[Any]) -> set[Any] | None:
    return set(values) if all(each.__class__ in (str, int) for each in values) else None


def _each_in(a: list[Any], b: list[Any], same: Equal) -> bool:
    some = _hashable(a)
    others = _hashable(b)
    if some is not None and others is not None:
        return some <= others
    return all(any(same(one, other) for other in b) for one in a)


def plus(type_: CelType) -> Plus | None:
    """How two lists of this type join, None where they are just put one after the other."""
    if type_.list_type == "set":
        return _set_plus
    if type_.list_type == "map":
        keys = type_.map_keys

        def map_plus(a: list[Any], b: list[Any]) -> list[Any]:
            merged = {_key(each, keys): each for each in a}
            merged.update((_key(each, keys), each) for each in b)
            return list(merged.values())

        return map_plus
    return None


def _set_plus(a: list[Any], b: list[Any]) -> list[Any]:
    known = _hashable(a)
    if known is not None and _hashable(b) is not None:
        return [*a, *dict.fromkeys(each for each in b if each not in known)]
    return [*a, *(each for each in b if not any(equal(each, other) for other in a))]


def _key(value: Any, keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(value.get(key) for key in keys)
