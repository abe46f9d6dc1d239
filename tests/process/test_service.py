"""A component's life as a process: flags, signals, exit codes, what its user reads."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, sys
from k8sfromscratch.process.errors import Fatal
from k8sfromscratch.process.flags import Flags
from k8sfromscratch.process.service import StartError, run_service

class Example(Flags):
    mode: str = "serve"

async def run(flags, env):
    match flags.mode:
        case "start-error":
            raise StartError("the file x is missing: make it")
        case "group":
            raise ExceptionGroup("tasks", [Fatal("one line")])
        case "fault":
            raise KeyError("ours")
        case "address":
            await asyncio.start_server(lambda r, w: None, "192.0.2.1", 1)
        case "ends":
            return
    try:
        print("up", flush=True)
        await asyncio.get_running_loop().create_future()
    finally:
        if flags.mode == "slow":
            print("ending", flush=True)
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0.05)
        print("orderly end", flush=True)

sys.exit(run_service("example", Example, run))
"""


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    (tmp_path / "program.py").write_text(PROGRAM)
    return [sys.executable, str(tmp_path / "program.py")]


def finished(program: list[str], *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *argv], capture_output=True, text=True, timeout=30, env={**os.environ, **environment})


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(program: list[str], which: signal.Signals) -> None:
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(which)
        assert process.stdout.read() == "orderly end\n"
        assert process.wait(30) == 0
        assert which.name in process.stderr.read()


def test_a_second_signal_ends_it_at_once(program: list[str]) -> None:
    with subprocess.Popen([*program, "--mode=slow"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.stdout.readline() == "ending\n"
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--mode=start-error"], 1, "example: the file x is missing: make it\n"),
        (["--mode=group"], 1, "example: one line\n"),
        (["--nonsense=1"], 2, "example: unknown flag: --nonsense\n"),
    ],
)
def test_what_the_user_can_mend_is_one_line(program: list[str], argv: list[str], code: int, said: str) -> None:
    ended = finished(program, *argv)
    assert (ended.returncode, ended.stderr) == (code, said)


def test_an_address_that_cannot_be_had_is_named(program: list[str]) -> None:
    ended = finished(program, "--mode=address")
    assert ended.returncode == 1 and "192.0.2.1" in ended.stderr and "Traceback" not in ended.stderr


def test_a_fault_of_ours_has_its_traceback_with_the_journals_priority_on_each_line(program: list[str]) -> None:
    ended = finished(program, "--mode=fault", JOURNAL_STREAM="1:2")
    assert ended.returncode == 1 and "KeyError: 'ours'" in ended.stderr
    assert all(line.startswith("<3>") for line in ended.stderr.splitlines())


def test_work_that_ends_by_itself_is_said(program: list[str]) -> None:
    ended = finished(program, "--mode=ends")
    assert ended.returncode == 0 and "ended by itself" in ended.stderr


def test_version(program: list[str]) -> None:
    assert finished(program, "--version").stdout.startswith("example v1.35.")
