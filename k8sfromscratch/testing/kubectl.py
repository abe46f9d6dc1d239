"""A real kubectl, driven by tests: each release on the machine, what it says while it goes on, and the API without it.

kubectl = Kubectl(kubeconfig, home)
kubectl("get", "pods")                       what it prints; it must succeed
kubectl.fails("get", "pod", "none")          what it says on standard error; it must fail
with kubectl.start("get", "pods", "-w") as watch:
    watch.line()                             the next line it prints, as it comes
kubectl.object("deployment", "web")          what is stored, by a plain request
"""

import contextlib
import json
import os
import re
import shutil
import ssl
import subprocess
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any

import yaml

from k8sfromscratch.api.registry import RESOURCES

LINE_TIMEOUT_S = 60


def find_releases() -> dict[str, str]:
    """Release to program, the oldest first: those beside the kubectl on PATH, else the one on PATH.

    Where several are side by side, the one on PATH is a dispatcher that starts one of them.
    """
    found = shutil.which("kubectl")
    if found is None:
        return {"none": "kubectl"}
    beside = {f"1.{path.suffix[1:]}": str(path) for path in Path(found).resolve().parent.glob("kubectl.1.*")}
    return dict(sorted(beside.items(), key=lambda item: int(item[0].partition(".")[2]))) or {"installed": found}


RELEASES = find_releases()
NEWEST = list(RELEASES.values())[-1]


class Going:
    """A kubectl that goes on: what it says is read line by line as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: dict[str, Queue[str | None]] = {}
        self._threads = [self._follow("out", process.stdout), self._follow("err", process.stderr)]

    def _follow(self, name: str, stream: IO[str] | None) -> Thread:
        assert stream is not None
        lines: Queue[str | None] = Queue()
        self._lines[name] = lines

        def follow() -> None:
            for line in stream:
                lines.put(line)
            lines.put(None)

        thread = Thread(target=follow, daemon=True)
        thread.start()
        return thread

    def line(self, of: str = "out", timeout_s: float = LINE_TIMEOUT_S) -> str:
        """The next line of standard output, or of standard error (`err`); empty at the end."""
        try:
            line = self._lines[of].get(timeout=timeout_s)
        except Empty:
            raise AssertionError(f"kubectl said nothing on {of} within {timeout_s:g} s") from None
        if line is None:
            self._lines[of].put(None)
        return line or ""

    def until(self, wanted: str, of: str = "out") -> str:
        """All that it says up to and with the first line that contains `wanted`."""
        said = ""
        while line := self.line(of):
            said += line
            if wanted in line:
                return said
        raise AssertionError(f"kubectl ended and never said {wanted!r}, but {said!r}; errors: {self.rest('err')!r}")

    def rest(self, of: str = "out") -> str:
        return "".join(iter(lambda: self.line(of), ""))

    def send(self, text: str, *, last: bool = False) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()
        if last:
            self.process.stdin.close()

    def ends(self, timeout_s: float = LINE_TIMEOUT_S) -> int:
        """Its exit code."""
        return self.process.wait(timeout_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def ask(kubeconfig: Path, path: str, body: dict[str, Any] | None = None, method: str | None = None, accept: str = "application/json") -> Any:
    """GET, or POST of a body, or what is said, without a kubectl: a process takes twenty times as long."""
    config = yaml.safe_load(kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]
    context = ssl.create_default_context(cadata=b64decode(server["certificate-authority-data"]).decode())
    headers = {"Content-Type": "application/json", "Accept": accept, "Authorization": f"Bearer {config['users'][0]['user']['token']}"}
    request = urllib.request.Request(server["server"] + path, None if body is None else json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, context=context, timeout=LINE_TIMEOUT_S) as answer:
        return json.load(answer)


@dataclass
class Kubectl:
    """One kubectl, in one namespace."""

    kubeconfig: Path
    home: Path
    namespace: str = "default"
    program: str = NEWEST
    release: str = list(RELEASES)[-1]
    timeout_s: float = 60
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, *words: str) -> list[str]:
        return [self.program, "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *words]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.home), **self.environment}

    def run(self, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        given = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=self.timeout_s, env=self._environment(), check=False, **given)

    def __call__(self, *words: str, text: str | None = None) -> str:
        """Its output; it must succeed."""
        done = self.run(*words, text=text)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    def fails(self, *words: str, text: str | None = None) -> str:
        """What it says on standard error; it must fail."""
        done = self.run(*words, text=text)
        assert done.returncode != 0, f"kubectl {' '.join(words)} succeeded: {done.stdout}"
        return done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))

    def ask(self, path: str, body: dict[str, Any] | None = None, **options: Any) -> Any:
        return ask(self.kubeconfig, path, body, **options)

    def object(self, kind: str, name: str) -> dict[str, Any]:
        """What is stored, asked for without a kubectl: for tests of what one release wrote."""
        resource = next(one for one in RESOURCES if kind in (one.singular, one.plural, *one.short_names))
        found: dict[str, Any] = self.ask(resource.path(self.namespace, name))
        return found

    def table(self, *words: str) -> list[list[str]]:
        """What `get` prints, the headings included, split where two spaces or more are."""
        return [re.split(r" {2,}", line.rstrip()) for line in self(*words).splitlines()]

    @contextlib.contextmanager
    def start(self, *words: str) -> Iterator[Going]:
        pipe = subprocess.PIPE
        going = Going(subprocess.Popen(self.command(*words), stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=self._environment()))
        try:
            yield going
        finally:
            going.close()

    def minor(self) -> int:
        """Of its release, to tell what it can do; the newest where the release is not known by its file's name."""
        return int(self.release.partition(".")[2] or 99)

    def but(self, **changes: Any) -> "Kubectl":
        return replace(self, **changes)

    def edit(self, *words: str, script: str) -> subprocess.CompletedProcess[str]:
        """`kubectl edit` with `sed -i SCRIPT` for an editor."""
        editor = self.home / "editor.sh"
        editor.write_text('#!/bin/sh\nsed -i "$EDITS" "$1"\n')
        editor.chmod(0o755)
        return self.but(environment={"KUBE_EDITOR": str(editor), "EDITS": script}).run("edit", *words)
