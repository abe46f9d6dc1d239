"""The tree an expression is parsed into.  Every node carries the offset that error reports point at: an operator's, a call's parenthesis.

Operators are calls of functions with cel-go's names for them (`_+_`, `_[_]`, `!_`), so that one table of overloads holds everything;
&&, || and ?: are nodes of their own, since they do not evaluate all of their operands.
"""

from dataclasses import dataclass

from k8sfromscratch.core.cel.types import CelType, Value


@dataclass(frozen=True, slots=True)
class Literal:
    at: int
    value: Value
    type: CelType


@dataclass(frozen=True, slots=True)
class Ident:
    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`, `operand.?field` (optional) or `has(operand.field)` (test)."""

    at: int
    operand: "Node"
    field: str
    optional: bool = False
    test: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """`name(args)` or `target.name(args)`."""

    at: int
    name: str
    target: "Node | None"
    args: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Logic:
    """`a && b && …` (all=True) or `a || b || …`, flat however long: chains do not deepen the tree."""

    at: int
    all: bool
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Ternary:
    at: int
    condition: "Node"
    then: "Node"
    otherwise: "Node"


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """`optional` holds the indexes of elements written `?element`."""

    at: int
    items: tuple["Node", ...]
    optional: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class MapLiteral:
    at: int
    entries: tuple[tuple["Node", "Node", bool], ...]
    """Key, value, written `?key: value`."""


@dataclass(frozen=True, slots=True)
class MessageLiteral:
    at: int
    name: str
    entries: tuple[tuple[int, str, "Node", bool], ...]
    """Offset, field, value, written `?field: value`."""


@dataclass(frozen=True, slots=True)
class Comprehension:
    """`range.kind(first, [second,] steps…)`.

    | kind                   | steps              |
    |------------------------|--------------------|
    | all, exists, exists_one, existsOne | predicate |
    | filter                 | predicate          |
    | map                    | [predicate,] value |
    | transformList, transformMap, transformMapEntry | [predicate,] value |
    | bind                   | body; `range` is the value bound, and there is no iteration |
    | optMap, optFlatMap     | body; `range` is an optional                                |
    """

    at: int
    kind: str
    range: "Node"
    variables: tuple[str, ...]
    predicate: "Node | None"
    body: "Node | None"


Node = Literal | Ident | Select | Call | Logic | Ternary | ListLiteral | MapLiteral | MessageLiteral | Comprehension


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Select(operand=operand):
            return (operand,)
        case Call(target=target, args=args):
            return args if target is None else (target, *args)
        case Logic(parts=parts):
            return parts
        case Ternary(condition=condition, then=then, otherwise=otherwise):
            return condition, then, otherwise
        case ListLiteral(items=items):
            return items
        case MapLiteral(entries=entries):
            return tuple(each for key, value, _ in entries for each in (key, value))
        case MessageLiteral(entries=named):
            return tuple(value for _, _, value, _ in named)
        case Comprehension(range=source, predicate=predicate, body=body):
            return tuple(each for each in (source, predicate, body) if each is not None)
    return ()
