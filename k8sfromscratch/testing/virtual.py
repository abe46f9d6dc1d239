"""An event loop whose time jumps: a cluster's hour in a second, and the same seed gives the same run.

When no callback is ready, time moves at once to the next timer.  There are no sockets, threads or subprocesses on it: what would wait for the
outside is refused, because its answer would come at a time that no seed controls.  When nothing is ready and no timer is left, nothing can
ever happen again: that is a deadlock and is raised.
"""

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from k8sfromscratch.process.clock import Env, LoopClock

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TURNS_MAX = 50_000_000
"""Loop turns after which a run is taken to be endless."""
TASKS_SHOWN_MAX = 20


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set, and the main coroutine has not ended."""


class _NoSelector(selectors.BaseSelector):
    """Never waits: it tells the loop's clock how long it would have waited."""

    def __init__(self) -> None:
        self._keys: dict[int, selectors.SelectorKey] = {}
        self.advance: Callable[[float | None], None] = lambda timeout: None
        self.sealed = False
        """Set when the loop has registered its own wake-up pipe, which nobody ever needs."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self.sealed:
            raise _refused("a socket or a pipe")
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.advance(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def close(self) -> None:
        self._keys.clear()


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = _NoSelector()
        super().__init__(selector)
        selector.advance, selector.sealed = self._advance, True
        self._virtual_now = 0.0
        self._turns = 0

    def time(self) -> float:
        return self._virtual_now

    def _advance(self, timeout: float | None) -> None:
        self._turns += 1
        if self._turns > TURNS_MAX:
            raise RuntimeError(f"more than {TURNS_MAX} turns at virtual time {self._virtual_now:.3f} s: something spins")
        if timeout is None:
            raise Deadlock(f"at virtual time {self._virtual_now:.3f} s nothing is ready and no timer is set; waiting: {_waiting(self)}")
        if timeout > 0:
            # The loop runs timers up to now + its clock's resolution; a hair more makes sure that rounding never leaves the next one behind.
            self._virtual_now += timeout + 1e-9

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        raise _refused(f"a thread ({func!r})")

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        raise _refused("a connection")

    async def create_server(self, *args: Any, **kwargs: Any) -> Any:
        raise _refused("a server")

    async def create_datagram_endpoint(self, *args: Any, **kwargs: Any) -> Any:
        raise _refused("a datagram socket")

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        raise _refused("a subprocess")

    async def subprocess_shell(self, *args: Any, **kwargs: Any) -> Any:
        raise _refused("a subprocess")


def _refused(what: str) -> RuntimeError:
    return RuntimeError(f"{what} was asked for: on virtual time nothing may wait for the outside")


def _waiting(loop: asyncio.AbstractEventLoop) -> str:
    """The innermost line of ours that each task waits at."""
    places = []
    for task in asyncio.all_tasks(loop):
        place, coroutine = "its start", cast("Any", task.get_coro())
        while (frame := getattr(coroutine, "cr_frame", None)) is not None:
            place = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
            coroutine = getattr(coroutine, "cr_await", None)
        places.append(f"{task.get_name()} at {place}")
    return ", ".join(sorted(places)[:TASKS_SHOWN_MAX])


def virtual_env(seed: int) -> Env:
    """To be used on a running virtual loop."""
    return Env(clock=LoopClock(EPOCH), rng=random.Random(seed))


def run_virtual(main: Callable[[Env], Coroutine[Any, Any, T]], seed: int = 0) -> T:
    """Runs `main(env)` to its end on a loop and a random source of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main(virtual_env(seed)))
