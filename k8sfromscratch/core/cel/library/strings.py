"""The strings extension: positions count code points, -1 where nothing is found."""

from k8sfromscratch.core.cel.errors import CelEvaluationError
from k8sfromscratch.core.cel.library.formatting import format_text
from k8sfromscratch.core.cel.overload import Overload, traversal
from k8sfromscratch.core.cel.types import DYN, INT, STRING, list_of

_SPACE = " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_QUOTED = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", "\\": r"\\", '"': r"\""}
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_RESULT_LENGTH_MAX = 10_000_000
"""What replace() may grow a text to, in characters: it can square its size, and an object is no bigger than a few MiB."""


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise CelEvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if not 0 <= start <= len(text):
        raise CelEvaluationError(f"index out of range: {start}")
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    if not 0 <= start <= len(text):
        raise CelEvaluationError(f"index out of range: {start}")
    return text.rfind(part, 0, start + len(part))


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    count = text.count(old) if count < 0 else min(count, text.count(old))
    if len(text) + count * (len(new) - len(old)) > _RESULT_LENGTH_MAX:
        raise CelEvaluationError("result of replace is too long")
    return text.replace(old, new, count)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if limit == 1:
        return [text]
    if separator:
        return text.split(separator, -1 if limit < 0 else limit - 1)
    if limit < 0 or limit >= len(text):
        return list(text)
    return [*text[: limit - 1], text[limit - 1 :]]


def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise CelEvaluationError(f"index out of range: {start}")
    if not 0 <= end <= len(text):
        raise CelEvaluationError(f"index out of range: {end}")
    if start > end:
        raise CelEvaluationError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def _quote(text: str) -> str:
    return '"' + "".join(_QUOTED.get(each, each) for each in text.encode("utf-8", "replace").decode()) + '"'


def _join(parts: list[str], separator: str = "") -> str:
    return separator.join(parts)


def _joined_cost(parts: list[str], separator: str = "") -> int:
    return sum(len(each) + len(separator) for each in parts) // 10 + len(parts)


def _replace_cost(text: str, old: str, new: str, count: int = -1) -> int:
    return traversal(text) * (1 + len(new) // 10)


OVERLOADS: tuple[Overload, ...] = (
    Overload("charAt", (STRING, INT), STRING, _char_at, member=True),
    Overload("indexOf", (STRING, STRING), INT, _index_of, member=True, cost=traversal),
    Overload("indexOf", (STRING, STRING, INT), INT, _index_of, member=True, cost=traversal),
    Overload("lastIndexOf", (STRING, STRING), INT, _last_index_of, member=True, cost=traversal),
    Overload("lastIndexOf", (STRING, STRING, INT), INT, _last_index_of, member=True, cost=traversal),
    Overload("join", (list_of(STRING),), STRING, _join, member=True, cost=_joined_cost),
    Overload("join", (list_of(STRING), STRING), STRING, _join, member=True, cost=_joined_cost),
    Overload("lowerAscii", (STRING,), STRING, lambda text: text.translate(_LOWER), member=True, cost=traversal),
    Overload("upperAscii", (STRING,), STRING, lambda text: text.translate(_UPPER), member=True, cost=traversal),
    Overload("replace", (STRING, STRING, STRING), STRING, _replace, member=True, cost=_replace_cost),
    Overload("replace", (STRING, STRING, STRING, INT), STRING, _replace, member=True, cost=_replace_cost),
    Overload("split", (STRING, STRING), list_of(STRING), _split, member=True, cost=traversal),
    Overload("split", (STRING, STRING, INT), list_of(STRING), _split, member=True, cost=traversal),
    Overload("substring", (STRING, INT), STRING, _substring, member=True, cost=traversal),
    Overload("substring", (STRING, INT, INT), STRING, _substring, member=True, cost=traversal),
    Overload("trim", (STRING,), STRING, lambda text: text.strip(_SPACE), member=True, cost=traversal),
    Overload("reverse", (STRING,), STRING, lambda text: text[::-1], member=True, cost=traversal),
    Overload("strings.quote", (STRING,), STRING, _quote, cost=traversal),
    Overload("format", (STRING, list_of(DYN)), STRING, format_text, member=True, cost=traversal),
)
