"""Programs of the control host, run to their end.

Everything the lab does to the machine it runs on goes through here, because subprocesses are what works under pyinfra's gevent:
`subprocess` is patched to yield to other greenlets, so that machines can boot in parallel, where netlink or libvirt calls would block.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from k8sfromscratch.lab.errors import CommandFailed, MissingTool


def run(argv: Sequence[str | Path], *, stdin: str | None = None, timeout_s: float = 120, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Standard output of a program that must succeed; CommandFailed carries the command line and its standard error otherwise."""
    done = attempt(argv, stdin=stdin, timeout_s=timeout_s, cwd=cwd, env=env)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CommandFailed(f"{shlex.join(map(str, argv))} ended with {done.returncode}: {said}")
    return done.stdout


def attempt(
    argv: Sequence[str | Path], *, stdin: str | None = None, timeout_s: float = 120, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Like `run`, for programs whose failure is an answer: the caller reads `returncode`."""
    words = [str(word) for word in argv]
    try:
        return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout_s, cwd=cwd, env=env, check=False)
    except FileNotFoundError as error:
        raise MissingTool(f"the program {words[0]!r} is not installed; `make lab` as root installs all it needs") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{shlex.join(words)} did not end within {timeout_s:g} s") from error


def need_root(what: str) -> None:
    """Before what a program refuses to others in words that name no remedy."""
    if os.geteuid() != 0:
        raise MissingTool(f"{what} needs root: run it with sudo.  What is built is kept, so that this is asked only when it changes")


def has(program: str) -> bool:
    return shutil.which(program) is not None
