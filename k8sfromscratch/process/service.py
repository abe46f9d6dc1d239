"""How every component runs as a process: flags, logs, event loop, signals, exit code.

SIGTERM and SIGINT cancel the component's one task and wait for its orderly end; a second signal ends the process at once.
Exit codes: 0 stopped as asked, 1 failed, 2 wrong flags (as upstream, so that systemd can tell them apart).  What the user can mend is told
in one line (process.errors); anything else is a fault of ours and logged with its traceback.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import uvloop

from k8sfromscratch import KUBERNETES_VERSION, __version__
from k8sfromscratch.process import logs
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.errors import Fatal
from k8sfromscratch.process.errors import StartError as StartError
from k8sfromscratch.process.flags import FlagError, Flags

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Flags)


def run_service(
    name: str,
    flags_class: type[F],
    run: Callable[[F, Env], Awaitable[None]],
    argv: Sequence[str] | None = None,
    *,
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> int:
    """The whole life of the process; the value is its exit code.  uvloop knows no netlink sockets: who needs them passes asyncio's own loop."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--version"], ["version"]):
        print(f"{name} {KUBERNETES_VERSION} (k8sfromscratch {__version__})")
        return 0
    try:
        flags = flags_class.parse(words)
    except FlagError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    logs.setup()
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(_until_signalled(name, run(flags, Env())))
    except Exception as error:
        reason = _one_line(error)
        if reason is None:
            log.exception("%s failed", name)
        else:
            log.debug("%s failed", name, exc_info=True)
            print(f"{name}: {reason}", file=sys.stderr)
        return 1


async def _until_signalled(name: str, work: Awaitable[None]) -> int:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    asked = False

    def stop(which: signal.Signals) -> None:
        nonlocal asked
        log.info("%s: %s, stopping", name, which.name)
        asked = True
        task.cancel()
        loop.remove_signal_handler(which)

    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, stop, which)
    try:
        await task
    except asyncio.CancelledError:
        if not asked:
            raise
        return 0
    if not asked:
        log.warning("%s ended by itself", name)
    return 0


def _one_line(error: BaseException) -> str | None:
    """What the user is told, where that is enough to act on; None where it is a fault of ours that needs its traceback."""
    if isinstance(error, Fatal):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _one_line(error.exceptions[0])
    return None
