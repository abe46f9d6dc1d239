"""What nodes become once their types are known: closures over a frame.

`frame[0]` is the cost still allowed; the slots after it hold variables.
"""

from collections.abc import Callable
from typing import Any

from k8sfromscratch.core.cel.errors import CelEvaluationError, CostExceeded
from k8sfromscratch.core.cel.overload import Overload
from k8sfromscratch.core.cel.types import STRING
from k8sfromscratch.core.cel.values import ABSENT, NO_OVERLOAD, Converter, Optional, fits

Frame = list[Any]
Run = Callable[[Frame], Any]


def constant(value: Any) -> Run:
    return lambda frame: value


def map_builder(entries: list[tuple[Run, Run, bool]]) -> Run:
    def build(frame: Frame) -> dict[Any, Any]:
        built: dict[Any, Any] = {}
        for key_run, value_run, optional in entries:
            key, value = key_run(frame), value_run(frame)
            if optional:
                if not value.present:
                    continue
                value = value.value
            if not fits(key, STRING) and not isinstance(key, int):
                raise CelEvaluationError("unsupported key type")
            if key in built:
                raise CelEvaluationError(f"Failed with repeated key: {key}")
            built[key] = value
        return built

    return build


def charged_equal(frame: Frame, a: Any, b: Any, same: Callable[[Any, Any], bool]) -> bool:
    if a.__class__ in (list, dict):
        spend(frame, len(a))
    return same(a, b)


def spend(frame: Frame, cost: int) -> None:
    frame[0] -= cost
    if frame[0] < 0:
        raise CostExceeded


def direct(overload: Overload, runs: list[Run]) -> Run:
    call, cost = overload.call, overload.cost
    if cost is not None:
        price = cost

        def charged(frame: Frame) -> Any:
            values = [run(frame) for run in runs]
            frame[0] -= price(*values)
            if frame[0] < 0:
                raise CostExceeded
            return call(*values)

        return charged
    if len(runs) == 1:
        only = runs[0]
        return lambda frame: call(only(frame))
    if len(runs) == 2:
        first, second = runs
        return lambda frame: call(first(frame), second(frame))
    return lambda frame: call(*[run(frame) for run in runs])


def dispatched(overloads: list[Overload], runs: list[Run]) -> Run:
    def dispatch(frame: Frame) -> Any:
        values = [run(frame) for run in runs]
        for each in overloads:
            if all(map(fits, values, each.args)):
                if each.cost is not None:
                    spend(frame, each.cost(*values))
                return each.call(*values)
        raise CelEvaluationError(NO_OVERLOAD)

    return dispatch


def both_of(left: Run, right: Run) -> Run:
    def both(frame: Frame) -> bool:
        try:
            if not left(frame):
                return False
        except CostExceeded:
            raise
        except CelEvaluationError:
            # An error does not count where the other side alone decides.
            if right(frame) is False:
                return False
            raise
        return right(frame)

    return both


def either_of(left: Run, right: Run) -> Run:
    def either(frame: Frame) -> bool:
        try:
            if left(frame):
                return True
        except CostExceeded:
            raise
        except CelEvaluationError:
            if right(frame) is True:
                return True
            raise
        return right(frame)

    return either


def selection(operand: Run, key: str, convert: Converter | None) -> Run:
    def select(frame: Frame) -> Any:
        try:
            return operand(frame)[key]
        except KeyError:
            raise CelEvaluationError(f"no such key: {key}") from None
        except TypeError:
            raise CelEvaluationError(NO_OVERLOAD) from None

    if convert is None:
        return select
    return lambda frame: None if (value := select(frame)) is None else convert(value)


def optional_selection(operand: Run, key: str, convert: Converter | None) -> Run:
    def select(frame: Frame) -> Optional:
        value = operand(frame)
        if value.__class__ is Optional:
            value = value.value
        if value.__class__ is not dict or key not in value:
            return ABSENT
        found = value[key]
        return found if found.__class__ is Optional else Optional(found if convert is None or found is None else convert(found))

    return select


def presence(operand: Run, key: str, null_is_absent: bool) -> Run:
    def present(frame: Frame) -> bool:
        value = operand(frame)
        if value.__class__ is Optional:
            value = value.value if value.present else {}
        if value.__class__ is not dict:
            raise CelEvaluationError(NO_OVERLOAD)
        return value.get(key) is not None if null_is_absent else key in value

    return present
