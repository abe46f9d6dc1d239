"""Put of 1 KiB at 8 connections x 32 streams: our etcd beside upstream's, on the same machine and disk, fsync on for both.

The generator is h2load (package nghttp2-client), written in C, so that it is not the limit.  Runs alternate between the two, since machines are
noisy; the medians are compared.  Prints one JSON object.
"""

import contextlib
import json
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.core.rpc.grpc import framed

CONNECTIONS, STREAMS, VALUE_BYTES = 8, 32, 1024
REQUESTS = 40_000
ROUNDS = 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ours(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "k8sfromscratch.components.etcd", "--data-dir", str(folder), "--listen-client-urls", f"http://127.0.0.1:{port}"]


def upstream(folder: Path, port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    argv = ["etcd", "--data-dir", str(folder), "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
    return [*argv, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]


@contextlib.contextmanager
def running(argv: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(10_000):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                break
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def load(port: int, body: Path, *, connections: int, streams: int, requests: int) -> float:
    """Requests per second; raises where one was not answered with 200."""
    argv = ["h2load", f"-n{requests}", f"-c{connections}", f"-m{streams}", "-t1", f"-d{body}", "-H", "content-type: application/grpc", "-H", "te: trailers"]
    shown = subprocess.run([*argv, f"http://127.0.0.1:{port}/etcdserverpb.KV/Put"], capture_output=True, text=True, check=True).stdout
    if f"{requests} succeeded" not in shown:
        raise RuntimeError(shown)
    found = re.search(r"finished in .*?, ([\d.]+) req/s", shown)
    assert found
    return float(found[1])


def main() -> None:
    for program in ("h2load", "etcd"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed: apt-get install nghttp2-client etcd-server")
    figures: dict[str, dict[str, list[float]]] = {"ours": {"pipelined": [], "serial": []}, "upstream": {"pipelined": [], "serial": []}}
    with tempfile.TemporaryDirectory(prefix="kfs-bench-") as scratch, contextlib.ExitStack() as stack:
        body = Path(scratch) / "put.bin"
        body.write_bytes(framed(m.PutRequest(key=b"bench/key", value=b"x" * VALUE_BYTES).SerializeToString()))
        ports = {}
        for name, argv in (("ours", ours), ("upstream", upstream)):
            ports[name] = free_port()
            stack.enter_context(running(argv(Path(scratch) / name, ports[name]), ports[name]))
        for _ in range(ROUNDS):
            for name, port in ports.items():
                figures[name]["pipelined"].append(load(port, body, connections=CONNECTIONS, streams=STREAMS, requests=REQUESTS))
                figures[name]["serial"].append(load(port, body, connections=1, streams=1, requests=2000))
    medians = {name: {kind: round(statistics.median(runs)) for kind, runs in kinds.items()} for name, kinds in figures.items()}
    ratios = {kind: round(medians["ours"][kind] / medians["upstream"][kind], 2) for kind in ("pipelined", "serial")}
    print(json.dumps({"puts_per_s": medians, "ratio_ours_to_upstream": ratios, "rounds": ROUNDS}))


if __name__ == "__main__":
    main()
