"""Starts etcd, ours or upstream's, as one member or as a cluster of three on this machine: the same flags, the same disk, fsync on.

with running(Peer.OURS, folder, members=3) as cluster:      cluster.leader() is a client port; cluster.cpu_s(), cluster.rss_mb()
"""

import contextlib
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from measuring import cpu_s, free_port, process, rss_mb, server_python

START_S = 60.0
POLL_S = 0.01


class Peer(Enum):
    OURS = "ours"
    UPSTREAM = "upstream"

    @property
    def program(self) -> list[str]:
        return [*server_python(), "-m", "k8sfromscratch.components.etcd"] if self is Peer.OURS else ["etcd"]


@dataclass(slots=True)
class Cluster:
    folder: Path
    ports: list[int]
    """Of the clients, a member each."""
    processes: list[subprocess.Popen[bytes]]

    def leader(self) -> int:
        return next(port for port in self.ports if metric(port, "etcd_server_is_leader") == 1)

    def revision(self) -> int:
        return round(metric(self.leader(), "etcd_debugging_mvcc_current_revision"))

    def cpu_s(self) -> float:
        return sum(cpu_s(each.pid) for each in self.processes)

    def rss_mb(self) -> float:
        return sum(rss_mb(each.pid) for each in self.processes)

    def wait_ready(self) -> None:
        """Until every member says that it is healthy, which it is with a leader."""
        end_s = time.monotonic() + START_S
        for port in self.ports:
            while not _healthy(port):
                if any(each.poll() is not None for each in self.processes) or time.monotonic() > end_s:
                    raise SystemExit(f"etcd did not start:\n{(self.folder / 'log').read_text()[-4000:]}")
                time.sleep(POLL_S)


@contextlib.contextmanager
def running(peer: Peer, folder: Path, *, members: int = 1) -> Iterator[Cluster]:
    """Ready to be asked; on the data that lie in the folder, if there are any."""
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("ab") as log, contextlib.ExitStack() as stack:
        cluster = Cluster(folder, [free_port() for _ in range(members)], [])
        cluster.processes += [stack.enter_context(process(argv, log)) for argv in _command_lines(peer, cluster)]
        try:
            cluster.wait_ready()
            yield cluster
        finally:
            for each in cluster.processes:  # all at once: one by one, the last ones would look for those that have gone
                each.terminate()


def _command_lines(peer: Peer, cluster: Cluster) -> Iterator[list[str]]:
    peers = [f"http://127.0.0.1:{free_port()}" for _ in cluster.ports]
    initial = ",".join(f"m{number}={url}" for number, url in enumerate(peers))
    for number, (port, url) in enumerate(zip(cluster.ports, peers, strict=True)):
        client = f"http://127.0.0.1:{port}"
        yield [
            *peer.program,
            f"--name=m{number}",
            f"--data-dir={cluster.folder}/m{number}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={url}",
            f"--initial-advertise-peer-urls={url}",
            f"--initial-cluster={initial}",
        ]


def metric(port: int, name: str) -> float:
    """Raises OSError."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"the etcd on port {port} does not tell {name}")
    return float(found[1])


def _healthy(port: int) -> bool:
    """/health makes a linearizable read."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
        return b'"true"' in answer.read()
    return False
