"""Turns of several processes at one part of the cache: two labs of a checkout, or a lab and Vagrant, may be made at the same time.

Each part is built under another name, which the second builder would clear away under the first one's hands.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from k8sfromscratch.lab.record import CACHE_DIR

POLL_S = 0.2


@contextmanager
def turn(part: str, directory: Path = CACHE_DIR) -> Iterator[None]:
    """Waits for it, as long as it takes to build; the kernel gives the turn back when a process ends, in whatever way.

    It asks again and again instead of waiting in the kernel, where all greenlets of the process would wait too, with them the one whose turn it is.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # For reading: who may not write there can use what another user, root for one, has built.
    lock = os.open(directory / f"{part}.lock", os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(POLL_S)
        yield
    finally:
        os.close(lock)
