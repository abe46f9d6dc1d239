"""etcd as a process, ours or upstream's, with the clients people have for it: etcdctl, and grpcio."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import grpc

from k8sfromscratch.testing.ports import free_port

WITHIN_S = 120.0
"""Of a machine that many tests share: what is waited for comes much sooner."""
CALL_S = 60.0
ETCDCTL = ("etcdctl", f"--dial-timeout={CALL_S:g}s", f"--keepalive-timeout={CALL_S:g}s", f"--command-timeout={CALL_S:g}s")
"""By itself a command gives up after 5 s, and a connection after 6 s of silence."""


class EtcdProcess:
    def __init__(self, data_dir: Path, *flags: str, upstream: bool = False, name: str = "default", stopped_by: signal.Signals = signal.SIGTERM) -> None:
        self.port, peer = free_port(), f"http://127.0.0.1:{free_port()}"
        self.endpoint, self.data_dir = f"127.0.0.1:{self.port}", data_dir
        self._upstream, self._stopped_by = upstream, stopped_by
        url = f"http://{self.endpoint}"
        argv = ["etcd"] if upstream else [sys.executable, "-m", "k8sfromscratch.components.etcd"]
        argv += ["--name", name, "--data-dir", str(data_dir), "--listen-client-urls", url, "--advertise-client-urls", url]
        argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"{name}={peer}", *flags]
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=self._errors)
        self.channel = grpc.insecure_channel(self.endpoint)
        try:
            grpc.channel_ready_future(self.channel).result(timeout=WITHIN_S)
        except grpc.FutureTimeoutError:
            self.process.kill()
            raise AssertionError(f"{argv} did not start: {self._read_errors()}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def ctl(self, *argv: str, stdin: str = "", fails: bool = False) -> str:
        """What etcdctl prints: its output, or its complaint where it is to fail."""
        env = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run([*ETCDCTL, "--endpoints", self.endpoint, *argv], env=env, input=stdin, text=True, capture_output=True, timeout=WITHIN_S)
        assert (done.returncode != 0) == fails, (done.stdout, done.stderr)
        return done.stderr if fails else done.stdout

    def call(self, method: str, request: Any, answer: Any, *, token: str = "", timeout_s: float = CALL_S) -> Any:
        """`KV/Put`, or a full name such as `/v3lockpb.Lock/Lock`.  Raises grpc.RpcError."""
        path = method if method.startswith("/") else f"/etcdserverpb.{method}"
        rpc = self.channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
        return rpc(request, timeout=timeout_s, metadata=[("token", token)] if token else None)

    def refusal(self, method: str, request: Any, answer: Any, *, token: str = "") -> tuple[grpc.StatusCode, str]:
        """The status with which a call must fail."""
        try:
            got = self.call(method, request, answer, token=token)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"{method} was not refused: {got}")

    def stop(self) -> None:
        """Ours must end in order, and without a traceback."""
        self.channel.close()
        self.process.send_signal(self._stopped_by)
        self.process.wait(timeout=WITHIN_S)
        errors = self._read_errors()
        self._errors.close()
        if not self._upstream and self._stopped_by == signal.SIGTERM:
            assert self.process.returncode == 0 and "Traceback" not in errors, errors

    def _read_errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")
