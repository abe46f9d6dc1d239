"""The load generator: HTTP/1.1 requests over TLS that were all written down before the clock starts, and answers that are only counted.

    python http_load.py PHASE --port P --ca-file F --token T [--count N]        prints one JSON object

A client library would cost more than the server that is measured; this costs a tenth of it, and says how much.  Only the framing of an answer
is looked at, and its status: anything but 200 or 201 ends the run.
"""

import argparse
import asyncio
import json
import re
import resource
import socket
import ssl
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import uvloop

NAMESPACE = "bench"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
CONNECTIONS = 32
WATCHERS, PATCHING = 200, 16
TIMED_EVERY = 20
"""One watcher in so many looks at the times of its events: looking costs the generator more than counting."""
MERGE_PATCH = "application/merge-patch+json"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_STAMP = re.compile(rb'"stamp":"([\d.]+)"')


def pod(index: int) -> dict[str, Any]:
    container = {
        "name": "c",
        "image": "registry.example/app:v1",
        "ports": [{"containerPort": 80}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 80}},
    }
    spec = {"schedulerName": "nobody", "automountServiceAccountToken": False, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod_name(index), "labels": {"app": f"a{index % 50}"}}, "spec": spec}


def pod_name(index: int) -> str:
    return f"pod-{index:06}"


def config_map(index: int) -> dict[str, Any]:
    data = {f"k{key}": "v" * 40 for key in range(10)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"cm-{index:06}", "labels": {"n": str(index)}}, "data": data}


class Target:
    def __init__(self, port: int, ca_file: str, token: str) -> None:
        self.port = port
        self.tls = ssl.create_default_context(cafile=ca_file)
        self._token = token

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> bytes:
        data = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._token}\r\nUser-Agent: bench\r\nAccept: application/json\r\n"
        more = f"Content-Type: {content_type}\r\nContent-Length: {len(data)}\r\n" if body is not None else ""
        return f"{head}{more}\r\n".encode() + data


class Answer:
    """Finds the end of an answer whose body has a length or comes in chunks."""

    def __init__(self) -> None:
        self._head = b""
        self._missing = -1
        self._tail = b""

    def feed(self, data: bytes) -> bool:
        """True when the answer is complete.  Raises RuntimeError for one that is no success."""
        if self._missing < 0 and not self._tail:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return False
            if self._head[9:12] not in (b"200", b"201"):
                raise RuntimeError(self._head[:600].decode(errors="replace"))
            length = _LENGTH.search(self._head, 0, end)
            data = self._head[end + 2 :]
            if length is not None:
                self._missing = int(length[1]) + 2
        if self._missing >= 0:
            self._missing -= len(data)
            return self._missing <= 0
        self._tail = (self._tail + data)[-7:] if len(data) < 7 else data[-7:]
        return self._tail == b"\r\n0\r\n\r\n"


# Until then every event has come, or will not.
COMPLETE_S = 15
FAN_OUT_TRIES = 4


class Sender(asyncio.Protocol):
    """One connection that sends the next request as soon as the last one is answered."""

    def __init__(self, turn: Iterator[bytes], latencies_s: list[float]) -> None:
        self._turn, self._latencies_s = turn, latencies_s
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def next(self) -> None:
        request = next(self._turn, None)
        if request is None:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self._answer, self._sent_s = Answer(), time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        try:
            complete = self._answer.feed(data)
        except RuntimeError as error:
            self.done.set_exception(error)
            self._transport.close()
            return
        if complete:
            self._latencies_s.append(time.perf_counter() - self._sent_s)
            self.next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))


class Watcher(asyncio.Protocol):
    """Counts the events of one watch: each ends with `}` and a new line, and nothing else does."""

    def __init__(self, request: bytes, counted: Callable[[int], None], lags_s: list[float] | None) -> None:
        self._request, self._counted, self._lags_s = request, counted, lags_s
        self._last = b""
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.started.done():
            if not data.startswith(b"HTTP/1.1 200"):
                self.started.set_exception(RuntimeError(data[:600].decode(errors="replace")))
                return
            self.started.set_result(None)
        found = data.count(b"}\n") + (self._last == b"}" and data[:1] == b"\n")
        self._last = data[-1:]
        if self._lags_s is not None:
            now_s = time.time()
            self._lags_s.extend(now_s - float(stamp) for stamp in _STAMP.findall(data))
        self._counted(found)


async def at_once(target: Target, requests: Sequence[bytes]) -> dict[str, float]:
    """All requests over CONNECTIONS connections."""
    loop = asyncio.get_running_loop()
    turn, latencies_s = iter(requests), list[float]()
    made = [await loop.create_connection(lambda: Sender(turn, latencies_s), "127.0.0.1", target.port, ssl=target.tls) for _ in range(CONNECTIONS)]
    start_s, cpu_s = time.perf_counter(), _cpu_s()
    senders = [sender for _, sender in made]
    for sender in senders:
        sender.next()
    await asyncio.gather(*(sender.done for sender in senders))
    spent_s = time.perf_counter() - start_s
    return {"per_s": len(requests) / spent_s, "p99_ms": _quantile(latencies_s, 0.99) * 1e3, "generator_cpu_us": (_cpu_s() - cpu_s) / len(requests) * 1e6}


def one_by_one(target: Target, requests: Sequence[bytes]) -> dict[str, float]:
    """One connection, a blocking socket: nothing of an event loop in the latency."""
    latencies_s, buffer = [], bytearray(1 << 18)
    with target.tls.wrap_socket(socket.create_connection(("127.0.0.1", target.port)), server_hostname="127.0.0.1") as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        cpu_s = _cpu_s()
        for request in requests:
            answer, start_s = Answer(), time.perf_counter()
            connection.sendall(request)
            while True:
                size = connection.recv_into(buffer)
                if not size:
                    raise ConnectionError("the server closed the connection")
                if answer.feed(bytes(memoryview(buffer)[:size])):
                    break
            latencies_s.append(time.perf_counter() - start_s)
    return {"p50_ms": statistics.median(latencies_s) * 1e3, "generator_cpu_us": (_cpu_s() - cpu_s) / len(requests) * 1e6}


class BrokenOff(Exception):
    """An apiserver may end a watch whose client is slower than the changes, upstream's does; then the figure says nothing."""


async def fan_out(target: Target, patches: int) -> dict[str, float]:
    """WATCHERS watchers see every one of `patches` changes; tried again if they are not let.  Raises BrokenOff."""
    for _ in range(FAN_OUT_TRIES - 1):
        try:
            return await _fan_out(target, patches)
        except BrokenOff as error:
            print(f"  {error}; once more", file=sys.stderr)
    return await _fan_out(target, patches)


async def _fan_out(target: Target, patches: int) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    got, wanted, complete = 0, patches * WATCHERS, loop.create_future()

    def counted(events: int) -> None:
        nonlocal got
        got += events
        if got >= wanted and not complete.done():
            complete.set_result(None)

    first = await _body(target, target.request("GET", f"{CONFIG_MAPS}?limit=1"))
    revision = json.loads(first)["metadata"]["resourceVersion"]
    request = target.request("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion={revision}")
    lags_s: list[float] = []
    watching = []
    for index in range(WATCHERS):
        timed = lags_s if index % TIMED_EVERY == 0 else None
        watching.append(await loop.create_connection(lambda timed=timed: Watcher(request, counted, timed), "127.0.0.1", target.port, ssl=target.tls))
    await asyncio.gather(*(watcher.started for _, watcher in watching))

    def changes() -> Iterator[bytes]:
        for index in range(patches):
            yield target.request("PATCH", f"{CONFIG_MAPS}/cm-{index:06}", {"data": {"stamp": f"{time.time():.6f}"}}, MERGE_PATCH)

    turn = changes()
    senders = [(await loop.create_connection(lambda: Sender(turn, []), "127.0.0.1", target.port, ssl=target.tls))[1] for _ in range(PATCHING)]
    start_s, cpu_s = time.perf_counter(), _cpu_s()
    for sender in senders:
        sender.next()
    await asyncio.gather(*(sender.done for sender in senders))
    try:
        await asyncio.wait_for(complete, COMPLETE_S)
    except TimeoutError:
        raise BrokenOff(f"{got} of {wanted} events came: watches were broken off") from None
    finally:
        for transport, _ in watching:
            transport.close()
    spent_s = time.perf_counter() - start_s
    return {"per_s": got / spent_s, "p99_ms": _quantile(lags_s, 0.99) * 1e3, "generator_cpu_us": (_cpu_s() - cpu_s) / got * 1e6}


async def _body(target: Target, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, ssl=target.tls)
    writer.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
    whole = await reader.read()
    writer.close()
    start, end = whole.find(b"{", whole.find(b"\r\n\r\n")), whole.rfind(b"}") + 1
    return whole[start:end]


def _quantile(values: Sequence[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * q))]


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run(phase: str, target: Target, count: int, pods: int) -> dict[str, float]:
    ask = target.request
    patches = [ask("PATCH", f"{PODS}/{pod_name(i % pods)}", {"metadata": {"annotations": {"x": str(i)}}}, MERGE_PATCH) for i in range(count)]
    phases: dict[str, Callable[[], dict[str, float]]] = {
        "create": lambda: uvloop.run(at_once(target, [ask("POST", PODS, pod(i)) for i in range(count)])),
        "patch": lambda: uvloop.run(at_once(target, patches)),
        "serial-create": lambda: one_by_one(target, [ask("POST", CONFIG_MAPS, config_map(i)) for i in range(count)]),
        "serial-get": lambda: one_by_one(target, [ask("GET", f"{PODS}/{pod_name(i % pods)}") for i in range(count)]),
        "list": lambda: one_by_one(target, [ask("GET", PODS)] * count),
        "watch": lambda: uvloop.run(fan_out(target, count)),
    }
    return phases[phase]()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("phase", choices=["create", "patch", "serial-create", "serial-get", "list", "watch"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ca-file", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--pods", type=int, default=1, help="how many there are")
    given = parser.parse_args()
    print(json.dumps(run(given.phase, Target(given.port, given.ca_file, given.token), given.count, given.pods)))


if __name__ == "__main__":
    main()
