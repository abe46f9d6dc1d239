"""How much of the log is kept for members that lag."""

import pytest

from k8sfromscratch.core.raft.log import RaftLog
from k8sfromscratch.core.raft.types import ConfState, Entry, Snapshot
from k8sfromscratch.storage import window
from k8sfromscratch.storage.window import WHILE_SENDING, Window


def log_of(count: int, size: int = 1) -> RaftLog:
    return RaftLog([Entry(1, index, b"x" * size) for index in range(1, count + 1)], committed=count, applied=count)


def forget(log: RaftLog, kept: Window, filed: int, *, sending: bool = False) -> int:
    index = kept.surplus(filed, sending=sending)
    if index:
        log.compact(index)
    return index


def test_so_many_entries_behind_what_is_filed_are_kept() -> None:
    log = log_of(100)
    kept = Window(log, 10)
    assert forget(log, kept, 5) == 0
    assert forget(log, kept, 50) == 40
    assert forget(log, kept, 50) == 0
    assert forget(log, kept, 51) == 41
    assert forget(log, kept, 100, sending=True) == 0
    assert WHILE_SENDING * 10 > 100 - 41
    assert forget(log, kept, 100) == 90 == log.offset


def test_so_many_bytes_are_kept_however_few_the_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "BYTES_MAX", 1000)
    log = log_of(10, 300)
    kept = Window(log, 100)
    assert forget(log, kept, 3) == 0
    assert forget(log, kept, 10) == 7
    assert log.last_index - log.offset == 3


def test_counting_begins_anew_behind_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "BYTES_MAX", 1000)
    log = log_of(10, 90)
    kept = Window(log, 100)
    assert forget(log, kept, 10) == 0
    log.restore(Snapshot(20, 2, ConfState((1,))))
    log.saved_snapshot(20)
    log.append([Entry(2, index, b"x" * 90) for index in range(21, 31)])
    log.commit_to(30)
    log.stable_to(30, 2)
    log.applied_to(30)
    assert forget(log, kept, 30) == 0
