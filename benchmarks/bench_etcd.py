"""Our etcd beside upstream's: the same requests, one after the other on this machine and disk, fsync on for both, again and again; medians are compared.

    python benchmarks/bench_etcd.py [--rounds 3] [--short] [--only ours|upstream] [--parts one three filled]

h2load (package nghttp2-client) sends what is always the same: it is written in C, so that it is not the limit; `etcd_load` sends different keys and
watches.  h2load takes any answer with HTTP status 200 for a success, a gRPC error too: so the store's revision must have grown by one a Put, and as
many bytes must have come as a Range's answers have.  What is told beside the figures: the processor time of the server for each request, which other
work on the machine changes least, and of the generator, with the share of the time for which it was busy.  Exits with 1 where a ratio is missed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etcd_load import PACED
from etcd_peers import Cluster, Peer, running
from measuring import Figures, Wanted, children_cpu_s, figure, medians_of

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.core.rpc.grpc import framed

HERE = Path(__file__).parent
CONNECTIONS, STREAMS = 8, 32
KEYS, VALUE_BYTES = 100, 1024
WATCHERS = 1000
START_MAX_S = 2.0
"""Ours, with the store of `memory`, to its first answer."""
BUSY_MAX = 0.9
"""A generator that is busier than this share of the time may be what is measured."""

WANTED = (
    Wanted("put_per_s", "Put of 1 KiB, 8 connections × 32 streams", 1.0, True, "/s"),
    Wanted("serial_put_ms", "one Put after the other", 1.3, False, "ms"),
    Wanted("range_per_s", "Range of one key, linearizable", 1.0, True, "/s"),
    Wanted("serializable_range_per_s", "… serializable", 1.0, True, "/s"),
    Wanted("range_100_per_s", "Range of 100 keys, linearizable", 1.0, True, "/s"),
    Wanted("serializable_range_100_per_s", "… serializable", 1.0, True, "/s"),
    Wanted("watch_per_s", "events to 1,000 watchers of a key", 1.0, True, "/s"),
    Wanted("watch_p99_ms", "… their lag at 40 Puts/s, 99th percentile", 1.0, False, "ms"),
    Wanted("watched_put_per_s", "Put of 1 KiB beside 1,000 watchers of other keys", 1.0, True, "/s"),
    Wanted("three_put_per_s", "Put of 1 KiB, three members", 0.8, True, "/s"),
    Wanted("rss_mb", "memory with 100,000 keys of 1 KiB", 1.5, False, "MB"),
)
COSTS = ("put", "serial_put", "range", "serializable_range", "range_100", "serializable_range_100", "watch", "watched_put", "three_put")
"""Phases whose processor time is told, each request's (of `watch`, each event's)."""

PARTS = ("one", "three", "filled")
"""A member by itself, a cluster of three, and a member with many keys."""


@dataclass(frozen=True, slots=True)
class Size:
    puts: int
    serial: int
    ranges: int
    long_ranges: int
    storm: int
    fill: int


class Measurement:
    """One round of one peer."""

    def __init__(self, peer: Peer, folder: Path, size: Size) -> None:
        self._peer, self._folder, self._size = peer, folder, size
        self.figures: Figures = {}
        key, value = b"bench/key", b"x" * VALUE_BYTES
        self._put = self._body("put", m.PutRequest(key=key, value=value))
        self._ranges = {
            (prefix, serializable): self._body(f"range{len(prefix)}{serializable}", m.RangeRequest(key=prefix, range_end=end, serializable=serializable))
            for prefix, end in ((key, b""), (b"fill/", b"fill0"))
            for serializable in (False, True)
        }

    def run(self, parts: Sequence[str]) -> Figures:
        for part in parts:
            getattr(self, f"_{part}")()
        return self.figures

    def _three(self) -> None:
        with running(self._peer, self._folder / "three", members=3) as cluster:
            self._puts("three_put", cluster, self._size.puts // 2)

    def _filled(self) -> None:
        with running(self._peer, self._folder / "filled") as cluster:
            self._generate(cluster, "fill", self._size.fill)
            self.figures["rss_mb"] = cluster.rss_mb()
        began_s = time.monotonic()
        with running(self._peer, self._folder / "filled") as cluster:
            self.figures["start_s"] = time.monotonic() - began_s
            self.figures["rss_after_start_mb"] = cluster.rss_mb()

    def _one(self) -> None:
        with running(self._peer, self._folder / "one") as cluster:
            self._requests(cluster)
            self._watches(cluster)

    def _requests(self, cluster: Cluster) -> None:
        size = self._size
        self._puts("put", cluster, size.puts)
        self._puts("serial_put", cluster, size.serial, connections=1, streams=1)
        self.figures["serial_put_ms"] = 1000 / self.figures.pop("serial_put_per_s")
        self._generate(cluster, "fill", KEYS)
        for (key, serializable), body in self._ranges.items():
            long = key == b"fill/"
            name = f"{'serializable_' if serializable else ''}range{'_100' if long else ''}"
            self._ranged(name, cluster, body, size.long_ranges if long else size.ranges, (KEYS if long else 1) * VALUE_BYTES)

    def _watches(self, cluster: Cluster) -> None:
        size, before_s = self._size, cluster.cpu_s()
        found = self._generate(cluster, "fan-out", size.storm)
        self.figures["watch_per_s"], self.figures["watch_p50_ms"], self.figures["watch_p99_ms"] = found["per_s"], found["lag_p50_ms"], found["lag_p99_ms"]
        self.figures["watch_cpu_us"] = (cluster.cpu_s() - before_s) / ((size.storm + PACED) * WATCHERS) * 1e6
        self.figures["watch_generator_cpu_us"], self.figures["watch_generator_busy"] = found["generator_cpu_us"], found["generator_busy"]
        with subprocess.Popen(self._load_argv(cluster, "hold", 0), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
            assert held.stdout
            if held.stdout.readline() != "held\n":
                raise SystemExit("the watchers did not come")
            self._puts("watched_put", cluster, size.puts // 2)
            held.communicate("")

    def _puts(self, name: str, cluster: Cluster, count: int, *, connections: int = CONNECTIONS, streams: int = STREAMS) -> None:
        before = cluster.revision()
        self._load(name, cluster, "KV/Put", self._put, count, connections, streams)
        if (done := cluster.revision() - before) != count:
            raise SystemExit(f"{name}: of {count} Puts that were answered, {done} were done")

    def _ranged(self, name: str, cluster: Cluster, body: Path, count: int, answer_bytes: int) -> None:
        shown = self._load(name, cluster, "KV/Range", body, count, CONNECTIONS, STREAMS)
        came = re.search(r"traffic: .*\((\d+)\) data", shown)
        if came is None or int(came[1]) < count * answer_bytes:
            raise SystemExit(f"{name}: the answers are too short\n{shown}")

    def _load(self, name: str, cluster: Cluster, method: str, body: Path, count: int, connections: int, streams: int) -> str:
        argv = ["h2load", f"-n{count}", f"-c{connections}", f"-m{streams}", "-t1", "-w24", "-W24", f"-d{body}"]
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        before_s, generator_before_s = cluster.cpu_s(), children_cpu_s()
        shown = subprocess.run(
            [*argv, *headers, f"http://127.0.0.1:{cluster.leader()}/etcdserverpb.{method}"], capture_output=True, text=True, check=True
        ).stdout
        generator_s = children_cpu_s() - generator_before_s
        found = re.search(r"finished in .*?, ([\d.]+) req/s", shown)
        if found is None or f" {count} succeeded" not in shown:
            raise SystemExit(f"{name}: {shown}")
        per_s = float(found[1])
        self.figures[f"{name}_per_s"] = per_s
        self.figures[f"{name}_cpu_us"] = (cluster.cpu_s() - before_s) / count * 1e6
        self.figures[f"{name}_generator_cpu_us"] = generator_s / count * 1e6
        self.figures[f"{name}_generator_busy"] = generator_s / (count / per_s)
        return shown

    def _generate(self, cluster: Cluster, phase: str, count: int) -> dict[str, float]:
        run = subprocess.run(self._load_argv(cluster, phase, count), capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{phase}: {run.stderr}\n{(cluster.folder / 'log').read_text()[-4000:]}")
        found: dict[str, float] = json.loads(run.stdout)
        return found

    def _load_argv(self, cluster: Cluster, phase: str, count: int) -> list[str]:
        return [sys.executable, str(HERE / "etcd_load.py"), phase, f"--port={cluster.leader()}", f"--count={count}"]

    def _body(self, name: str, message: object) -> Path:
        path = self._folder / f"{name}.bin"
        path.write_bytes(framed(message.SerializeToString()))  # type: ignore[attr-defined]
        return path


def report(medians: dict[Peer, Figures]) -> bool:
    """Prints the tables as docs/benchmarks.md has them; whether every ratio holds."""
    ours, *others = medians.values()
    upstream = others[0] if others else None
    good, names, rule = True, " | ".join(peer.value for peer in medians), "---|" * len(medians)
    print(f"\n| | {names} | ratio | wanted |\n|---|{rule}---|---|")
    for each in WANTED:
        if each.figure in ours:
            ratio, verdict = each.told(ours, upstream)
            good = good and (upstream is None or each.judge(ours, upstream)[1])
            print(f"| {each.text}, {each.unit} | {_columns(medians, each.figure)} | {ratio} | {verdict} |")
    if "start_s" in ours:
        soon = ours["start_s"] <= START_MAX_S
        good = good and soon
        print(f"| start with that store to the first answer, s | {_columns(medians, 'start_s')} | | ≤ {START_MAX_S:.0f} s{'' if soon else ', missed'} |")
    print(f"\n| processor time each, µs | {names} | ratio | generator | busy, of the time |\n|---|{rule}---|---|---|")
    for cost in COSTS:
        name = f"{cost}_cpu_us"
        if name in ours:
            ratio = f"{ours[name] / upstream[name]:.2f}" if upstream is not None else ""
            generator, busy = (", ".join(figure(each, f"{cost}_generator_{what}") for each in medians.values()) for what in ("cpu_us", "busy"))
            print(f"| {cost.replace('_', ' ')} | {_columns(medians, name)} | {ratio} | {generator} | {busy} |")
            if any(each[f"{cost}_generator_busy"] > BUSY_MAX for each in medians.values()):
                print(f"{cost}: the generator was the limit, the figures say nothing", file=sys.stderr)
                good = False
    return good


def _columns(medians: dict[Peer, Figures], name: str) -> str:
    return " | ".join(figure(each, name) for each in medians.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="one round, a tenth of the requests: to see that it runs")
    parser.add_argument("--only", choices=[peer.name.lower() for peer in Peer], help="one of them alone, for tuning")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="some of the measurements only")
    given = parser.parse_args()
    for program, package in (("h2load", "nghttp2-client"), ("etcd", "etcd-server")):
        if shutil.which(program) is None:
            print(f"Skipped: {program} is not installed (apt-get install {package})")
            return
    peers = list(Peer) if given.only is None else [Peer[given.only.upper()]]
    size = Size(4000, 300, 4000, 300, 30, 10_000) if given.short else Size(40_000, 3000, 60_000, 4000, 300, 100_000)
    rounds = 1 if given.short else given.rounds
    runs: dict[Peer, list[Figures]] = {peer: [] for peer in peers}
    for turn in range(rounds):
        for peer in peers if turn % 2 == 0 else reversed(peers):
            print(f"round {turn + 1} of {rounds}: {peer.value}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="kfs-bench-") as folder:
                runs[peer].append(Measurement(peer, Path(folder), size).run(given.parts))
    print(json.dumps({"runs": {peer.name: each for peer, each in runs.items()}, "cpus": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}))
    if not report({peer: medians_of(each) for peer, each in runs.items()}):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
