"""The two ways in which upstream tells a field that was left out.

if_absent   a pointer: `replicas: 0` was said, no replicas was not
if_empty    a plain value: an empty string or a zero is the same as nothing
"""

from collections.abc import Iterable, Mapping
from typing import Any

Object = dict[str, Any]


def if_absent(of: Object, **values: Any) -> None:
    for key, value in values.items():
        of.setdefault(key, value)


def if_empty(of: Object, **values: Any) -> None:
    for key, value in values.items():
        if not of.get(key):
            of[key] = value


def objects(of: Mapping[str, Any], *keys: str) -> Iterable[Object]:
    """The objects in one or several lists of `of`; none where a list is absent."""
    for key in keys:
        yield from of.get(key) or ()


def child(of: Object, key: str) -> Object:
    """The object under `key`, made where it is absent."""
    made: Object = of.setdefault(key, {})
    return made
