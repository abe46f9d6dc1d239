"""Paths into an object as additionalPrinterColumns write them: a part of kubectl's JSONPath.

    .spec.replicas      .status.conditions[?(@.type=="Ready")].status      .spec.ports[0].port      .spec.hosts[*]      ..image
    .metadata.annotations.example\\.com/owner      ['a key']      [-1]      [0:2]

    compile_path(".spec.replicas").find(obj)        all values there, in order; none where nothing is

A path that does not parse raises PathError, when its CustomResourceDefinition is created.  Source: client-go's util/jsonpath.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

FOUND_MAX = 1000
"""Values that one path may come to: `..` on a deep object could find them all again and again."""

Step = Callable[[Any], list[Any]]

_FIELD = re.compile(r"(?:[^\s.\[\]{}()?@'\"\\*,]|\\.)+")
_QUOTED = re.compile(r"\['(?P<quoted>(?:[^'\\]|\\.)+)'\]")
_INDEX = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(\d+))?")
_FILTER = re.compile(r"\s*@((?:[^=!<>]|\\.)*?)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?)\s*)?", re.DOTALL)


class PathError(ValueError):
    """What is wrong with a path."""


@dataclass(frozen=True, slots=True)
class JsonPath:
    steps: tuple[Step, ...]

    def find(self, value: Any) -> list[Any]:
        found = [value]
        for step in self.steps:
            found = [below for one in found for below in step(one)][:FOUND_MAX]
        return found


@lru_cache(maxsize=1024)
def compile_path(text: str) -> JsonPath:
    """With or without the braces around it.  Raises PathError."""
    inner = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    return JsonPath(tuple(_steps(inner.removeprefix("$"))))


def field_names(text: str) -> tuple[str, ...] | None:
    """The names of a path of fields alone (`.spec.color`, `.spec['a b']`); None for any other."""
    rest, fields = text, []
    while rest:
        match = _FIELD.match(rest, 1) if rest[0] == "." else _QUOTED.match(rest)
        if match is None:
            return None
        fields.append(_unescaped(match.group("quoted") if rest[0] == "[" else match.group()))
        rest = rest[match.end() :]
    return tuple(fields) or None


def _steps(text: str) -> list[Step]:
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if text.startswith("..", at):
            steps.append(_everything_below)
            at += 1 if text[at + 2 : at + 3] not in ("[", "*") else 2
        elif text[at] == "[":
            end = _closing(text, at)
            steps.append(_bracket(text[at + 1 : end].strip()))
            at = end + 1
        elif text[at] == "." or at == 0:
            at += text[at] == "."
            if text.startswith("*", at):
                steps.append(_members)
                at += 1
            elif text.startswith("[", at):
                continue
            else:
                match = _FIELD.match(text, at)
                if match is None:
                    if at == len(text) and not steps:
                        break
                    raise PathError(f"unrecognized character in action: {text[at : at + 1]!r} at {at}")
                steps.append(_field(_unescaped(match.group())))
                at = match.end()
        elif text.startswith("*", at):
            steps.append(_members)
            at += 1
        else:
            raise PathError(f"unrecognized character in action: {text[at]!r} at {at}")
    return steps


def _closing(text: str, start: int) -> int:
    depth, quote = 0, ""
    for at in range(start, len(text)):
        letter = text[at]
        if quote:
            quote = "" if letter == quote and text[at - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "[":
            depth += 1
        elif letter == "]":
            depth -= 1
            if not depth:
                return at
    raise PathError("unterminated array")


def _bracket(inner: str) -> Step:
    if inner == "*":
        return _members
    if inner.startswith("?(") and inner.endswith(")"):
        return _filter(inner[2:-1])
    if inner[:1] in ("'", '"') and inner[-1:] == inner[:1] and len(inner) > 1:
        return _field(inner[1:-1].replace(f"\\{inner[0]}", inner[0]))
    if _INDEX.fullmatch(inner):
        return _item(int(inner))
    match = _SLICE.fullmatch(inner)
    if match is not None:
        first, last, step = (int(part) if part else None for part in match.groups())
        if step == 0:
            raise PathError("step must be > 0")
        return lambda value: value[first:last:step] if isinstance(value, list) else []
    if "," in inner:
        parts = [_bracket(part.strip()) for part in inner.split(",")]
        return lambda value: [one for part in parts for one in part(value)]
    raise PathError(f"invalid array index {inner}")


def _filter(condition: str) -> Step:
    match = _FILTER.fullmatch(condition)
    if match is None:
        raise PathError(f"unrecognized filter {condition!r}")
    left, operator, right = match.groups()
    path = JsonPath(tuple(_steps(left)))
    if operator is None:
        return lambda value: [one for one in _as_list(value) if path.find(one)]
    wanted = _operand(right)
    holds = _OPERATORS[operator]

    def chosen(value: Any) -> list[Any]:
        found = []
        for one in _as_list(value):
            have, want = path.find(one), wanted(one)
            if len(have) == 1 and len(want) == 1 and _comparable(have[0], want[0]) and holds(have[0], want[0]):
                found.append(one)
        return found

    return chosen


def _operand(text: str) -> Callable[[Any], Sequence[Any]]:
    if text.startswith("@"):
        return JsonPath(tuple(_steps(text[1:]))).find
    if text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        literal: Any = text[1:-1]
    elif text in ("true", "false"):
        literal = text == "true"
    else:
        try:
            literal = float(text)
        except ValueError:
            raise PathError(f"cannot read {text!r} in a filter") from None
    return lambda _: (literal,)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def _comparable(one: Any, other: Any) -> bool:
    kinds: tuple[type | tuple[type, ...], ...] = (str, bool, (int, float))
    return any(isinstance(one, kind) and isinstance(other, kind) for kind in kinds) and isinstance(one, bool) == isinstance(other, bool)


def _field(name: str) -> Step:
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _item(index: int) -> Step:
    return lambda value: [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []


def _members(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else _as_list(value)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _everything_below(value: Any) -> list[Any]:
    found: list[Any] = []
    waiting = [value]
    while waiting and len(found) < FOUND_MAX:
        one = waiting.pop(0)
        found.append(one)
        waiting += _members(one)
    return found


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)
