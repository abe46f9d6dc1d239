"""Field selectors: `metadata.name=x,status.phase!=Running`.

Which fields a resource knows is the apiserver's matter; here a selector is only read and compared with given values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from k8sfromscratch.api.errors import BadRequest

_TERM = re.compile(r"([^=!,\\]+)(==|!=|=)((?:[^,\\=]|\\[,=\\])*)")


@dataclass(frozen=True, slots=True)
class Term:
    field: str
    equal: bool
    value: str


@dataclass(frozen=True, slots=True)
class FieldSelector:
    terms: tuple[Term, ...] = ()

    def matches(self, values: Mapping[str, str]) -> bool:
        """`values` has the text of every field that is named; an absent one counts as empty."""
        return all((values.get(term.field, "") == term.value) is term.equal for term in self.terms)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it names, in its order: the server refuses those that a resource cannot be selected by."""
        return tuple(term.field for term in self.terms)

    @property
    def empty(self) -> bool:
        return not self.terms

    def required(self, field: str) -> str | None:
        """The value that `field` must have, if the selector says one: lets a list by name become a single read."""
        return next((term.value for term in self.terms if term.field == field and term.equal), None)


@lru_cache(maxsize=1024)
def parse(text: str) -> FieldSelector:
    """Raises BadRequest."""
    terms: list[Term] = []
    position = 0
    while position < len(text):
        if text[position] == ",":
            position += 1
            continue
        found = _TERM.match(text, position)
        if found is None or (found.end() < len(text) and text[found.end()] != ","):
            raise BadRequest(f"invalid selector: '{text}'; can't understand '{text[position:].split(',')[0]}'")
        field, operator, value = found.groups()
        terms.append(Term(field.strip(), operator != "!=", re.sub(r"\\([,=\\])", r"\1", value)))
        position = found.end() + 1
    return FieldSelector(tuple(terms))
