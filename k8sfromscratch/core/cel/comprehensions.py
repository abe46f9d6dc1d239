"""Comprehensions as closures: loops over a list's elements or a map's keys, charged at every step.

all() and exists() absorb errors as && and || do: an element that decides outweighs one that fails, wherever it stands.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from k8sfromscratch.core.cel.errors import CelEvaluationError, CostExceeded, Problem
from k8sfromscratch.core.cel.syntax import Comprehension
from k8sfromscratch.core.cel.types import BOOL, DYN, INT, CelType, list_of, map_of, optional_of
from k8sfromscratch.core.cel.values import ABSENT, NO_OVERLOAD, Optional

if TYPE_CHECKING:
    from k8sfromscratch.core.cel.closures import Frame, Run
    from k8sfromscratch.core.cel.compiler import Compiler, Typed

Steps = Callable[["Frame"], Iterable[Any]]
"""Binds the variables and charges the budget for one element after another; yields the element (or the key)."""


def comprehension(compiler: "Compiler", node: Comprehension) -> "Typed":
    from k8sfromscratch.core.cel.compiler import Typed

    source = compiler.visit(node.range)
    if node.kind in ("bind", "optMap", "optFlatMap"):
        return _single(compiler, node, source)
    variables = _element_types(source.type, len(node.variables), node)
    slots = compiler.bind(tuple(zip(node.variables, variables, strict=True)))
    try:
        predicate = compiler.boolean(node.predicate) if node.predicate is not None else None
        body = compiler.visit(node.body) if node.body is not None else None
    finally:
        compiler.unbind()
    inner = sum(each.size for each in (predicate, body) if each is not None)
    steps = _steps(source.run, slots, inner)
    size = 1 + source.size
    test = predicate.run if predicate is not None else None
    match node.kind:
        case "all" | "exists":
            assert test is not None
            return Typed(BOOL, _quantifier(steps, test, node.kind == "exists"), size)
        case "exists_one":
            assert test is not None
            return Typed(BOOL, _exists_one(steps, test), size)
        case "filter":
            assert test is not None
            return Typed(list_of(variables[0]), _filter(steps, test), size)
    assert body is not None
    if node.kind in ("map", "transformList"):
        return Typed(list_of(body.type), _map(steps, test, body.run), size)
    if node.kind == "transformMap":
        return Typed(map_of(variables[0], body.type), _transform_map(steps, test, body.run), size)
    if body.type.kind not in ("map", "dyn"):
        raise Problem(node.at, f"expected type 'map(dyn, dyn)' but found '{body.type}'")
    return Typed(body.type if body.type.params else map_of(DYN, DYN), _transform_entries(steps, test, body.run), size)


def _single(compiler: "Compiler", node: Comprehension, source: "Typed") -> "Typed":
    """cel.bind, optMap, optFlatMap: one value, no loop."""
    from k8sfromscratch.core.cel.compiler import Typed

    bound = source.type
    if node.kind != "bind":
        if bound.kind not in ("optional_type", "dyn"):
            raise Problem(node.at, f"found no matching overload for '{node.kind}' applied to '{bound}'")
        bound = bound.params[0] if bound.kind == "optional_type" else DYN
    (slot,) = compiler.bind(((node.variables[0], bound),))
    assert node.body is not None
    try:
        body = compiler.visit(node.body)
    finally:
        compiler.unbind()
    size = 1 + source.size + body.size
    value_of, run = source.run, body.run
    if node.kind == "bind":

        def bind(frame: "Frame") -> Any:
            frame[slot] = value_of(frame)
            return run(frame)

        return Typed(body.type, bind, size)
    flat = node.kind == "optFlatMap"

    def optional(frame: "Frame") -> Any:
        value = value_of(frame)
        if value.__class__ is not Optional:
            raise CelEvaluationError(NO_OVERLOAD)
        if not value.present:
            return ABSENT
        frame[slot] = value.value
        return run(frame) if flat else Optional(run(frame))

    return Typed(body.type if flat else optional_of(body.type), optional, size)


def _element_types(source: CelType, count: int, node: Comprehension) -> list[CelType]:
    if source.kind == "dyn":
        return [DYN] * count
    if source.kind == "list":
        element = source.params[0] if source.params else DYN
        return [element] if count == 1 else [INT, element]
    if source.kind == "map":
        return list(source.params[:count]) if source.params else [DYN] * count
    raise Problem(node.range.at, f"expression of type '{source}' cannot be range of a comprehension (must be list, map, or dynamic)")


def _steps(source: "Run", slots: list[int], cost: int) -> Steps:
    first = slots[0]
    if len(slots) == 1:

        def single(frame: "Frame") -> Iterator[Any]:
            items = source(frame)
            if items.__class__ is not list and items.__class__ is not dict:
                raise CelEvaluationError(NO_OVERLOAD)
            for item in items:
                frame[0] -= cost
                if frame[0] < 0:
                    raise CostExceeded
                frame[first] = item
                yield item

        return single
    second = slots[1]

    def pairs(frame: "Frame") -> Iterator[Any]:
        items = source(frame)
        if items.__class__ is not list and items.__class__ is not dict:
            raise CelEvaluationError(NO_OVERLOAD)
        for key, value in items.items() if items.__class__ is dict else enumerate(items):
            frame[0] -= cost
            if frame[0] < 0:
                raise CostExceeded
            frame[first] = key
            frame[second] = value
            yield key

    return pairs


def _quantifier(steps: Steps, test: "Run", decisive: bool) -> "Run":
    def quantify(frame: "Frame") -> bool:
        error: CelEvaluationError | None = None
        for _ in steps(frame):
            try:
                if test(frame) is decisive:
                    return decisive
            except CostExceeded:
                raise
            except CelEvaluationError as raised:
                error = error or raised
        if error is not None:
            raise error
        return not decisive

    return quantify


def _exists_one(steps: Steps, test: "Run") -> "Run":
    return lambda frame: sum(1 for _ in steps(frame) if test(frame)) == 1


def _filter(steps: Steps, test: "Run") -> "Run":
    return lambda frame: [item for item in steps(frame) if test(frame)]


def _map(steps: Steps, test: "Run | None", body: "Run") -> "Run":
    if test is None:
        return lambda frame: [body(frame) for _ in steps(frame)]
    return lambda frame: [body(frame) for _ in steps(frame) if test(frame)]


def _transform_map(steps: Steps, test: "Run | None", body: "Run") -> "Run":
    def transform(frame: "Frame") -> dict[Any, Any]:
        return {item: body(frame) for item in steps(frame) if test is None or test(frame)}

    return transform


def _transform_entries(steps: Steps, test: "Run | None", body: "Run") -> "Run":
    def transform(frame: "Frame") -> dict[Any, Any]:
        built: dict[Any, Any] = {}
        for _ in steps(frame):
            if test is not None and not test(frame):
                continue
            entries = body(frame)
            if entries.__class__ is not dict:
                raise CelEvaluationError(NO_OVERLOAD)
            for key, value in entries.items():
                if key in built:
                    raise CelEvaluationError(f"insert failed: key {key} already exists")
                built[key] = value
        return built

    return transform
