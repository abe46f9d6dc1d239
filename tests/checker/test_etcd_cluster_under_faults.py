"""A cluster of three real members keeps etcd's promises while it is killed, paused, cut and filled up: see testing.etcd_checker.

One round of every fault from a fixed seed.  In the night `KFS_CHECKER_ROUNDS` rounds from each of `KFS_CHECKER_SEEDS` seeds, and upstream's etcd as
well: what the checker says of ours it must not say of that.
"""

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROUNDS = os.environ.get("KFS_CHECKER_ROUNDS", "1")
SEEDS = int(os.environ.get("KFS_CHECKER_SEEDS", "1"))
TRIES_MAX = 5
SERVERS = ("ours", "upstream") if "KFS_CHECKER_ROUNDS" in os.environ else ("ours",)


@pytest.fixture
def check(needs: Callable[..., None], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        needs("etcd", "ip", "nft", "unshare", "mount", root=True)
        command = [sys.executable, "-m", "k8sfromscratch.testing.etcd_checker", "--logs", str(tmp_path), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
@pytest.mark.parametrize("server", SERVERS)
def test_promises_are_kept(check: Callable[..., subprocess.CompletedProcess[str]], server: str, seed: int) -> None:
    done = check("--seed", str(seed), "--rounds", ROUNDS, *(["--upstream"] if server == "upstream" else []))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert "all is right" in done.stdout


def test_reads_that_are_not_linearizable_are_found_out(check: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The same reads, asked serializably and taken for linearizable: a member that is cut off answers from the past.  Whether somebody reads there in
    time, when the others have gone on, is chance; that nobody ever does is none."""
    for seed in range(1, TRIES_MAX + 1):
        done = check("--upstream", "--pretend", "--only", "isolate", "--seed", str(seed))
        if done.returncode:
            break
    assert done.returncode == 1, f"{done.stdout}{done.stderr}"
    assert "it began when revision" in done.stdout


def test_nothing_is_left_of_a_run_that_was_killed(needs: Callable[..., None]) -> None:
    """Members, namespaces and mounts end with the process that was asked for them, and nobody else could ever see them."""
    needs("etcd", "ip", "nft", "unshare", "mount", root=True)
    command = [sys.executable, "-m", "k8sfromscratch.testing.etcd_checker", "--upstream"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert "all members answer" in running.stderr.readline()
        of_run = [fd for pid in _descendants(running.pid) for fd in _opened(pid)]
        assert len(of_run) >= 4
        running.kill()
        for each in of_run:
            assert select.select([each], [], [], 100)[0], "a member lives on"
            os.close(each)
    assert "etcd-checker" not in Path("/proc/mounts").read_text()


def _descendants(pid: int) -> list[int]:
    """Those that do not end meanwhile: members stay, what is run for a fault does not."""
    children: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                children += map(int, (task / "children").read_text().split())
    return [each for child in children for each in (child, *_descendants(child))]


def _opened(pid: int) -> list[int]:
    try:
        return [os.pidfd_open(pid)]
    except ProcessLookupError:
        return []
