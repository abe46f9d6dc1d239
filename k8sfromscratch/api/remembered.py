"""What a pure function made of a JSON value, kept for the next value that is the same.

Clients repeat themselves: the pods of a ReplicaSet differ in their names and little else, and a patch of an annotation leaves the spec as it was.
Validating a Pod's spec takes 35 µs and dividing it into fields 40; writing it as JSON, which tells whether it was seen before, takes one.
"""

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import orjson

KEPT_MAX = 1024
"""Values remembered by one function: more than a cluster has templates in use at a time."""
BYTES_MAX = 16 * 1024
"""A longer value is not remembered, so that all of them together are bounded."""

T = TypeVar("T")


class Remembered(Generic[T]):
    """`function(value, detail)`, asked once for equal values (as JSON, so that true is not 1) and details.  Its results are shared: nobody may
    change them.  Only those of which `keep` is true are kept."""

    def __init__(self, function: Callable[[Any, Any], T], keep: Callable[[T], bool] = lambda result: True) -> None:
        self._function, self._keep = function, keep
        self._known: dict[tuple[bytes, Hashable], T] = {}

    def __call__(self, value: Any, detail: Hashable) -> T:
        key = (orjson.dumps(value), detail)
        known = self._known.get(key)
        if known is not None:
            return known
        result = self._function(value, detail)
        if len(key[0]) <= BYTES_MAX and self._keep(result):
            if len(self._known) >= KEPT_MAX:
                self._known.clear()
            self._known[key] = result
        return result
