"""What `Steps` does on a machine: here, by the same shell and tar, as whoever runs the tests."""

import getpass
import grp
import os
import subprocess
from pathlib import Path

from roles.lib.commands import File, Steps

ME = getpass.getuser()
MINE = grp.getgrgid(os.getgid()).gr_name
ARCHIVE_RECORD_AND_PIPE = 10_240 + 65_536
"""What tar and the pipe to it may hold of an archive that has not been written to disk."""


def own(path: Path, content: str, mode: str = "644") -> File:
    return File(str(path), content, mode=mode, owner=ME, group=MINE)


def carry_out(steps: Steps) -> subprocess.CompletedProcess[str]:
    """With a newline at the end of what comes by standard input, as pyinfra has it."""
    stdin = str(steps.connector_arguments.get("_stdin", "")) + "\n"
    return subprocess.run(["sh", "-c", steps.get_raw_value()], input=stdin, capture_output=True, text=True, check=False)


def test_files_come_with_their_content_mode_and_directories_and_then_commands_run(tmp_path: Path) -> None:
    place, key = tmp_path / "etc" / "it's here", tmp_path / "pki" / "ca.key"
    done = carry_out(Steps(f"cat {key}", files=[own(place, "not only ASCII: ≤ …\n"), own(key, "no newline at the end", "600")]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "no newline at the end", "")
    assert place.read_text() == "not only ASCII: ≤ …\n"
    assert [each.stat().st_mode & 0o777 for each in (place, key)] == [0o644, 0o600]
    assert sorted(each.name for each in tmp_path.rglob("*") if each.is_file()) == ["ca.key", "it's here"]


def test_a_private_key_is_nobody_elses_from_its_first_byte(tmp_path: Path) -> None:
    """The archive stops in the middle of the key, so what tar has made by then can be looked at."""
    key = own(tmp_path / "ca.key", "k" * 300_000, "600")
    steps = Steps(files=[key])
    content = str(steps.connector_arguments["_stdin"]).encode()
    before = os.umask(0)
    try:
        with subprocess.Popen(["sh", "-c", steps.get_raw_value()], stdin=subprocess.PIPE) as shell:
            assert shell.stdin is not None
            shell.stdin.write(content[: 2 * ARCHIVE_RECORD_AND_PIPE])
            shell.stdin.flush()
            (half,) = tmp_path.iterdir()
            assert half.name == "ca.key.new" and half.stat().st_mode & 0o777 == 0o600
            shell.stdin.write(content[2 * ARCHIVE_RECORD_AND_PIPE :])
    finally:
        os.umask(before)
    assert (tmp_path / "ca.key").read_text() == key.content


def test_what_an_interrupted_run_left_is_no_hindrance(tmp_path: Path) -> None:
    """Not even where it is a link, which nothing must be written through."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (tmp_path / "flags.new").symlink_to(elsewhere)
    assert carry_out(Steps(files=[own(tmp_path / "flags", "new")])).returncode == 0
    assert ((tmp_path / "flags").read_text(), elsewhere.read_text()) == ("new", "untouched")


def test_nothing_happens_after_what_failed(tmp_path: Path) -> None:
    stranger = File(str(tmp_path / "key"), "secret", mode="600", owner="nobody-of-this-name")
    done = carry_out(Steps(f"touch {tmp_path}/after", files=[stranger]))
    assert done.returncode != 0 and "nobody-of-this-name" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert carry_out(Steps("false", f"touch {tmp_path}/after")).returncode != 0
    assert list(tmp_path.iterdir()) == []
