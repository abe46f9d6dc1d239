"""Calls that are syntax: has(), the comprehensions in one and two variables, cel.bind(), optMap() and optFlatMap().

A call whose name and number of arguments fit a macro becomes a Comprehension; any other stays a call and is resolved by the checker.
"""

from k8sfromscratch.core.cel.errors import Problem
from k8sfromscratch.core.cel.syntax import Call, Comprehension, Ident, Node, Select

_PREDICATES = ("all", "exists", "exists_one", "existsOne")
_TRANSFORMS = ("transformList", "transformMap", "transformMapEntry")


def expanded(call: Call) -> Node:
    """Raises Problem where a macro's arguments cannot be its own."""
    if call.target is None:
        return _has(call) if call.name == "has" and len(call.args) == 1 else call
    count = len(call.args)
    match call.name:
        case "bind" if count == 3 and isinstance(call.target, Ident) and call.target.name == "cel":
            return Comprehension(call.at, "bind", call.args[1], _variables(call, 1), None, call.args[2])
        case "optMap" | "optFlatMap" if count == 2:
            return Comprehension(call.at, call.name, call.target, _variables(call, 1), None, call.args[1])
        case "filter" if count == 2:
            return Comprehension(call.at, "filter", call.target, _variables(call, 1), call.args[1], None)
        case "map" if count in (2, 3):
            return Comprehension(call.at, "map", call.target, _variables(call, 1), call.args[1] if count == 3 else None, call.args[-1])
        case name if name in _PREDICATES and count in (2, 3):
            return Comprehension(call.at, "exists_one" if name == "existsOne" else name, call.target, _variables(call, count - 1), call.args[-1], None)
        case name if name in _TRANSFORMS and count in (3, 4):
            return Comprehension(call.at, name, call.target, _variables(call, 2), call.args[2] if count == 4 else None, call.args[-1])
    return call


def _has(call: Call) -> Node:
    operand = call.args[0]
    if not isinstance(operand, Select) or operand.optional or operand.test:
        raise Problem(call.at, "invalid argument to has() macro")
    return Select(operand.at, operand.operand, operand.field, test=True)


def _variables(call: Call, count: int) -> tuple[str, ...]:
    names: list[str] = []
    for argument in call.args[:count]:
        if not isinstance(argument, Ident):
            raise Problem(argument.at, "argument must be a simple name")
        if argument.name in names:
            raise Problem(argument.at, f"overlapping variable name: {argument.name}")
        names.append(argument.name)
    return tuple(names)
