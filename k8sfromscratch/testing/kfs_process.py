"""`kfs up` as a process of its own, for tests that reach a cluster as people do: through its kubeconfig."""

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

STOP_TIMEOUT_S = 60
COMMAND_TIMEOUT_S = 90


@dataclass(frozen=True)
class Up:
    """`home` is what the commands run here find as their home directory; `log` is what the cluster said on standard error."""

    process: subprocess.Popen[str]
    server: str
    kubeconfig: Path
    home: Path
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.home)}

    @property
    def token(self) -> str:
        return str(yaml.safe_load(self.kubeconfig.read_text())["users"][0]["user"]["token"])

    @property
    def certificate_authority(self) -> bytes:
        return base64.b64decode(yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority-data"])

    def result(self, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment, input=stdin, text=True, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Its output; it must succeed."""
        done = self.result(*command, stdin=stdin)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *command: str) -> str:
        """What it says on standard error; it must fail."""
        done = self.result(*command)
        assert done.returncode != 0, f"{' '.join(command)} succeeded: {done.stdout}"
        return done.stderr


@contextmanager
def kfs_up(home: Path, *argv: str) -> Iterator[Up]:
    """Ends with an interrupt; that it ended well, and that it never logged a traceback, is checked."""
    log = home / "kfs.log"
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-m", "k8sfromscratch.cli", "up", *argv], stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        ready = re.match(r"ready in ([\d.]+) s: (\S+)", process.stdout.readline())
        assert ready, log.read_text()
        exported = re.match(r"export KUBECONFIG=(\S+)", process.stdout.readline())
        assert exported
        yield Up(process, ready[2], Path(exported[1]), home, log)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=STOP_TIMEOUT_S)
    said = log.read_text()
    assert process.returncode == 0, said
    assert "Traceback" not in said, said
