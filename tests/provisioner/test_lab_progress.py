"""What a run tells is shown: a line a host and phase, the time of each phase, and what failed with its cause and remedy."""

import errno
import io
import json
import os
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

import k8sfromscratch.lab.__main__ as lab_main
from k8sfromscratch.lab import box, vagrant_hooks
from k8sfromscratch.lab.errors import LabError, of_this_host
from k8sfromscratch.lab.phases import Event, Teller, Timings, remedy_for
from k8sfromscratch.lab.progress import Progress

RUN = [
    Event("begin", "master-1", "Machine", at_s=100.0),
    Event("begin", "worker-1", "Machine", at_s=100.5),
    Event("begin", "master-1", "etcd", at_s=103.0, of=2),
    Event("step", "master-1", "etcd", "Certificates", True, 1, 2, at_s=104.0),
    Event("failed", "worker-1", "Machine", "boot", cause="it [did] not\nboot", remedy="look at it", at_s=104.0),
    Event("done", "master-1", "", place=2, of=2, at_s=105.0),
]


def shown(tmp_path: Path, *, terminal: bool) -> tuple[str, Progress]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, highlight=False)
    with Progress(tmp_path / "logs" / "up.log", console, began_s=100.0) as progress:
        for event in RUN:
            progress.take(event)
    progress.summary()
    return stream.getvalue(), progress


def test_without_a_terminal_each_phase_of_a_host_is_a_line(tmp_path: Path) -> None:
    text, _ = shown(tmp_path, terminal=False)
    lines = [line.split() for line in text.splitlines()]
    assert ["3.0", "s", "master-1", "Machine", "3.0", "s"] in lines
    assert ["5.0", "s", "master-1", "etcd", "2.0", "s"] in lines
    assert "\x1b" not in text


def test_a_failure_says_host_operation_cause_and_remedy(tmp_path: Path) -> None:
    text, _ = shown(tmp_path, terminal=False)
    tail = text[text.index("worker-1: Machine | boot failed") :]
    assert tail.index("it [did] not") < tail.index("boot\n") < tail.index("What to do: look at it")


def test_a_terminal_gets_a_table_in_place_and_the_summary(tmp_path: Path) -> None:
    text, _ = shown(tmp_path, terminal=True)
    assert "master-1" in text and "PHASE" in text and "\x1b[?25l" in text


def test_the_log_has_every_event(tmp_path: Path) -> None:
    _, progress = shown(tmp_path, terminal=False)
    lines = progress.log.read_text().splitlines()
    assert len(lines) == len(RUN)
    assert lines[2] == "# 3.000 master-1 begin etcd"


def test_phases_are_timed_from_the_first_host_to_the_last(tmp_path: Path) -> None:
    timings = Timings(100.0)
    for event in RUN:
        timings.take(event)
    assert timings.phases() == {"Machine": (0.0, 4.0), "etcd": (3.0, 5.0)}
    timings.save(tmp_path / "phases.json", 5.0)
    assert json.loads((tmp_path / "phases.json").read_text())["spans"][0] == {"host": "master-1", "phase": "Machine", "from_s": 0.0, "took_s": 3.0}


def test_events_cross_the_pipe_whole_and_a_phase_begins_once() -> None:
    stream = io.StringIO()
    teller = Teller(stream)
    teller.enter("master-1", "etcd")
    teller.enter("master-1", "etcd")
    teller.tell(RUN[4])
    begin, failed = (Event.of_line(line) for line in stream.getvalue().splitlines())
    assert (begin.what, begin.phase) == ("begin", "etcd")
    assert failed == RUN[4]


def test_remedies_fit_their_causes() -> None:
    assert "free space" in remedy_for(["tar: write error: No space left on device"])
    assert "name servers" in remedy_for(["W: Temporary failure resolving 'deb.debian.org'"])
    assert "goes on from there" in remedy_for(["something unheard of"])


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "No space left on device: free space there"), (errno.EACCES, "Permission denied: it is another user's: run it")]
)
@pytest.mark.parametrize(
    ("module", "step", "words"), [(lab_main, "up", ["up"]), (box, "add", []), (vagrant_hooks, "gone", ["gone", "worker-1"])], ids=["up", "box", "hooks"]
)
def test_what_this_host_refuses_is_told_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: ModuleType, step: str, words: list[str], number: int, remedy: str
) -> None:
    def refused(*_words: object) -> int:
        raise OSError(number, os.strerror(number), "/var/tmp/machine")

    monkeypatch.setattr(module, step, refused)
    assert module.main(words) == 1
    assert f"/var/tmp/machine: {remedy}" in capsys.readouterr().err


def test_an_interrupted_run_says_that_it_can_be_gone_on_with(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_spec: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(lab_main, "up", interrupted)
    assert lab_main.main(["up"]) == 130
    assert "lab: interrupted.  It can be run again as it is" in capsys.readouterr().err


def test_a_fault_of_ours_is_not_taken_for_one_of_this_host() -> None:
    with pytest.raises(IsADirectoryError):
        of_this_host(IsADirectoryError(errno.EISDIR, "no"), Path("/var/tmp"))


def test_a_second_run_at_the_same_time_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lab_main, "LAB_DIR", tmp_path)
    with lab_main._alone(), pytest.raises(LabError, match="another `make lab` is at work"), lab_main._alone():
        pytest.fail("two at a time")
    with lab_main._alone():
        assert (tmp_path / "up.lock").exists()
