"""A cluster of etcd processes of ours: members are stopped, killed, replaced and added; clients are etcdctl and grpcio.

    with EtcdCluster(tmp_path, 3) as cluster:
        cluster.leader().kill()
        cluster.ctl("put", "a", "b")

Waiting is for a condition (`until`), never for a time.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import grpc

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.tls import TlsFiles
from k8sfromscratch.testing.etcd_process import CALL_S, ETCDCTL, WITHIN_S
from k8sfromscratch.testing.ports import free_port

LOOK_EVERY_S = 0.02
FAST = ("--heartbeat-interval=100", "--election-timeout=2000")
"""For clusters that lose members: as long as a busy machine, or its disk, seldom keeps a process waiting."""
STEADY = ("--heartbeat-interval=100", "--election-timeout=6000")
"""For clusters whose leader is to stay: nothing but a test changes it."""

T = TypeVar("T")


@dataclass(frozen=True)
class PeerTls:
    files: TlsFiles
    """A certificate for both sides of a connection."""
    ca: str


def until(find: Callable[[], T | None], what: str) -> T:
    """The first value that is there; what fails with an RPC error is tried again."""
    end = time.monotonic() + WITHIN_S
    error: Exception | None = None
    while time.monotonic() < end:
        try:
            found = find()
        except (grpc.RpcError, OSError, AssertionError) as refused:
            found, error = None, refused
        if found:
            return found
        time.sleep(LOOK_EVERY_S)
    raise AssertionError(f"{what}: not within {WITHIN_S:g} s ({error})")


class ClusterMember:
    """One process; stopped and started again at the same place."""

    def __init__(self, folder: Path, name: str, scheme: str) -> None:
        self.name, self.data_dir = name, folder / name
        self.peer_url = f"{scheme}://127.0.0.1:{free_port()}"
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.metrics_port = free_port()
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: grpc.Channel | None = None
        self._errors: IO[bytes] | None = None
        self._told: signal.Signals | None = None
        """The last signal: a second one ends a process at once."""

    def start(self, flags: Sequence[str], environ: dict[str, str] | None = None) -> None:
        url, metrics = f"http://{self.endpoint}", f"http://127.0.0.1:{self.metrics_port}"
        argv = [sys.executable, "-m", "k8sfromscratch.components.etcd", f"--name={self.name}", f"--data-dir={self.data_dir}"]
        argv += [f"--listen-client-urls={url}", f"--advertise-client-urls={url}", f"--listen-metrics-urls={metrics}"]
        argv += [f"--listen-peer-urls={self.peer_url}", f"--initial-advertise-peer-urls={self.peer_url}", *flags]
        self._told = None
        self._errors = self.log.open("ab")
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=self._errors, env={**os.environ, **(environ or {})})
        self.channel = grpc.insecure_channel(self.endpoint, options=[("grpc.max_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100)])

    def ready(self) -> None:
        """Returns when it serves clients."""
        assert self.channel is not None
        try:
            grpc.channel_ready_future(self.channel).result(timeout=WITHIN_S)
        except grpc.FutureTimeoutError:
            raise AssertionError(f"{self.name} does not serve: {self.errors()[-3000:]}") from None

    def call(self, method: str, request: Any, answer: Any, *, timeout_s: float = CALL_S, metadata: Sequence[tuple[str, str]] = ()) -> Any:
        """`KV/Put`, or a full name.  Raises grpc.RpcError."""
        assert self.channel is not None
        path = method if method.startswith("/") else f"/etcdserverpb.{method}"
        return self.channel.unary_unary(path, type(request).SerializeToString, answer.FromString)(request, timeout=timeout_s, metadata=metadata)

    def status(self) -> Any:
        return self.call("Maintenance/Status", m.StatusRequest(), m.StatusResponse)

    @property
    def id(self) -> int:
        return int(self.status().header.member_id)

    def put(self, key: bytes, value: bytes) -> int:
        """The revision."""
        return int(self.call("KV/Put", m.PutRequest(key=key, value=value), m.PutResponse).header.revision)

    def get(self, key: bytes, *, serializable: bool = False) -> bytes | None:
        found = self.call("KV/Range", m.RangeRequest(key=key, serializable=serializable), m.RangeResponse)
        return bytes(found.kvs[0].value) if found.kvs else None

    def tell(self, which: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(which)
        self._told = which

    def stop(self, which: signal.Signals = signal.SIGTERM) -> None:
        """In order, unless told otherwise: then its exit and its log must be clean."""
        if self.process is None:
            return
        if self.process.poll() is None and self._told != which:
            self.tell(which)
        self.process.wait(timeout=WITHIN_S)
        code, self.process = self.process.returncode, None
        if self.channel is not None:
            self.channel.close()
        if self._errors is not None:
            self._errors.close()
        if which == signal.SIGTERM:
            assert code == 0 and "Traceback" not in self.errors(), self.errors()[-5000:]

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def errors(self) -> str:
        return self.log.read_text(errors="replace")


class EtcdCluster:
    def __init__(self, folder: Path, size: int, *flags: str, tls: PeerTls | None = None) -> None:
        """Names are m0, m1, …"""
        folder.mkdir(exist_ok=True)
        self._folder, self._tls = folder, tls
        self.flags = [*FAST, *flags]
        if tls is not None:
            self.flags += [f"--peer-cert-file={tls.files.cert_file}", f"--peer-key-file={tls.files.key_file}"]
            self.flags += [f"--peer-trusted-ca-file={tls.ca}", "--peer-client-cert-auth"]
        self.members = [self._new(f"m{number}") for number in range(size)]

    def __enter__(self) -> Self:
        try:
            for member in self.members:
                self.begin(member)
            for member in self.members:
                member.ready()
        except BaseException:
            self._kill_all()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._kill_all()
            return
        try:
            for member in self.members:
                if member.process is not None:
                    member.tell(signal.SIGTERM)  # all at once: those left alone would have no quorum to end their requests with
            for member in self.members:
                member.stop()
        finally:
            self._kill_all()

    def begin(self, member: ClusterMember, state: str = "new", *flags: str) -> None:
        """Starts it, for the first time or again; `ready` is to be called still."""
        cluster = ",".join(f"{each.name}={each.peer_url}" for each in self.members)
        member.start([f"--initial-cluster={cluster}", f"--initial-cluster-state={state}", *self.flags, *flags])

    def again(self, member: ClusterMember) -> None:
        self.begin(member)
        member.ready()

    def add(self, name: str, *, learner: bool = False) -> ClusterMember:
        """A new member of a running cluster, started and served."""
        new = self._new(name)
        self.ctl("member", "add", name, f"--peer-urls={new.peer_url}", *(["--learner"] if learner else []), again="unhealthy cluster")
        self.members.append(new)
        self.begin(new, "existing")
        new.ready()
        return new

    def leader(self) -> ClusterMember:
        """The member that leads and is known to do so by all that run."""

        def agreed() -> ClusterMember | None:
            running = [each for each in self.members if each.process is not None]
            statuses = [each.status() for each in running]
            leaders = {status.leader for status in statuses}
            found = [each for each, status in zip(running, statuses, strict=True) if status.header.member_id == status.leader]
            return found[0] if len(leaders) == 1 and found else None

        return until(agreed, "one leader")

    def roles(self) -> tuple[ClusterMember, ClusterMember]:
        """The leader and one that follows it, at the same time."""
        leader = self.leader()
        return leader, next(each for each in self.members if each is not leader and each.process is not None)

    def follower(self) -> ClusterMember:
        return self.roles()[1]

    def ctl(self, *argv: str, members: Sequence[ClusterMember] | None = None, fails: bool = False, again: str = "", stdin: str = "") -> str:
        """What etcdctl prints; with `again`, repeated while it complains of that."""
        running = [each for each in (members or self.members) if each.process is not None]
        command = [*ETCDCTL, f"--endpoints={','.join(each.endpoint for each in running)}", *argv]
        end = time.monotonic() + WITHIN_S
        while True:
            done = subprocess.run(command, env={**os.environ, "ETCDCTL_API": "3"}, input=stdin, text=True, capture_output=True, timeout=WITHIN_S)
            if not again or again not in done.stderr or time.monotonic() > end:
                break
        assert (done.returncode != 0) == fails, (done.stdout, done.stderr)
        return done.stderr if fails else done.stdout

    def json(self, *argv: str, members: Sequence[ClusterMember] | None = None) -> Any:
        return json.loads(self.ctl(*argv, "-w", "json", members=members))

    def _new(self, name: str) -> ClusterMember:
        return ClusterMember(self._folder, name, "https" if self._tls is not None else "http")

    def _kill_all(self) -> None:
        for member in self.members:
            if member.process is not None:
                member.process.kill()
                member.kill()
