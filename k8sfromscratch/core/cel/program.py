"""Compiled expressions: from text to something that is evaluated many times."""

from collections.abc import Iterable, Mapping
from typing import Any

from k8sfromscratch.core.cel.closures import Frame, Run
from k8sfromscratch.core.cel.compiler import Compiler
from k8sfromscratch.core.cel.errors import CelError, CelEvaluationError, CostExceeded, Problem, located
from k8sfromscratch.core.cel.library import CHECKED_LITERALS, STANDARD
from k8sfromscratch.core.cel.overload import Overload, indexed
from k8sfromscratch.core.cel.parser import parse
from k8sfromscratch.core.cel.types import CelType, assignable
from k8sfromscratch.core.cel.values import ABSENT, NO_OVERLOAD, Converter, converter, plain

_TOO_DEEP = "expression recursion limit exceeded"


class Program:
    """Evaluate as often as wanted, one at a time or nested; holds nothing of an evaluation."""

    def __init__(self, text: str, type_: CelType, run: Run, size: int, compiler: Compiler) -> None:
        self.text = text
        self.type = type_
        self._run = run
        self._size = size
        self._used = frozenset(compiler.used)
        self._blank: Frame = [None] * compiler.frame_size
        self._inputs: list[tuple[str, int, Converter | None, bool]] = [
            (name, slot, converter(compiler.variables[name]), compiler.variables[name].kind == "optional_type")
            for name, slot in compiler.slots.items()
            if name in compiler.used
        ]
        self._is_plain = type_.kind in ("bool", "int", "string", "double", "null")

    def uses(self, name: str) -> bool:
        """Does the expression mention this variable?"""
        return name in self._used

    def evaluate(self, values: Mapping[str, Any], *, cost_limit: int | None = None, now: Any = None) -> Any:
        """`values`: plain JSON by variable; an optional variable may be left out.  `now`: the value of a declared variable of that name.

        Raises CelEvaluationError, of which CostExceeded where the work is more than `cost_limit` units.
        """
        return self.evaluate_with_cost(values, cost_limit=cost_limit, now=now)[0]

    def evaluate_with_cost(self, values: Mapping[str, Any], *, cost_limit: int | None = None, now: Any = None) -> tuple[Any, int]:
        """Also what it cost, for budgets that several expressions share."""
        frame = self._blank.copy()
        frame[0] = (_UNLIMITED if cost_limit is None else cost_limit) - self._size
        if frame[0] < 0:
            raise CostExceeded
        for name, slot, convert, optional in self._inputs:
            if name in values:
                value = values[name]
            elif optional:
                value = ABSENT
            elif name == "now" and now is not None:
                value = now
            else:
                raise CelEvaluationError(f"no such attribute(s): {name}")
            frame[slot] = value if convert is None else convert(value)
        try:
            found = self._run(frame)
            result = found if self._is_plain else plain(found)
        except CelEvaluationError:
            raise
        except RecursionError:
            raise CelEvaluationError(_TOO_DEEP) from None
        except (TypeError, AttributeError, KeyError, OverflowError, UnicodeError) as error:
            # Values that are not what their declared type says reach the plain operations of Python that the types had chosen.
            raise CelEvaluationError(NO_OVERLOAD) from error
        return result, int((_UNLIMITED if cost_limit is None else cost_limit) - frame[0])


_UNLIMITED = 1 << 62
"""Units that no evaluation lives to spend."""


def compile_expression(
    text: str,
    variables: Mapping[str, CelType],
    *,
    result: CelType | None = None,
    functions: Iterable[Overload] = (),
    types: Mapping[str, CelType] | None = None,
) -> Program:
    """Checks `text` against the variables' types.  Raises CelError.

    `result`: the type it must have (dyn is taken for any).  `functions`: the caller's own beside the standard ones.
    `types`: object types that `Name{field: value}` may build, by name.
    """
    extra = list(functions)
    overloads = indexed(extra, STANDARD) if extra else STANDARD
    try:
        compiler = Compiler(variables, overloads, types or {}, CHECKED_LITERALS)
        typed = compiler.visit(parse(text))
    except Problem as problem:
        raise located(text, [problem]) from None
    except RecursionError:
        raise located(text, [Problem(0, _TOO_DEEP)]) from None
    if result is not None and not assignable(typed.type, result, {}):
        raise CelError(f"must evaluate to {result}")
    return Program(text, typed.type, typed.run, typed.size, compiler)
