"""The probe, run as on a machine: what holds, what does not and why, and that it waits for what comes to hold."""

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from roles.lib import probe as program
from roles.lib.services import answers, probe


class Server(ThreadingHTTPServer):
    """Answers 500 so many times, then 200."""

    def __init__(self, failures: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures = failures
        self.url = f"http://127.0.0.1:{self.server_port}/healthz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.failures -= 1
        self.send_response(500 if self.server.failures >= 0 else 200)
        self.end_headers()
        self.wfile.write(b"etcd failed" if self.server.failures >= 0 else b"ok")

    def log_message(self, *_words: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(getattr(request, "param", 0)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(program.__file__), *words], capture_output=True, text=True, check=False)


def test_it_holds_if_all_do(server: Server) -> None:
    assert run("a.service", "http", server.url, ",", "b.service", "run", "true").returncode == 0
    done = run("a.service", "http", server.url, ",", "b.service", "run", "false")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("server", [3], indirect=True)
def test_it_waits_itself_for_what_comes_to_hold(server: Server) -> None:
    assert run("--within=60", "--every=0.01", "a.service", "http", server.url).returncode == 0
    assert server.failures == -1


@pytest.mark.parametrize("server", [1_000_000], indirect=True)
def test_it_says_which_unit_is_not_well_and_why(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(program.subprocess, "run", lambda argv, **_: asked.append(argv))
    checks = ["well.service", "dns", "127.0.0.1", "x", "y", ",", "bad.service", "http", server.url]
    monkeypatch.setitem(program.KINDS, "dns", lambda *_: lambda: True)
    assert program.main(["--within=0.05", "--every=0.01", *checks]) == 1
    said = capsys.readouterr().out
    assert said.startswith("bad.service is not healthy after 0.05 s") and "500 etcd failed" in said
    assert asked == [["journalctl", "--no-pager", "--lines=40", "--unit=bad.service"]]


def test_what_a_check_is_made_from_may_come_later(tmp_path: Path) -> None:
    marker = tmp_path / "kubeconfig"
    made: list[int] = []

    def make() -> program.Check:
        made.append(1)
        if len(made) < 3:
            raise FileNotFoundError(marker)
        return lambda: True

    assert program.wait(make, until_s=float("inf"), every_s=0.0) is None
    assert len(made) == 3
    del made[:]
    assert "FileNotFoundError" in str(program.wait(make, until_s=0.0, every_s=1.0))


@pytest.mark.parametrize(
    ("address", "flags", "holds"),
    [("10.96.0.1", 0x8180, True), ("10.96.0.2", 0x8180, False), ("10.96.0.1", 0x8183, False)],
    ids=["right", "another address", "NXDOMAIN"],
)
def test_dns_must_give_the_right_address(address: str, flags: int, holds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            question, client = server.recvfrom(512)
            record = struct.pack("!HHHLH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address)
            server.sendto(question[:2] + struct.pack("!HHHHH", flags, 1, 1, 0, 0) + question[12:] + record, client)

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setattr(program, "DNS_PORT", server.getsockname()[1])
        assert program.dns_says("127.0.0.1", "kubernetes.default.svc.cluster.local", "10.96.0.1")() is holds
        thread.join()


def test_what_the_probe_is_asked_is_what_it_understands() -> None:
    line = probe({"kube-apiserver.service": answers("https://127.0.0.1:6443/readyz", ca="/etc/ca.crt"), "containerd.service": "run ctr version"}, "--within=60")
    _python, _script, *words = line.split()
    options, checks = program.asked(words)
    assert options == {"--within": "60"}
    assert checks == [
        ("kube-apiserver.service", ["http", "https://127.0.0.1:6443/readyz", "/etc/ca.crt"]),
        ("containerd.service", ["run", "ctr", "version"]),
    ]


@pytest.mark.parametrize("words", [[], ["a.service"], ["a.service", "ping", "x"], ["--for=3", "a.service", "run", "true"], ["a.service", "run", "true", ","]])
def test_words_that_it_does_not_know_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        program.asked(list(words))
