"""Is there an order of these operations on one register that respects real time and explains every read?  (Wing & Gong's search, as Porcupine does.)

An operation lies between its call and its return; one whose outcome is not known returns never: it may have taken effect at any time, or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

STEPS_MAX = 200_000
"""A history that needs more is refused: the caller's are short and their written values unique, so that the search hardly branches."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A write of `value`, or a read that found it.  `returned` is None where the outcome is not known (of a write: a read without one says nothing)."""

    called: int
    returned: int | None
    write: bool
    value: bytes | None


class TooHard(Exception):
    """The search was given up."""


def is_linearizable(history: Sequence[Operation], initial: bytes | None = None) -> bool:
    """Raises TooHard."""
    read = {op.value for op in history if not op.write}
    # A write of unknown outcome whose value nobody has read may be taken never to have happened.
    ops = sorted((op for op in history if op.returned is not None or (op.write and op.value in read)), key=lambda op: op.called)
    end = max((op.returned for op in ops if op.returned is not None), default=0) + 1
    returned = [end if op.returned is None else op.returned for op in ops]
    needed = sum(1 << at for at, op in enumerate(ops) if op.returned is not None)
    seen: set[tuple[int, bytes | None]] = set()
    stack: list[tuple[int, bytes | None]] = [(0, initial)]
    while stack:
        done, value = stack.pop()
        if done & needed == needed:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        if len(seen) > STEPS_MAX:
            raise TooHard(f"{len(ops)} operations")
        first_return = end + 1
        for at, op in enumerate(ops):
            if op.called > first_return:
                break
            if not done >> at & 1:
                first_return = min(first_return, returned[at])
        for at, op in enumerate(ops):
            if op.called > first_return:
                break
            if done >> at & 1:
                continue
            if op.write:
                stack.append((done | 1 << at, op.value))
            elif op.value == value:
                stack.append((done | 1 << at, value))
    return False
