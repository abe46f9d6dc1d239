"""Facts whose command is more than one program's, asked of this machine and of a systemctl that says what systemd's does."""

import getpass
import grp
import hashlib
import os
import subprocess
from pathlib import Path

from roles.lib.facts import Files, FileState, Units, UnitState

SHOWN = """\
MainPID={pid}
Id=etcd.service
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no

MainPID=0
Id=kubelet.service
ActiveState=failed
UnitFileState=disabled
NeedDaemonReload=yes

MainPID=0
Id=unheard-of.service
ActiveState=inactive
UnitFileState=
NeedDaemonReload=no
"""


def ask(command: str, **environment: str) -> list[str]:
    """The lines that pyinfra hands to `process`."""
    return subprocess.run(["sh", "-c", command], env={**os.environ, **environment}, capture_output=True, text=True, check=True).stdout.splitlines()


def test_files_are_told_with_content_mode_and_owner_and_missing_ones_are_left_out(tmp_path: Path) -> None:
    plain, odd = tmp_path / "ca.crt", tmp_path / "it's two words"
    plain.write_text("certificate")
    plain.chmod(0o644)
    odd.write_text("key")
    odd.chmod(0o600)
    mine = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    fact = Files()
    assert fact.process(ask(fact.command([str(plain), str(tmp_path / "missing"), str(odd), str(tmp_path)]))) == {
        str(plain): FileState(hashlib.sha256(b"certificate").hexdigest(), "644", *mine),
        str(odd): FileState(hashlib.sha256(b"key").hexdigest(), "600", *mine),
    }
    assert fact.process(ask(fact.command([str(tmp_path / "missing")]))) == {}


def test_units_are_told_with_what_their_process_was_started_from(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "KFS_INPUTS": "0123abcd", "OTHER": "KFS_INPUTS=no"}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"there\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"there\n"  # a process has no environment until it has been made
        systemctl = tmp_path / "systemctl"
        systemctl.write_text(f"#!/bin/sh\n[ $1 = show ] && cat <<'END'\n{SHOWN.format(pid=process.pid)}END\n")
        systemctl.chmod(0o755)
        fact = Units()
        command = fact.command(["etcd.service", "kubelet.service", "unheard-of.service"])
        output = ask(command, PATH=f"{tmp_path}:{os.environ['PATH']}")
        process.stdin.close()
    assert fact.process(output) == {
        "etcd.service": UnitState(active=True, enabled=True, needs_reload=False, inputs="0123abcd"),
        "kubelet.service": UnitState(active=False, enabled=False, needs_reload=True, inputs=""),
        "unheard-of.service": UnitState(active=False, enabled=False, needs_reload=False, inputs=""),
    }
