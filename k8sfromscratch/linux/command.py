"""Runs one program and waits for it: the only way in which anything here starts a helper program of the system."""

import asyncio
from dataclasses import dataclass

OUTPUT_SHOWN_MAX = 2000
"""How much of a failed program's output goes into the error."""


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    stdout: bytes
    stderr: bytes


class CommandError(Exception):
    """A program that is not there, took too long, or failed; the message names it and says what it printed."""


async def run_command(*argv: str, stdin: bytes = b"", timeout_s: float = 30.0, check: bool = True) -> Result:
    """Raises CommandError; with `check=False` not for a non-zero exit code."""
    try:
        # A pipe only where there is something to say: a program that has ended already cannot be written to.
        source = asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*argv, stdin=source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    except FileNotFoundError as error:
        raise CommandError(f"{argv[0]} is not installed or not on PATH") from error
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin or None)
    except TimeoutError as error:
        raise CommandError(f"{' '.join(argv)} did not end within {timeout_s} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    if check and process.returncode != 0:
        shown = (err or out).decode(errors="replace").strip()[:OUTPUT_SHOWN_MAX]
        raise CommandError(f"{' '.join(argv)} exited with {process.returncode}: {shown}")
    return Result(process.returncode, out, err)
