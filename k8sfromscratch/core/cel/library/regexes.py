"""Regular expressions by RE2, whose time is linear in the text: Python's own backtrack, and a hostile rule could hang the server.

RE2 is also what upstream's syntax is (Go's regexp); patterns it refuses are refused at compile time where they are literals.
"""

from functools import lru_cache
from typing import Any

import re2

from k8sfromscratch.core.cel.errors import CelEvaluationError
from k8sfromscratch.core.cel.overload import Overload
from k8sfromscratch.core.cel.types import BOOL, INT, STRING, list_of

_PATTERN_LENGTH_MAX = 10_000


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    return options


@lru_cache(maxsize=512)
def compiled(pattern: str) -> Any:
    """Raises CelEvaluationError."""
    if len(pattern) > _PATTERN_LENGTH_MAX:
        raise CelEvaluationError("error parsing regexp: expression too large")
    try:
        return re2.compile(pattern, _options())
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args else "invalid"
        raise CelEvaluationError(f"error parsing regexp: {reason.decode(errors='replace') if isinstance(reason, bytes) else reason}") from None


def _safe(text: str) -> str:
    # Half a surrogate pair has no UTF-8; nothing matches it but the replacement character.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _matches(text: str, pattern: str) -> bool:
    return compiled(pattern).search(_safe(text)) is not None


def _find(text: str, pattern: str) -> str:
    found = compiled(pattern).search(_safe(text))
    return "" if found is None else found.group()


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found: list[str] = []
    if limit == 0:
        return found
    for each in compiled(pattern).finditer(_safe(text)):
        found.append(each.group())
        if len(found) == limit:
            break
    return found


def _cost(text: str, pattern: str, limit: int = -1) -> int:
    return (len(text) // 10 + 1) * (len(pattern) // 4 + 1)


OVERLOADS: tuple[Overload, ...] = (
    Overload("matches", (STRING, STRING), BOOL, _matches, member=True, cost=_cost),
    Overload("matches", (STRING, STRING), BOOL, _matches, cost=_cost),
    Overload("find", (STRING, STRING), STRING, _find, member=True, cost=_cost),
    Overload("findAll", (STRING, STRING), list_of(STRING), _find_all, member=True, cost=_cost),
    Overload("findAll", (STRING, STRING, INT), list_of(STRING), _find_all, member=True, cost=_cost),
)
