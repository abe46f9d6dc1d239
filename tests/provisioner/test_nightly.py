"""The nightly run: a step that fails ends its group and not the night, what was made is taken down, and the page says all of it."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from k8sfromscratch.lab.errors import SpecError
from k8sfromscratch.lab.spec import ROOT
from k8sfromscratch.testing import steps
from k8sfromscratch.testing.nightly import exclusions, main, plan, report
from k8sfromscratch.testing.steps import Case, Group, Outcome, Phase, Step, phases, read_junit, read_phases, run

UNITS = ROOT / "tools" / "nightly"


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def test_a_failure_ends_its_group_but_what_cleans_up_runs(tmp_path: Path) -> None:
    groups = [
        Group("1", "one", (Step("up", python("raise SystemExit(3)"), 30), Step("tests", python(""), 30), Step("down", python(""), 30, cleans_up=True))),
        Group("2", "two", (Step("fine", python("import os; print(os.environ['KIND'])"), 30),), {"KIND": "of its own"}),
        Group("3", "three", (Step("hangs", python("import threading; threading.Event().wait(60)"), 0.2),)),
    ]
    outcomes = run(groups, tmp_path)
    assert [(each.step, each.outcome) for each in outcomes] == [
        ("up", "failed"),
        ("tests", "not run"),
        ("down", "passed"),
        ("fine", "passed"),
        ("hangs", "timed out"),
    ]
    assert (tmp_path / outcomes[3].log).read_text().split(maxsplit=1)[1] == "of its own\n"


INTERRUPTED = '''
import sys, threading
from pathlib import Path
from k8sfromscratch.testing.steps import Group, Step, run
waits = """
import threading
try:
    print("begun", flush=True)
    threading.Event().wait()
finally:
    threading.Event().wait(0.2)
    # What it says at last fills the pipe: whoever reads it is behind when the step has ended.
    print("going\\\\n" * 20_000 + "what the step made is gone", flush=True)
"""
hangs = Step("hangs", (sys.executable, "-c", waits), 60)
down = Step("down", (sys.executable, "-c", "print('taken down')"), 60, cleans_up=True)
run([Group("g", "g", (hangs, down))], Path(sys.argv[1]))
'''


def test_an_interrupted_night_takes_down_what_it_made(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(tmp_path)], stderr=subprocess.PIPE, text=True) as night:
        pause, log = threading.Event(), tmp_path / "logs" / "g-hangs.log"
        while not (log.exists() and "begun" in log.read_text()):
            assert night.poll() is None
            pause.wait(0.05)
        night.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in night.communicate(timeout=30)[1]
    assert "what the step made is gone" in log.read_text()
    assert "taken down" in (tmp_path / "logs" / "g-down.log").read_text()


KILLED = """
import sys
from pathlib import Path
from k8sfromscratch.testing.steps import Group, Step, run
works = Step("works", (sys.executable, "-c", "import os, threading; print('begun', os.getpid(), flush=True); threading.Event().wait()"), 60)
down = Step("down", (sys.executable, "-c", "print('taken down')"), 60, cleans_up=True)
run([Group("g", "g", (works, down))], Path(sys.argv[1]))
"""


def ended(pid: int) -> bool:
    """Whether that process does, in a while."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 30)[0])
    finally:
        os.close(process)


def test_what_a_killed_night_has_left_is_taken_down_before_the_next_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "logs" / "g-works.log"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)]) as night:
        pause = threading.Event()
        while not (log.exists() and "begun" in log.read_text()):
            assert night.poll() is None
            pause.wait(0.05)
        night.kill()
    assert ended(int(log.read_text().split()[2])), "the step outlives the night"
    marks = tmp_path / "marks"
    group = Group(
        "g",
        "g",
        (
            Step("up", python(f"open({str(marks)!r}, 'a').write('up ')"), 30),
            Step("down", python(f"open({str(marks)!r}, 'a').write('down ')"), 30, cleans_up=True),
        ),
    )
    assert [each.step for each in run([group], tmp_path)] == ["up", "down"]
    assert marks.read_text() == "down up down "
    assert "what an earlier run has left is taken down first" in capsys.readouterr().out
    run([group], tmp_path)
    assert marks.read_text() == "down up down up down ", "that one has left nothing"


def test_what_could_not_be_taken_down_is_tried_again_the_next_night(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    stuck = python(f"open({str(marks)!r}, 'a').write('down '); raise SystemExit(1)")
    group = Group("g", "g", (Step("up", python(f"open({str(marks)!r}, 'a').write('up ')"), 30), Step("down", stuck, 30, cleans_up=True)))
    run([group], tmp_path)
    run([group], tmp_path)
    assert marks.read_text() == "up down down up down "


DAEMON = """
import sys, threading
from pathlib import Path
from k8sfromscratch.testing import libvirtd
with libvirtd._daemon(sys.argv[1], Path(sys.argv[2])):
    threading.Event().wait()
"""


def test_a_daemon_ends_with_a_night_that_is_killed(tmp_path: Path) -> None:
    daemon, log = tmp_path / "daemon", tmp_path / "daemon.log"
    daemon.write_text("#!/bin/sh\necho $$\nexec sleep 60\n")
    daemon.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen([sys.executable, "-c", DAEMON, "daemon", str(tmp_path)], env=environment) as night:
        pause = threading.Event()
        while not (log.exists() and log.read_text().endswith("\n")):
            assert night.poll() is None
            pause.wait(0.05)
        night.kill()
    assert ended(int(log.read_text()))


LEAVES_A_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"])
print(child.pid, flush=True)
{then}
"""


@pytest.mark.parametrize(("then", "outcome"), [("child.wait()", "timed out"), ("", "passed")])
def test_nothing_of_a_step_survives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, outcome: str) -> None:
    """Neither when its time is up, not even what does not hear the interrupt, nor when it ends by itself."""
    log, ends, pause = tmp_path / "logs" / "g-leaves-a-child.log", steps._ends, threading.Event()

    def when_the_child_is_deaf(process: subprocess.Popen[bytes], within_s: float) -> bool:
        """Only then its time is up."""
        if not then or within_s != step.timeout_s:
            return ends(process, within_s)
        while log.read_text().count("\n") < 2:  # its pid, and that it is deaf
            assert process.poll() is None
            pause.wait(0.02)
        return False

    monkeypatch.setattr(steps, "_ends", when_the_child_is_deaf)
    step = Step("leaves a child", python(LEAVES_A_CHILD.format(then=then)), 30)
    (done,) = run([Group("g", "g", (step,))], tmp_path, grace_s=0.5)
    assert done.outcome == outcome
    (pid,) = re.findall(r"^ *[\d.]+  (\d+)$", log.read_text(), re.MULTILINE)
    assert ended(int(pid)), "the child lives on"


def test_a_deploy_tells_how_long_each_role_took(tmp_path: Path) -> None:
    log = [
        "     1.0  Lab 'kfs': 1 master, 2 workers",
        "    40.0  --> Starting operation: Base | System packages ",
        "    45.5      [@lab/master-1] Success",
        "    60.0  --> Starting operation: Base | Users of the components ",
        "    70.0       master-1: --> Starting operation: Control plane | kube-apiserver ",
    ]
    assert phases(log, 100.0) == (Phase("before the roles", 40.0), Phase("Base", 30.0), Phase("Control plane", 30.0))
    spans = [("a", "Machine", 0.0, 9.0), ("b", "Machine", 1.0, 10.5), ("a", "etcd", 9.0, 4.0)]
    file = tmp_path / "phases.json"
    file.write_text(json.dumps({"took_s": 14.0, "spans": [{"host": h, "phase": p, "from_s": f, "took_s": t} for h, p, f, t in spans]}))
    assert read_phases(file) == (Phase("Machine", 11.5), Phase("etcd", 4.0))
    assert phases([], 5.0) == (Phase("before the roles", 5.0),)


def test_pytests_results_are_read(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("import pytest\ndef test_a(): pass\ndef test_b(): assert 1 == 2\n@pytest.mark.skip(reason='too slow')\ndef test_c(): pass\n")
    step = Step("tests", (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)), 60, junit=True)
    (outcome,) = run([Group("g", "g", (step,))], tmp_path / "out")
    assert outcome.outcome == "failed"
    assert [(case.name.rpartition(".")[2], case.outcome) for case in outcome.cases] == [("test_a", "passed"), ("test_b", "failed"), ("test_c", "skipped")]
    assert "assert 1 == 2" in outcome.cases[1].text and outcome.cases[2].text == "too slow"
    assert read_junit(tmp_path / "absent.xml") == ()
    (tmp_path / "torn.xml").write_text('<testsuites><testsuite name="pytest"><testcase cl')
    assert read_junit(tmp_path / "torn.xml") == ()


def test_the_page_tells_results_times_failures_and_what_was_left_out() -> None:
    outcomes = [
        Outcome("A lab", "make lab", "passed", 100.0, "logs/a.log", phases=(Phase("etcd", 77.0),)),
        Outcome("A lab", "tests", "failed", 20.0, "logs/b.log", (Case("t.good", "passed", 1.0), Case("t.bad", "failed", 2.0, "assert <this>"))),
    ]
    page = report(outcomes, {"tests/lab/test_x.py::test_slow": 400.0}, datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "abc123")
    for said in (
        "Nightly failed",
        "abc123",
        "2026-01-02 03:04 UTC",
        "2 minutes",
        "1 passed, 1 failed, 0 skipped",
        "assert &lt;this&gt;",
        "test_slow",
        "400 s",
        "logs/a.log",
        '<td>etcd<td class="number">77 s',
    ):
        assert said in page, said


def test_at_most_ten_tests_are_left_out_each_with_its_time(tmp_path: Path) -> None:
    file = tmp_path / "exclusions.yaml"
    file.write_text("- {test: a, measured_s: 300}\n")
    assert exclusions(file) == {"a": 300.0}
    file.write_text("".join(f"- {{test: t{n}, measured_s: 1}}\n" for n in range(11)))
    with pytest.raises(SpecError, match="11 tests are excluded, at most 10 may be"):
        exclusions(file)
    file.write_text("- {test: a}\n")
    with pytest.raises(SpecError, match="measured_s"):
        exclusions(file)
    excluded = exclusions()
    assert not any(word in test for test in excluded for word in ("network", "dns", "node_port", "evict"))


def test_every_group_that_makes_a_lab_takes_it_down() -> None:
    for group in plan(["tests/lab/x.py::y"], "qemu"):
        makes = [step for step in group.steps if step.deploys or step.command[-1].endswith(".box")]
        downs = [step for step in group.steps if step.cleans_up]
        assert len(makes) == len(downs)
    assert any("--deselect=tests/lab/x.py::y" in step.command for group in plan(["tests/lab/x.py::y"], "qemu") for step in group.steps)


def test_something_starts_it_every_night_and_gives_it_the_time_it_may_take(needs: Callable[..., None]) -> None:
    steps_s = sum(step.timeout_s for group in plan((), "qemu") for step in group.steps)
    service = (UNITS / "k8sfromscratch-nightly.service").read_text()
    assert "ExecStart=/usr/bin/make nightly\n" in service
    (hours,) = re.findall(r"^TimeoutStartSec=(\d+)h$", service, re.MULTILINE)
    assert steps_s < int(hours) * 3600
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert steps_s < job["timeout-minutes"] * 60
    assert [step["run"] for step in job["steps"] if "run" in step] == ["sudo make nightly"]
    # YAML's `on` is true.
    (schedule,) = workflow[True]["schedule"]
    minute, hour, *days = schedule["cron"].split()
    assert minute.isdigit() and hour.isdigit() and days == ["*", "*", "*"]
    (when,) = re.findall("^OnCalendar=(.*)$", (UNITS / "k8sfromscratch-nightly.timer").read_text(), re.MULTILINE)
    needs("systemd-analyze")
    said = subprocess.run(["systemd-analyze", "calendar", "--iterations=2", when], capture_output=True, text=True, check=True).stdout
    first, second = (datetime.strptime(found, "%Y-%m-%d %H:%M") for found in re.findall(r"(\d{4}-\d\d-\d\d \d\d:\d\d):\d\d", said.partition("Next")[2])[:2])
    assert (second - first).days == 1


def test_systemd_finds_nothing_wrong_with_the_units(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("systemd-analyze")
    for file in UNITS.iterdir():
        shutil.copy(file, tmp_path)
    units = sorted(str(file) for file in tmp_path.iterdir())
    done = subprocess.run(["systemd-analyze", "verify", "--recursive-errors=no", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_group_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--group", "everything"])
    assert "'libvirt', 'vagrant', 'masters', 'killed'" in capsys.readouterr().err
