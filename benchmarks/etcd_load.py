"""What h2load cannot send to etcd: many different keys, and watches.

    python etcd_load.py fill    --port P --count N          Puts of N keys; prints one JSON object
    python etcd_load.py fan-out --port P --count N          1,000 watches of one key, N Puts as fast as they are answered, then N/10 at a steady pace
    python etcd_load.py hold    --port P                    1,000 watches of other ranges: prints a line when they are there, ends with its input

A client library would be the limit: a thousand watches get a hundred thousand events a second.  So the watching connections only count how often
a mark that is in every value comes by, and give the server windows that are never full.
"""

import argparse
import asyncio
import json
import re
import struct
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import uvloop

from k8sfromscratch.core.rpc import http2
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.core.rpc.grpc import framed
from k8sfromscratch.core.rpc.headers import encode_headers
from k8sfromscratch.storage.channel import Channel

WATCHERS, WATCHING_CONNECTIONS = 1000, 20
UNANSWERED = 256
"""Puts under way while a store is filled: as many as the h2load runs have."""
STORM_UNANSWERED = 8
VALUE_BYTES, EVENT_VALUE_BYTES = 1024, 128
PACED_PER_S = 40
"""40,000 events a second: about half of what the slower of the two can do."""
PACED = 200
"""Puts whose events are timed: their hundredth part is more than one."""
COMPLETE_S = 30.0
WINDOW_BYTES = 2**31 - 1
FRAME_BYTES = 16384
"""Upstream fills frames up to this."""
WATCHED = b"watched/key"
MARK = b"kfs-event:"
_STAMP = re.compile(rb"kfs-event:(\d{20})")
_PUT = "/etcdserverpb.KV/Put"


def event_value() -> bytes:
    """With the time in it, and of one length."""
    return (MARK + b"%020d" % time.monotonic_ns()).ljust(EVENT_VALUE_BYTES, b"x")


class Watching(asyncio.Protocol):
    """One connection with some of the watches; `events` counts what has come to all of them."""

    def __init__(self, watches: Iterable[Any], came: Callable[[int], None]) -> None:
        self._watches, self._came = list(watches), came
        self._rest = b""
        self._cut: dict[bytes, bytes] = {}
        self.lags_s: list[float] | None = None
        """Filled where it is a list: looking at times costs more than counting."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        settings = struct.pack("!HLHL", 0x4, WINDOW_BYTES, 0x5, 2**24 - 1)
        out = [http2.PREFACE, http2.frame(http2.SETTINGS, 0, 0, settings), http2.frame(http2.WINDOW_UPDATE, 0, 0, struct.pack("!L", WINDOW_BYTES - 65535))]
        path = [(":method", "POST"), (":scheme", "http"), (":path", "/etcdserverpb.Watch/Watch"), (":authority", "127.0.0.1")]
        block = encode_headers([*path, ("content-type", "application/grpc"), ("te", "trailers")])
        for number, watch in enumerate(self._watches):
            out.append(http2.frame(http2.HEADERS, http2.END_HEADERS, 2 * number + 1, block))
            out.append(http2.frame(http2.DATA, 0, 2 * number + 1, framed(m.WatchRequest(create_request=watch).SerializeToString())))
        cast("asyncio.Transport", transport).write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at, end, found = 0, len(data), 0
        while end - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            behind = at + 9 + size
            if behind > end:
                break
            if size and data[at + 3] == http2.DATA:
                stream = data[at + 5 : at + 9]
                payload = self._cut.pop(stream, b"") + data[at + 9 : behind]
                found += payload.count(MARK)
                if size >= FRAME_BYTES:  # a longer message goes on in the next frame: a mark may lie across the two
                    self._cut[stream] = payload[-len(MARK) + 1 :]
            at = behind
        if self.lags_s is not None:
            now = time.monotonic_ns()
            self.lags_s += [(now - int(stamp)) / 1e9 for stamp in _STAMP.findall(data, 0, at)]
        self._rest = data[at:]
        if found:
            self._came(found)


class Watchers:
    """All of them; they count together."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.events = 0
        self._wanted, self._enough = 0, asyncio.Event()
        self._connections: list[Watching] = []

    async def open(self, watches: list[Any]) -> None:
        loop = asyncio.get_running_loop()
        for number in range(WATCHING_CONNECTIONS):
            mine = watches[number::WATCHING_CONNECTIONS]
            _, protocol = await loop.create_connection(lambda mine=mine: Watching(mine, self._came), "127.0.0.1", self._port)  # type: ignore[misc]
            self._connections.append(protocol)

    def time_lags(self) -> list[float]:
        """From here on, of every event."""
        lags_s: list[float] = []
        for each in self._connections:
            each.lags_s = lags_s
        return lags_s

    async def complete(self, events: int) -> None:
        """Returns when so many have come, of all since the beginning.  Raises TimeoutError."""
        self._wanted = events
        if self.events < events:
            self._enough.clear()
            async with asyncio.timeout(COMPLETE_S):
                await self._enough.wait()
        if self.events > events:
            raise SystemExit(f"{self.events} events came where {events} were sent")

    def _came(self, count: int) -> None:
        self.events += count
        if self.events >= self._wanted:
            self._enough.set()


async def put_all(channel: Channel, requests: Iterable[Callable[[], bytes]], unanswered: int) -> None:
    """So many are under way at any time."""
    turn = iter(requests)

    async def one_after_the_other() -> None:
        for request in turn:
            await channel.call(_PUT, request())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(unanswered):
            tasks.create_task(one_after_the_other())


def _event() -> bytes:
    return bytes(m.PutRequest(key=WATCHED, value=event_value()).SerializeToString())


def _fills(count: int) -> Iterable[Callable[[], bytes]]:
    value = b"x" * VALUE_BYTES
    for number in range(count):
        yield lambda number=number: m.PutRequest(key=b"fill/%08d" % number, value=value).SerializeToString()  # type: ignore[misc]


async def fill(port: int, count: int) -> dict[str, float]:
    channel = Channel([f"http://127.0.0.1:{port}"])
    began_s = time.monotonic()
    await put_all(channel, _fills(count), UNANSWERED)
    took_s = time.monotonic() - began_s
    await channel.close()
    return {"per_s": count / took_s}


async def fan_out(port: int, count: int) -> dict[str, float]:
    channel, watchers = Channel([f"http://127.0.0.1:{port}"]), Watchers(port)
    answer = m.RangeResponse.FromString(await channel.call("/etcdserverpb.KV/Range", m.RangeRequest(key=WATCHED).SerializeToString()))
    await watchers.open([m.WatchCreateRequest(key=WATCHED, start_revision=answer.header.revision + 1)] * WATCHERS)
    await put_all(channel, [_event], 1)
    await watchers.complete(WATCHERS)
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    await put_all(channel, [_event] * count, STORM_UNANSWERED)
    await watchers.complete((count + 1) * WATCHERS)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    lags_s = watchers.time_lags()
    start_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(PACED):
            await asyncio.sleep(max(start_s + number / PACED_PER_S - time.monotonic(), 0))
            tasks.create_task(channel.call(_PUT, _event()))
    await watchers.complete((count + 1 + PACED) * WATCHERS)
    await channel.close()
    lags_s.sort()
    return {
        "per_s": count * WATCHERS / took_s,
        "lag_p50_ms": lags_s[len(lags_s) // 2] * 1e3,
        "lag_p99_ms": lags_s[len(lags_s) * 99 // 100] * 1e3,
        "generator_cpu_us": cpu_s / (count * WATCHERS) * 1e6,
        "generator_busy": cpu_s / took_s,
    }


async def hold(port: int) -> dict[str, float]:
    """One event each shows that they are there."""
    channel, watchers = Channel([f"http://127.0.0.1:{port}"]), Watchers(port)
    answer = m.RangeResponse.FromString(await channel.call("/etcdserverpb.KV/Range", m.RangeRequest(key=WATCHED).SerializeToString()))
    since = answer.header.revision + 1
    folders = [b"held/%04d/" % number for number in range(WATCHERS)]
    await watchers.open([m.WatchCreateRequest(key=folder, range_end=folder[:-1] + b"0", start_revision=since) for folder in folders])
    await put_all(channel, [lambda key=folder + b"key": m.PutRequest(key=key, value=event_value()).SerializeToString() for folder in folders], STORM_UNANSWERED)  # type: ignore[misc]
    await watchers.complete(WATCHERS)
    print("held", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await channel.close()
    return {"events": float(watchers.events)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("phase", choices=["fill", "fan-out", "hold"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=0)
    given = parser.parse_args()
    match given.phase:
        case "fill":
            work = fill(given.port, given.count)
        case "fan-out":
            work = fan_out(given.port, given.count)
        case _:
            work = hold(given.port)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(work)))


if __name__ == "__main__":
    main()
