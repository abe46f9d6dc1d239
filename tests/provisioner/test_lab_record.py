"""The record of what the lab made survives, and a process is known by more than its id."""

import os
from pathlib import Path

import pytest

from k8sfromscratch.lab.errors import LabError
from k8sfromscratch.lab.providers.nspawn import _start_time
from k8sfromscratch.lab.record import MachineRecord, Record


def test_changes_are_kept(tmp_path: Path) -> None:
    with Record.locked(tmp_path) as record:
        record.machines["worker-1"] = MachineRecord(root="/somewhere", pid=1, start_time=2)
    assert Record.load(tmp_path).machines["worker-1"].pid == 1


def test_a_failing_block_still_records_what_it_made(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Record.locked(tmp_path) as record:
        record.machines["worker-1"] = MachineRecord(root="/somewhere")
        raise RuntimeError("the creation failed half way")
    assert "worker-1" in Record.load(tmp_path).machines


def test_no_record_is_an_empty_record(tmp_path: Path) -> None:
    assert Record.load(tmp_path) == Record()


@pytest.mark.parametrize(("text", "said"), [('{"machines": {"m": {"root": "/r", "later": 1}}}', "machines.m.later"), ('{"mach', "the whole")])
def test_a_record_that_cannot_be_read_is_kept_and_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "record.json"
    file.write_text(text)
    with pytest.raises(LabError, match=f"{file} cannot be read .{said}"), Record.locked(tmp_path):
        pass
    assert file.read_text() == text


def test_start_time_tells_processes_apart() -> None:
    assert _start_time(os.getpid()) == _start_time(os.getpid())
    assert _start_time(os.getpid()) != _start_time(1)
    assert _start_time(2**22 + 1) is None
