"""Put of 1 KiB at 8 connections x 32 streams: our etcd beside upstream's, on the same machine and disk, fsync on for both.

The generator is h2load (package nghttp2-client), written in C, so that it is not the limit.  It takes any answer with HTTP status 200 for a success,
a gRPC error too: so the store's revision must have grown by one a request.  Runs alternate between the two, since machines are noisy; the medians are
compared, and beside them the processor time a Put, which a busy machine changes least.  Prints one JSON object.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.core.rpc.grpc import framed

CONNECTIONS, STREAMS, VALUE_BYTES = 8, 32, 1024
REQUESTS = 20_000
ROUNDS = 9
START_S = 30.0


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
        give_up = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                break
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{argv[0]} did not start (exit code {process.poll()})")
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def revision(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = re.search(r"^etcd_debugging_mvcc_current_revision (\S+)$", answer.read().decode(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the etcd on port {port} does not tell its revision")
    return round(float(found[1]))


def load(port: int, body: Path, *, connections: int, streams: int, requests: int) -> float:
    """Requests per second; raises where one was not answered, or not done."""
    before = revision(port)
    argv = ["h2load", f"-n{requests}", f"-c{connections}", f"-m{streams}", "-t1", f"-d{body}", "-H", "content-type: application/grpc", "-H", "te: trailers"]
    shown = subprocess.run([*argv, f"http://127.0.0.1:{port}/etcdserverpb.KV/Put"], capture_output=True, text=True, check=True).stdout
    if f"{requests} succeeded" not in shown:
        raise RuntimeError(shown)
    if (done := revision(port) - before) != requests:
        raise RuntimeError(f"of {requests} Puts that were answered, {done} were done")
    found = re.search(r"finished in .*?, ([\d.]+) req/s", shown)
    assert found
    return float(found[1])


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Processor time that a process has used, all threads."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    for program in ("h2load", "etcd"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed: apt-get install nghttp2-client etcd-server")
    figures: dict[str, dict[str, list[float]]] = {"ours": {"pipelined": [], "serial": []}, "upstream": {"pipelined": [], "serial": []}}
    with tempfile.TemporaryDirectory(prefix="kfs-bench-") as scratch, contextlib.ExitStack() as stack:
        body = Path(scratch) / "put.bin"
        body.write_bytes(framed(m.PutRequest(key=b"bench/key", value=b"x" * VALUE_BYTES).SerializeToString()))
        ports, processes, spent_s = {}, {}, dict.fromkeys(figures, 0.0)
        for name, argv in (("ours", ours), ("upstream", upstream)):
            ports[name] = free_port()
            processes[name] = stack.enter_context(running(argv(Path(scratch) / name, ports[name]), ports[name]))
        for _ in range(ROUNDS):
            for name, port in ports.items():
                before_s = cpu_s(processes[name])
                figures[name]["pipelined"].append(load(port, body, connections=CONNECTIONS, streams=STREAMS, requests=REQUESTS))
                spent_s[name] += cpu_s(processes[name]) - before_s
                figures[name]["serial"].append(load(port, body, connections=1, streams=1, requests=1000))
    medians = {name: {kind: round(statistics.median(runs)) for kind, runs in kinds.items()} for name, kinds in figures.items()}
    ratios = {kind: round(medians["ours"][kind] / medians["upstream"][kind], 2) for kind in ("pipelined", "serial")}
    conditions = {
        "runs": {name: [round(run) for run in kinds["pipelined"]] for name, kinds in figures.items()},
        "cpu_us_per_put": {name: round(spent / (ROUNDS * REQUESTS) * 1e6, 1) for name, spent in spent_s.items()},
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps({"puts_per_s": medians, "ratio_ours_to_upstream": ratios, **conditions}))


if __name__ == "__main__":
    main()
