"""`'%s has %d of %.2f'.format([name, count, share])`: verbs s d f e b x X o, with a precision for f and e."""

import math
import re
from typing import Any

from k8sfromscratch.core.cel.errors import CelEvaluationError
from k8sfromscratch.core.cel.library.standard import double_text
from k8sfromscratch.core.cel.types import CelType, type_name
from k8sfromscratch.core.cel.values import Duration, Timestamp, type_of

_VERB = re.compile(r"%(?:%|(?:\.([0-9]{0,4}))?([A-Za-z])|(.?))", re.DOTALL)
_PRECISION_MAX = 1000
_PRECISION = 6


def format_text(pattern: str, values: list[Any]) -> str:
    """Raises CelEvaluationError for an unknown verb, a value it does not take, or too few values."""
    remaining = iter(values)
    index = -1

    def verb(found: re.Match[str]) -> str:
        nonlocal index
        if found[0] == "%%":
            return "%"
        if found[2] is None:
            reason = "unexpected end of format string" if not found[3] else f'could not parse formatting clause: unrecognized formatting clause "{found[3]}"'
            raise CelEvaluationError(reason)
        index += 1
        try:
            value = next(remaining)
        except StopIteration:
            raise CelEvaluationError(f"index {index} out of range") from None
        precision = int(found[1] or 0) if found[1] is not None else _PRECISION
        if precision > _PRECISION_MAX:
            raise CelEvaluationError(f"could not parse formatting clause: precision {precision} is too large")
        return _clause(found[2], precision, value)

    return _VERB.sub(verb, pattern)


def _clause(verb: str, precision: int, value: Any) -> str:
    number = isinstance(value, int) and value.__class__ is not bool
    if verb == "s":
        return text_of(value)
    if verb == "d" and (number or (value.__class__ is float and not math.isfinite(value))):
        return str(int(value)) if number else _special(value)
    if verb in ("f", "e") and (number or value.__class__ is float):
        value = float(value)
        return _special(value) if not math.isfinite(value) else f"{value:.{precision}{verb}}"
    if verb in ("b", "o") and (number or (verb == "b" and value.__class__ is bool)):
        return f"{int(value):{verb}}"
    if verb in ("x", "X"):
        if number:
            return f"{int(value):{verb}}"
        raw = value.encode("utf-8", "replace") if value.__class__ is str else value
        if raw.__class__ is bytes:
            return raw.hex() if verb == "x" else raw.hex().upper()
    if verb not in "sdfeboxX":
        raise CelEvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
    raise CelEvaluationError(f"error during formatting: {_EXPECTED[verb]}, was given {type_name(type_of(value))}")


_EXPECTED = {
    "d": "decimal clause can only be used on integers",
    "f": "fixed-point clause can only be used on doubles",
    "e": "scientific clause can only be used on doubles",
    "b": "only integers and bools can be formatted as binary",
    "o": "octal clause can only be used on integers",
    "x": "only integers, byte buffers, and strings can be formatted as hex",
    "X": "only integers, byte buffers, and strings can be formatted as hex",
}


def _special(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def text_of(value: Any) -> str:
    """What %s makes of any value; maps in the order of their keys."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case str():
            return value
        case bytes():
            return value.decode("utf-8", "replace")
        case float():
            return double_text(value) if math.isfinite(value) else _special(value)
        case int():
            return str(int(value))
        case list():
            return "[" + ", ".join(map(text_of, value)) + "]"
        case dict():
            return "{" + ", ".join(sorted(f"{text_of(key)}: {text_of(each)}" for key, each in value.items())) + "}"
        case Timestamp() | Duration():
            return str(value)
        case CelType():
            return type_name(value)
    raise CelEvaluationError(
        "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
    )
