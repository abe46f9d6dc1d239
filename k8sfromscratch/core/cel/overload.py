"""Functions as the checker and the evaluator know them: a signature and a callable on values.

A caller's own functions, such as an admission plugin's `authorizer.group('apps')`, are declared in the same way:

    AUTHORIZER = opaque("kubernetes.authorization.Authorizer")
    Overload("group", (AUTHORIZER, STRING), CHECK, lambda authorizer, group: authorizer.at(group), member=True)
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from k8sfromscratch.core.cel.types import CelType, Value


@dataclass(frozen=True, slots=True)
class Overload:
    name: str
    args: tuple[CelType, ...]
    """A member's target is the first."""
    result: CelType
    call: Callable[..., Value]
    """Gets values that fit `args`.  Raises CelEvaluationError."""
    member: bool = False
    cost: Callable[..., int] | None = None
    """From the same values: what a call costs beyond one unit; needed where its work grows with them."""


Overloads = Mapping[tuple[str, bool], tuple[Overload, ...]]
"""By name and whether it is a member."""


def indexed(overloads: Iterable[Overload], base: Overloads | None = None) -> dict[tuple[str, bool], tuple[Overload, ...]]:
    table = dict(base or {})
    for each in overloads:
        table[each.name, each.member] = (*table.get((each.name, each.member), ()), each)
    return table


def traversal(*sized: object) -> int:
    """A tenth of a unit a character, as upstream counts; a unit an element."""
    return sum(len(each) // 10 + 1 if isinstance(each, (str, bytes)) else len(each) if isinstance(each, (list, dict)) else 1 for each in sized)
