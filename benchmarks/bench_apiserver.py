"""Our apiserver beside upstream's kube-apiserver: the same work, one after the other on this machine, again and again; medians are compared.

    python benchmarks/bench_apiserver.py [--rounds 3] [--pods 5000] [--short]

Upstream's is found by $KFS_UPSTREAM_APISERVER or on PATH (benchmarks/build_upstream.sh makes one), its etcd on PATH; both apiservers store in
upstream's etcd, ours in our own etcd besides.  GETs are sent by wrk, the rest by `http_load`; the processor time of the generator is told, and
that of the servers for each request, which other work on the machine changes least.  Exits with 1 where a ratio is missed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from apiserver_peers import CLIENT_TOKEN, Cluster, Peer, running, upstream_apiserver
from measuring import Figures, Wanted, children_cpu_s, figure, medians_of

HERE = Path(__file__).parent
CONNECTIONS = 32

WANTED = (
    Wanted("get_per_s", "GET of a pod, 32 connections", 2.5, True, "/s"),
    Wanted("list_ms", "LIST of all pods", 1 / 6, False, "ms"),
    Wanted("create_per_s", "create pods, 32 connections", 2.0, True, "/s"),
    Wanted("patch_per_s", "patch pods, 32 connections", 2.5, True, "/s"),
    Wanted("watch_per_s", "events to 200 watchers", 1.5, True, "/s"),
    Wanted("watch_p99_ms", "… their lag, 99th percentile", 1.0, False, "ms"),
    Wanted("serial_create_ms", "one create after the other", 0.6, False, "ms"),
    Wanted("serial_get_ms", "one GET after the other", 0.6, False, "ms"),
    Wanted("rss_mb", "memory after the run", 1 / 3, False, "MB"),
)
COSTS = ("create", "patch", "get", "list", "watch", "serial_create", "serial_get")
"""Phases whose processor time is told: µs of the apiserver, its etcd and the generator for each request (of `watch`, each event)."""


@dataclass(frozen=True, slots=True)
class Size:
    pods: int
    serial: int
    patches: int
    lists: int
    seconds: int
    events: int


def measure(cluster: Cluster, size: Size) -> Figures:
    figures: Figures = {}

    def note(name: str, before: tuple[float, float], requests: float, generator_cpu_us: float) -> None:
        spent = [(after - first) / requests * 1e6 for after, first in zip(cluster.cpu_s(), before, strict=True)]
        figures.update({f"{name}_cpu_us": spent[0], f"{name}_etcd_cpu_us": spent[1], f"{name}_generator_cpu_us": generator_cpu_us})

    def phase(name: str, count: int, requests: int) -> dict[str, float]:
        before = cluster.cpu_s()
        found = _generate(cluster, name, count, size.pods)
        note(name.replace("-", "_"), before, requests, found["generator_cpu_us"])
        return found

    figures["create_per_s"] = phase("create", size.pods, size.pods)["per_s"]
    figures["serial_create_ms"] = phase("serial-create", size.serial, size.serial)["p50_ms"]
    figures["serial_get_ms"] = phase("serial-get", size.serial, size.serial)["p50_ms"]
    figures["patch_per_s"] = phase("patch", size.patches, size.patches)["per_s"]
    figures["list_ms"] = phase("list", size.lists, size.lists)["p50_ms"]
    before = cluster.cpu_s()
    figures["get_per_s"], requests, generator_cpu_us = _wrk(cluster, size)
    note("get", before, requests, generator_cpu_us)
    watched = phase("watch", size.events, size.events * 200)
    figures["watch_per_s"], figures["watch_p99_ms"] = watched["per_s"], watched["p99_ms"]
    figures["rss_mb"] = cluster.rss_mb()
    return figures


def _generate(cluster: Cluster, phase: str, count: int, pods: int) -> dict[str, float]:
    argv = [sys.executable, str(HERE / "http_load.py"), phase, f"--port={cluster.port}", f"--ca-file={cluster.ca_file}", f"--token={CLIENT_TOKEN}"]
    run = subprocess.run([*argv, f"--count={count}", f"--pods={pods}"], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{phase}: {run.stderr}\n{(cluster.folder / 'log').read_text()[-4000:]}")
    found: dict[str, float] = json.loads(run.stdout)
    return found


def _wrk(cluster: Cluster, size: Size) -> tuple[float, int, float]:
    """Requests per second, how many there were, and µs of wrk's processor time each."""
    script = ["-s", str(HERE / "get_pods.lua"), f"https://127.0.0.1:{cluster.port}", "--", str(size.pods), CLIENT_TOKEN]
    before_s = children_cpu_s()
    shown = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{size.seconds}s", *script], capture_output=True, text=True, check=True).stdout
    spent_s = children_cpu_s() - before_s
    if "Non-2xx" in shown or "Socket errors" in shown:
        raise SystemExit(shown)
    per_s, requests = re.search(r"Requests/sec:\s+([\d.]+)", shown), re.search(r"(\d+) requests in", shown)
    assert per_s and requests
    return float(per_s[1]), int(requests[1]), spent_s / int(requests[1]) * 1e6


def report(medians: dict[Peer, Figures]) -> bool:
    """Prints the tables as docs/benchmarks.md has them; whether every ratio holds."""
    good = True
    ours, others, upstream = medians[Peer.OURS], medians.get(Peer.OURS_ALL), medians.get(Peer.UPSTREAM)
    print("\n| | ours | ours, on our etcd | upstream | ratio | wanted |\n|---|---|---|---|---|---|")
    for each in WANTED:
        ratio, verdict = each.told(ours, upstream)
        good = good and (upstream is None or each.judge(ours, upstream)[1])
        figures = " | ".join(figure(of, each.figure) for of in (ours, others, upstream))
        print(f"| {each.text}, {each.unit} | {figures} | {ratio} | {verdict} |")
    print("\n| processor time each, µs | ours | ours, on our etcd | upstream | ratio | etcd: of ours, of upstream | generator |\n|---|---|---|---|---|---|---|")
    for cost in COSTS:
        name = f"{cost}_cpu_us"
        ratio = f"{ours[name] / upstream[name]:.2f}" if upstream is not None else ""
        parts = [", ".join(figure(of, f"{cost}_{part}_cpu_us") for of in (ours, upstream) if of is not None) for part in ("etcd", "generator")]
        print(f"| {cost.replace('_', ' ')} | {figure(ours, name)} | {figure(others, name)} | {figure(upstream, name)} | {ratio} | {parts[0]} | {parts[1]} |")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--short", action="store_true", help="one round, a fifth of the pods: to see that it runs")
    parser.add_argument("--only", choices=[peer.name.lower() for peer in Peer], help="one of them alone, for tuning")
    given = parser.parse_args()
    for program, package in (("wrk", "wrk"), ("etcd", "etcd-server")):
        if shutil.which(program) is None:
            print(f"Skipped: {program} is not installed (apt-get install {package})")
            return
    peers = list(Peer) if given.only is None else [Peer[given.only.upper()]]
    if Peer.UPSTREAM in peers and upstream_apiserver() is None:
        print("Upstream's kube-apiserver is not there (benchmarks/build_upstream.sh builds it): ours is measured alone")
        peers.remove(Peer.UPSTREAM)
    size = Size(given.pods // 5, 200, 500, 5, 2, 100) if given.short else Size(given.pods, 500, 3000, 9, 5, 400)
    rounds = 1 if given.short else given.rounds
    runs: dict[Peer, list[Figures]] = {peer: [] for peer in peers}
    for turn in range(rounds):
        for peer in peers if turn % 2 == 0 else reversed(peers):
            print(f"round {turn + 1} of {rounds}: {peer.value}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="kfs-bench-") as folder, running(peer, Path(folder)) as cluster:
                runs[peer].append(measure(cluster, size))
    medians = {peer: medians_of(each) for peer, each in runs.items()}
    print(json.dumps({"runs": {peer.name: each for peer, each in runs.items()}, "cpus": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}))
    if Peer.OURS not in medians:
        medians[Peer.OURS] = next(iter(medians.values()))
    if not report(medians):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
