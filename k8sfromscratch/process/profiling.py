"""What a running program does just now: /debug/pprof, for whoever is authorized.

    /debug/pprof/profile?seconds=5    where its processor time goes: samples of the event loop's thread, as folded stacks (`a;b;c 42`)
    /debug/pprof/goroutine            where every task waits

Samples are taken by a timer of processor time (SIGPROF), whose handler runs between two steps of the interpreter.  A thread that looks on
would not do: it gets the interpreter when the loop lets go of it, so that it sees a loop that always waits.  Folded stacks are what flame graph
programs read (speedscope, inferno, flamegraph.pl); pprof's own format is of Go's runtime, and would say things of ours that are not so.
"""

import asyncio
import io
import signal
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType

from k8sfromscratch.api.errors import BadRequest, MethodNotAllowed, ServiceUnavailable, TooManyRequests
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process.http import Request, Response

SAMPLE_EVERY_S = 0.005
"""Of processor time: an idle program gives no samples."""
SECONDS_DEFAULT, SECONDS_MAX = 5, 30
"""More than this takes longer than a request may."""

TEXT = "text/plain; charset=utf-8"

_INDEX = """/debug/pprof/

profile?seconds=5   folded stacks of the event loop's thread, a line a stack with its number of samples, one each 5 ms of processor time
goroutine           the stack of every task
"""

PathHandler = Callable[[Request, UserInfo], Awaitable[Response]]


class Profiling:
    """One profile at a time."""

    def __init__(self) -> None:
        self._busy = False

    @property
    def paths(self) -> Mapping[str, PathHandler]:
        return {"/debug/pprof": self._index, "/debug/pprof/": self._index, "/debug/pprof/profile": self._profile, "/debug/pprof/goroutine": self._tasks}

    async def _index(self, request: Request, user: UserInfo) -> Response:
        _only_get(request)
        return Response(200, _INDEX.encode(), TEXT)

    async def _tasks(self, request: Request, user: UserInfo) -> Response:
        _only_get(request)
        tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
        text = io.StringIO()
        text.write(f"{len(tasks)} tasks\n")
        for task in tasks:
            text.write("\n")
            task.print_stack(file=text)
        return Response(200, text.getvalue().encode(), TEXT)

    async def _profile(self, request: Request, user: UserInfo) -> Response:
        _only_get(request)
        given = request.arg("seconds") or str(SECONDS_DEFAULT)
        if not given.isascii() or not given.isdigit() or len(given) > 4 or not 1 <= int(given) <= SECONDS_MAX:
            raise BadRequest(f"seconds: {given!r} is not a number from 1 to {SECONDS_MAX}")
        if self._busy:
            raise TooManyRequests("a profile is being taken already", retry_after_s=SECONDS_DEFAULT)
        if threading.current_thread() is not threading.main_thread():
            raise ServiceUnavailable("a profile can be taken only where the event loop runs in the process's main thread")
        self._busy = True
        try:
            stacks = await _sampled(float(given))
        finally:
            self._busy = False
        return Response(200, "".join(f"{stack} {count}\n" for stack, count in stacks.most_common()).encode(), TEXT)


def _only_get(request: Request) -> None:
    if request.method != "GET":
        raise MethodNotAllowed("the server does not allow this method on the requested resource")


async def _sampled(seconds: float) -> Counter[str]:
    stacks: Counter[str] = Counter()

    def look(number: int, frame: FrameType | None) -> None:
        if frame is not None:
            stacks[_folded(frame)] += 1

    signal.signal(signal.SIGPROF, look)
    signal.siginterrupt(signal.SIGPROF, False)
    signal.setitimer(signal.ITIMER_PROF, SAMPLE_EVERY_S, SAMPLE_EVERY_S)
    try:
        await asyncio.sleep(seconds)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        # Not the default, which would end the process for a sample that is under way still.
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
    return stacks


def _folded(innermost: FrameType) -> str:
    names: list[str] = []
    frame: FrameType | None = innermost
    while frame is not None:
        code = frame.f_code
        names.append(f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{frame.f_lineno})".replace(";", ","))
        frame = frame.f_back
    return ";".join(reversed(names))
