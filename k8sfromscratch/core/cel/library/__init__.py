"""What expressions may call: one table of all overloads, and the literals that are checked when a rule is written."""

from collections.abc import Callable
from typing import Any

from k8sfromscratch.core.cel.library import collections, kubernetes, network, operators, regexes, standard, strings
from k8sfromscratch.core.cel.overload import indexed
from k8sfromscratch.core.cel.values import parse_duration, parse_timestamp

_MODULES = (operators, standard, regexes, strings, collections, network, kubernetes)
STANDARD = indexed(each for module in _MODULES for each in module.OVERLOADS)

CHECKED_LITERALS: dict[tuple[str, int], Callable[[Any], Any]] = {
    ("matches", 1): regexes.compiled,
    ("timestamp", 0): parse_timestamp,
    ("duration", 0): parse_duration,
}
"""A literal that can never be right is refused at compile time (cel-go's literal validators)."""
