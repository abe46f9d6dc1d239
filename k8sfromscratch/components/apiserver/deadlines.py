"""How long a request may take: one timer for all of them.

A timer each (asyncio.timeout) cost a tenth of a GET.  But all have the same time, so they expire in the order in which they began: a table
in that order, and one timer for its first.
"""

import asyncio
from types import TracebackType

from k8sfromscratch.api.errors import Timeout


class Deadlines:
    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._running: dict[_Running, float] = {}
        """In order of their ends, on the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    def within(self) -> "_Running":
        """A context.  Raises Timeout where the time is over before its body is."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        running = _Running(task, self._running)
        self._running[running] = loop.time() + self._timeout_s
        if self._timer is None:
            self._timer = loop.call_later(self._timeout_s, self._look, loop)
        return running

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for running, end_s in self._running.items():
            left_s = end_s - loop.time()
            if left_s > 0:
                self._timer = loop.call_later(left_s, self._look, loop)
                return
            if not running.expired:
                running.expired = True
                running.task.cancel()


class _Running:
    __slots__ = ("_all", "expired", "task")

    def __init__(self, task: "asyncio.Task[object]", all_running: "dict[_Running, float]") -> None:
        self.task = task
        self.expired = False
        self._all = all_running

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        del self._all[self]
        # As asyncio.timeout has it: someone else's cancellation at the same time is not ours to swallow.
        if kind is asyncio.CancelledError and self.expired and self.task.uncancel() <= 0:
            raise Timeout("request did not complete within the allotted timeout") from error
