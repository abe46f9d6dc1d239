"""The tree to a type and a Python closure, in one walk: checking and compiling decide on the same things.

A closure takes the frame, a list: `frame[0]` is the cost that is still allowed, then come the declared variables, then one slot for every
variable of a comprehension.  What the types settle is settled here (which overload, how a field is read from JSON); only where a type is dyn
is the overload looked for among the candidates at evaluation.

Cost: one unit for every node, again for every iteration of the comprehension it lies in, and what functions declare for long values.
Upstream counts the same units but not the nodes that a short circuit skipped, so that it never counts more than we do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from k8sfromscratch.core.cel.closures import (
    Frame,
    Run,
    both_of,
    charged_equal,
    constant,
    direct,
    dispatched,
    either_of,
    map_builder,
    optional_selection,
    presence,
    selection,
)
from k8sfromscratch.core.cel.comprehensions import comprehension
from k8sfromscratch.core.cel.equality import equality, plus
from k8sfromscratch.core.cel.errors import CelEvaluationError, CostExceeded, Problem
from k8sfromscratch.core.cel.overload import Overload, Overloads
from k8sfromscratch.core.cel.syntax import Call, Comprehension, Ident, ListLiteral, Literal, Logic, MapLiteral, MessageLiteral, Node, Select, Ternary
from k8sfromscratch.core.cel.types import (
    BOOL,
    DYN,
    NAMED_TYPES,
    TYPE,
    CelType,
    assignable,
    joined,
    list_of,
    map_of,
    optional_of,
    substitute,
)
from k8sfromscratch.core.cel.values import NO_OVERLOAD, converter

Checked = Mapping[tuple[str, int], Callable[[Any], Any]]
"""By function and the argument's place: what a literal there must pass at compile time; raises CelEvaluationError."""


@dataclass(frozen=True, slots=True)
class Typed:
    type: CelType
    run: Run
    size: int = 1
    """Nodes, which is what one evaluation costs."""


class Compiler:
    def __init__(self, variables: Mapping[str, CelType], overloads: Overloads, named: Mapping[str, CelType], checked: Checked) -> None:
        self.slots = {name: index for index, name in enumerate(variables, 1)}
        self.variables = dict(variables)
        self.overloads = overloads
        self.named = {**NAMED_TYPES, **named}
        self.checked = checked
        self.scopes: list[dict[str, tuple[CelType, int]]] = []
        self.frame_size = len(variables) + 1
        self.used: set[str] = set()

    def bind(self, names: tuple[tuple[str, CelType], ...]) -> list[int]:
        """Opens a scope with variables of its own; closed by `unbind`."""
        first = self.frame_size
        self.frame_size += len(names)
        self.scopes.append({name: (type_, first + index) for index, (name, type_) in enumerate(names)})
        return list(range(first, self.frame_size))

    def unbind(self) -> None:
        self.scopes.pop()

    def visit(self, node: Node) -> Typed:
        match node:
            case Literal(value=value, type=type_):
                return Typed(type_, lambda frame: value)
            case Ident():
                return self.ident(node)
            case Select():
                return self.select(node)
            case Call():
                return self.call(node)
            case Logic():
                return self.logic(node)
            case Ternary():
                return self.ternary(node)
            case ListLiteral():
                return self.list_literal(node)
            case MapLiteral():
                return self.map_literal(node)
            case MessageLiteral():
                return self.message(node)
            case Comprehension():
                return comprehension(self, node)

    def boolean(self, node: Node) -> Typed:
        """An operand that must be true or false: a predicate, a condition."""
        typed = self.visit(node)
        if typed.type.kind == "bool":
            return typed
        if typed.type.kind != "dyn":
            raise Problem(node.at, f"expected type 'bool' but found '{typed.type}'")
        run = typed.run

        def checked(frame: Frame) -> bool:
            value = run(frame)
            if value is True or value is False:
                return value
            raise CelEvaluationError(NO_OVERLOAD)

        return replace(typed, type=BOOL, run=checked)

    def local(self, name: str) -> tuple[CelType, int] | None:
        return next((scope[name] for scope in reversed(self.scopes) if name in scope), None)

    def named_value(self, name: str) -> Typed | None:
        """A variable, or a type by its name."""
        found = self.local(name)
        if found is None and name in self.variables:
            self.used.add(name)
            found = self.variables[name], self.slots[name]
        if found is not None:
            type_, slot = found
            return Typed(type_, lambda frame: frame[slot])
        type_value = self.named.get(name)
        return None if type_value is None else Typed(TYPE, lambda frame: type_value)

    def ident(self, node: Ident) -> Typed:
        typed = self.named_value(node.name)
        if typed is None:
            raise Problem(node.at, f"undeclared reference to '{node.name}' (in container '')")
        return typed

    def qualified(self, node: Node) -> str | None:
        """`math.greatest` as one name, unless it starts at a variable."""
        names: list[str] = []
        while isinstance(node, Select) and not node.optional and not node.test:
            names.append(node.field)
            node = node.operand
        if not isinstance(node, Ident) or self.local(node.name) is not None or node.name in self.variables:
            return None
        return ".".join((node.name, *reversed(names)))

    def select(self, node: Select) -> Typed:
        name = self.qualified(node)
        if name is not None and (typed := self.named_value(name)) is not None:
            return typed
        operand = self.visit(node.operand)
        through = operand.type.kind == "optional_type"
        owner = operand.type.params[0] if through else operand.type
        key, type_, convert = node.field, DYN, None
        if owner.kind == "object":
            field = owner.fields.get(node.field)
            if field is None:
                raise Problem(node.at, f"undefined field '{node.field}'")
            key, type_, convert = field.name, field.type, converter(field.type)
        elif owner.kind == "map":
            type_ = owner.params[1] if owner.params else DYN
        elif owner.kind != "dyn":
            raise Problem(node.at, f"type '{owner}' does not support field selection")
        size = operand.size + 1
        if node.test:
            null_is_absent = owner.kind == "object" and not type_.nullable
            return Typed(BOOL, presence(operand.run, key, null_is_absent), size)
        if node.optional or through:
            result = type_ if type_.kind == "optional_type" else optional_of(type_)
            return Typed(result, optional_selection(operand.run, key, convert), size)
        return Typed(type_, selection(operand.run, key, convert), size)

    def call(self, node: Call) -> Typed:
        if node.target is not None:
            qualified = self.qualified(node.target)
            if qualified is not None and (f"{qualified}.{node.name}", False) in self.overloads:
                return self.resolved(node, f"{qualified}.{node.name}", False, list(node.args))
            return self.resolved(node, node.name, True, [node.target, *node.args])
        return self.resolved(node, node.name, False, list(node.args))

    def resolved(self, node: Call, name: str, member: bool, operands: list[Node]) -> Typed:
        if name in ("_==_", "_!=_"):
            return self.equals(node, name)
        # format()'s values are of any types, which no other list literal may mix.
        mixed = member and name == "format"
        args = [self.list_literal(each, mixed=True) if mixed and isinstance(each, ListLiteral) else self.visit(each) for each in operands]
        candidates = self.overloads.get((name, member))
        if candidates is None:
            raise Problem(node.at, f"undeclared reference to '{name}' (in container '')")
        self.check_literals(name, operands)
        matching: list[tuple[Overload, CelType]] = []
        for each in candidates:
            bound: dict[str, CelType] = {}
            if len(each.args) == len(args) and all(assignable(arg.type, wanted, bound) for arg, wanted in zip(args, each.args, strict=True)):
                matching.append((each, substitute(each.result, bound)))
        if not matching:
            raise Problem(node.at, f"found no matching overload for '{name}' applied to '{_applied([arg.type for arg in args], member)}'")
        result = joined([type_ for _, type_ in matching])
        size = 1 + sum(arg.size for arg in args)
        if name == "_+_" and (join := plus(args[0].type)) is not None and len(matching) == 1:
            matching = [(replace(matching[0][0], call=join), args[0].type)]
            result = args[0].type
        first = matching[0][0]
        if len(matching) == 1 and all(_settled(arg.type, wanted) for arg, wanted in zip(args, first.args, strict=True)):
            return Typed(result, direct(first, [arg.run for arg in args]), size)
        return Typed(result, dispatched([each for each, _ in matching], [arg.run for arg in args]), size)

    def check_literals(self, name: str, operands: list[Node]) -> None:
        for place, operand in enumerate(operands):
            check = self.checked.get((name, place))
            if check is not None and isinstance(operand, Literal) and isinstance(operand.value, str):
                try:
                    check(operand.value)
                except CelEvaluationError as error:
                    raise Problem(operand.at, f"invalid {name} argument: {error}") from None

    def equals(self, node: Call, name: str) -> Typed:
        left, right = self.visit(node.args[0]), self.visit(node.args[1])
        if not assignable(left.type, right.type, {}) and not assignable(right.type, left.type, {}):
            raise Problem(node.at, f"found no matching overload for '{name}' applied to '{_applied([left.type, right.type], False)}'")
        a, b, same = left.run, right.run, equality(left.type)
        size = left.size + right.size + 1
        if left.type.kind == right.type.kind and left.type.kind in ("string", "int", "bool", "double"):
            # Both of one kind: Python's own comparison is right.
            if name == "_!=_":
                return Typed(BOOL, lambda frame: a(frame) != b(frame), size)
            return Typed(BOOL, lambda frame: a(frame) == b(frame), size)
        if name == "_!=_":
            return Typed(BOOL, lambda frame: not charged_equal(frame, a(frame), b(frame), same), size)
        return Typed(BOOL, lambda frame: charged_equal(frame, a(frame), b(frame), same), size)

    def logic(self, node: Logic) -> Typed:
        parts = []
        types = []
        for part in node.parts:
            try:
                parts.append(self.boolean(part))
                types.append(BOOL)
            except Problem as problem:
                if not problem.message.startswith("expected type 'bool'") or problem.offset != part.at:
                    raise
                shown = [*types, self.visit(part).type][-2:]
                shown = shown if len(shown) == 2 else [*shown, BOOL]
                operator = "_&&_" if node.all else "_||_"
                raise Problem(node.at, f"found no matching overload for '{operator}' applied to '{_applied(shown, False)}'") from None
        size = 1 + sum(part.size for part in parts)
        runs = [part.run for part in parts]
        if len(runs) == 2:
            return Typed(BOOL, both_of(*runs) if node.all else either_of(*runs), size)
        decisive = not node.all

        def chain(frame: Frame) -> bool:
            error: CelEvaluationError | None = None
            for run in runs:
                try:
                    if run(frame) is decisive:
                        return decisive
                except CostExceeded:
                    raise
                except CelEvaluationError as raised:
                    error = error or raised
            if error is not None:
                raise error
            return not decisive

        return Typed(BOOL, chain, size)

    def ternary(self, node: Ternary) -> Typed:
        condition, then, otherwise = self.boolean(node.condition), self.visit(node.then), self.visit(node.otherwise)
        bound: dict[str, CelType] = {}
        if not (assignable(then.type, CelType("param", name="A"), bound) and assignable(otherwise.type, CelType("param", name="A"), bound)):
            types = [condition.type, then.type, otherwise.type]
            raise Problem(node.at, f"found no matching overload for '_?_:_' applied to '{_applied(types, False)}'")
        test, yes, no = condition.run, then.run, otherwise.run
        type_ = (
            then.type if then.type == otherwise.type else otherwise.type if then.type.kind == "null" else then.type if otherwise.type.kind == "null" else DYN
        )
        size = 1 + condition.size + then.size + otherwise.size
        return Typed(type_, lambda frame: yes(frame) if test(frame) else no(frame), size)

    def list_literal(self, node: ListLiteral, *, mixed: bool = False) -> Typed:
        items = [self.visit(each) for each in node.items]
        types = [
            self.optional_element(item, each) if index in node.optional else item.type for index, (item, each) in enumerate(zip(items, node.items, strict=True))
        ]
        element = DYN if mixed else self.homogeneous(types, node.items)
        size = 1 + sum(item.size for item in items)
        runs = [item.run for item in items]
        if not node.optional:
            return Typed(list_of(element), lambda frame: [run(frame) for run in runs], size)
        optional = node.optional

        def build(frame: Frame) -> list[Any]:
            built: list[Any] = []
            for index, run in enumerate(runs):
                value = run(frame)
                if index not in optional:
                    built.append(value)
                elif value.present:
                    built.append(value.value)
            return built

        return Typed(list_of(element), build, size)

    def optional_element(self, item: Typed, node: Node) -> CelType:
        if item.type.kind == "optional_type":
            return item.type.params[0]
        if item.type.kind == "dyn":
            return DYN
        raise Problem(node.at, f"expected type 'optional_type({item.type})' but found '{item.type}'")

    def homogeneous(self, types: list[CelType], nodes: tuple[Node, ...]) -> CelType:
        """Upstream's environment refuses literals of mixed types."""
        bound: dict[str, CelType] = {}
        wanted = CelType("param", name="A")
        for type_, node in zip(types, nodes, strict=True):
            if not assignable(type_, wanted, bound):
                raise Problem(node.at, f"expected type '{bound['A']}' but found '{type_}'")
        return DYN if any(type_.kind == "dyn" for type_ in types) else bound.get("A", DYN)

    def map_literal(self, node: MapLiteral) -> Typed:
        keys = [self.visit(key) for key, _, _ in node.entries]
        values = [self.visit(value) for _, value, _ in node.entries]
        for key, (key_node, _, _) in zip(keys, node.entries, strict=True):
            if key.type.kind not in ("string", "int", "uint", "bool", "dyn"):
                raise Problem(key_node.at, f"unsupported key type: {key.type}")
        key_type = self.homogeneous([key.type for key in keys], tuple(key for key, _, _ in node.entries))
        types = [self.optional_element(value, each) if optional else value.type for value, (_, each, optional) in zip(values, node.entries, strict=True)]
        value_type = self.homogeneous(types, tuple(value for _, value, _ in node.entries))
        entries = [(key.run, value.run, optional) for key, value, (_, _, optional) in zip(keys, values, node.entries, strict=True)]
        return Typed(map_of(key_type, value_type), map_builder(entries), 1 + sum(each.size for each in (*keys, *values)))

    def message(self, node: MessageLiteral) -> Typed:
        type_ = self.named.get(node.name)
        if type_ is None:
            raise Problem(node.at, f"undeclared reference to '{node.name}' (in container '')")
        if type_.kind != "object":
            raise Problem(node.at, f"'{node.name}' is not a message type")
        entries: list[tuple[Run, Run, bool]] = []
        size = 1
        for at, name, value_node, optional in node.entries:
            field = type_.fields.get(name)
            if field is None:
                raise Problem(at, f"undefined field '{name}'")
            value = self.visit(value_node)
            given = self.optional_element(value, value_node) if optional else value.type
            if not assignable(given, field.type, {}):
                raise Problem(at, f"expected type of field '{name}' is '{field.type}' but provided type is '{given}'")
            entries.append((constant(field.name), value.run, optional))
            size += value.size
        return Typed(type_, map_builder(entries), size)


def _applied(types: list[CelType], member: bool) -> str:
    if member:
        return f"{types[0]}.({', '.join(map(str, types[1:]))})"
    return f"({', '.join(map(str, types))})"


def _settled(given: CelType, wanted: CelType) -> bool:
    """Does the static type leave nothing to look at?"""
    if wanted.kind in ("dyn", "param"):
        return True
    if given.kind != wanted.kind:
        return False
    return all(_settled(one, other) for one, other in zip(given.params, wanted.params, strict=False))
