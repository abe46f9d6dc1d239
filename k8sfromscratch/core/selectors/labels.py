"""Label selectors: the text form of `kubectl -l`, and metav1.LabelSelector objects.

env=prod,tier in (a, b),!canary,version notin (1)      every requirement must hold
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from k8sfromscratch.api.errors import BadRequest
from k8sfromscratch.api.names import label_value, qualified_name

_TOKEN = re.compile(r"\s*(?:(==|!=|=|,|\(|\)|!|>|<)|([^\s=!,()<>]+))")


@dataclass(frozen=True, slots=True)
class Requirement:
    """`operator` is one of In, NotIn, Exists, DoesNotExist, Gt, Lt; `NotIn` also holds where the key is absent."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case _:
                return _ordered(value, self.operator, self.values)


@dataclass(frozen=True, slots=True)
class Selector:
    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        return all(requirement.matches(labels or {}) for requirement in self.requirements)

    @property
    def empty(self) -> bool:
        return not self.requirements


EVERYTHING = Selector()


@lru_cache(maxsize=1024)
def parse(text: str) -> Selector:
    """Raises BadRequest, saying what was found where something else was expected."""
    tokens = _tokens(text)
    requirements: list[Requirement] = []
    position = 0
    while position < len(tokens):
        if requirements:
            position = _expect(text, tokens, position, ",")
        requirement, position = _requirement(text, tokens, position)
        _check(requirement)
        requirements.append(requirement)
    return Selector(tuple(requirements))


def from_object(selector: Mapping[str, Any] | None) -> Selector | None:
    """A metav1.LabelSelector; None, which matches nothing, stays None.  Raises BadRequest on an operator that is not one."""
    if selector is None:
        return None
    requirements = [Requirement(key, "In", frozenset({value})) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = expression.get("operator")
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            raise BadRequest(f"{operator!r} is not a valid label selector operator")
        requirements.append(Requirement(expression.get("key", ""), operator, frozenset(expression.get("values") or ())))
    return Selector(tuple(requirements))


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> bool:
    """Whether a metav1.LabelSelector selects these labels: None selects nothing, an empty one everything."""
    compiled = from_object(selector)
    return compiled is not None and compiled.matches(labels)


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    stripped = text.rstrip()
    while position < len(stripped):
        found = _TOKEN.match(stripped, position)
        if found is None:
            raise _bad(text, f"found {stripped[position]!r}")
        tokens.append(found.group(1) or found.group(2))
        position = found.end()
    return tokens


def _requirement(text: str, tokens: Sequence[str], position: int) -> tuple[Requirement, int]:
    negated = position < len(tokens) and tokens[position] == "!"
    position += negated
    key = tokens[position] if position < len(tokens) else ""
    if not key or key in ("==", "!=", "=", ",", "(", ")", "!", ">", "<"):
        raise _bad(text, f"found {key!r}, expected: identifier")
    position += 1
    operator = tokens[position] if position < len(tokens) else ","
    if negated or operator == ",":
        return Requirement(key, "DoesNotExist" if negated else "Exists"), position
    if operator in ("=", "==", "!=", ">", "<"):
        bare = position + 1 < len(tokens) and tokens[position + 1] not in (",", "=", "==", "!=", "(", ")", "!", ">", "<")
        value = tokens[position + 1] if bare else ""
        names = {"=": "In", "==": "In", "!=": "NotIn", ">": "Gt", "<": "Lt"}
        return Requirement(key, names[operator], frozenset({value})), position + 1 + bare
    if operator in ("in", "notin"):
        values, position = _values(text, tokens, position + 1)
        return Requirement(key, "In" if operator == "in" else "NotIn", values), position
    raise _bad(text, f"found {operator!r}, expected: in, notin, =, ==, !=, gt, lt")


def _check(requirement: Requirement) -> None:
    """Keys and values that no label can have are mistakes, not selectors that match nothing."""
    if requirement.operator in ("Gt", "Lt") and not all(re.fullmatch(r"-?\d+", value) for value in requirement.values):
        raise BadRequest("unable to parse requirement: for 'Gt', 'Lt' operators, the value must be an integer")
    faults = [(requirement.key, message) for message in qualified_name(requirement.key)]
    if requirement.operator in ("In", "NotIn"):
        faults += [(value, message) for value in sorted(requirement.values) for message in label_value(value)]
    if faults:
        value, message = faults[0]
        raise BadRequest(f'unable to parse requirement: <nil>: Invalid value: "{value}": {message}')


def _values(text: str, tokens: Sequence[str], position: int) -> tuple[frozenset[str], int]:
    position = _expect(text, tokens, position, "(")
    values: set[str] = set()
    expecting_value = True
    while position < len(tokens) and tokens[position] != ")":
        if tokens[position] == ",":
            if expecting_value:
                values.add("")
            expecting_value = True
        else:
            values.add(tokens[position])
            expecting_value = False
        position += 1
    if expecting_value:
        values.add("")
    return frozenset(values), _expect(text, tokens, position, ")")


def _expect(text: str, tokens: Sequence[str], position: int, wanted: str) -> int:
    found = tokens[position] if position < len(tokens) else ""
    if found != wanted:
        raise _bad(text, f"found {found!r}, expected: {wanted!r}")
    return position + 1


def _ordered(value: str | None, operator: str, bounds: frozenset[str]) -> bool:
    try:
        have, bound = int(value or ""), int(next(iter(bounds)))
    except ValueError:
        return False
    return have > bound if operator == "Gt" else have < bound


def _bad(text: str, why: str) -> BadRequest:
    return BadRequest(f"unable to parse requirement: {why} (in {text!r})")
