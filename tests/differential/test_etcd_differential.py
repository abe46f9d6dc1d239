"""Ours and upstream's etcd are asked the same, in random histories, and must answer the same: every field, every code and word of a refusal.

    history ─► the same requests, revisions and leases made absolute for each server ─► both ─► answers, made relative again ─► equal

300 histories, or KFS_HISTORIES of them (nightly: 10000, drawn anew each time).  Left out are progress notifications, which upstream gets right only
from 3.4.31 and 3.5.13 on, and what EXPLAINED names.
"""

import importlib.util
import itertools
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_process import EtcdProcess

spec = importlib.util.spec_from_file_location("differential_histories", Path(__file__).with_name("histories.py"))
assert spec is not None and spec.loader is not None
h = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = h  # dataclasses look their module up
spec.loader.exec_module(h)

HISTORIES = int(os.environ.get("KFS_HISTORIES", "0"))
STREAM_S = CALL_S = 120.0
"""The life of a history's watches, and of a call: long enough for any machine; what is right takes milliseconds."""
SHORTEST_LEASE_S, TRIES_MAX = 1.5, 10
"""A history that took longer and differed is asked again: its leases may have ended on one server, and not yet on the other."""

EXPLAINED = {
    "a transaction deletes to the end (range_end of one zero byte) and puts a key in that range": "upstream does not notice that the key is written twice in"
    " one revision, as it does for every other range; ours refuses it too: histories have no such transaction",
    "remaining time to live, and the order of a list of leases": "time passes between the two questions: compared as above zero, and as a set",
    "how events are gathered into messages": "upstream's depends on its timing: compared as one sequence a watch",
    "a watch from a past revision that is compacted at once": "upstream brings such watches up to now ten times a second; one that a compaction overtakes it"
    " cancels, where ours has told it everything already: what upstream told it until then must be the beginning of it",
    "header of a cancellation": "it has the revision at the time of it, which is upstream's timing",
}
"""What is not compared as it is, or not asked -> why."""

Both = tuple[EtcdProcess, EtcdProcess]
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, needs: Callable[..., None]) -> Iterator[Both]:
    needs("etcd")
    folder = tmp_path_factory.mktemp("differential")
    with EtcdProcess(folder / "ours") as ours, EtcdProcess(folder / "theirs", "--unsafe-no-fsync", upstream=True) as theirs:
        yield ours, theirs


class Watching:
    """One Watch stream of a server, its answers gathered a watch."""

    def __init__(self, etcd: EtcdProcess) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        rpc = etcd.channel.stream_stream("/etcdserverpb.Watch/Watch", m.WatchRequest.SerializeToString, m.WatchResponse.FromString)
        self._answers = rpc(iter(self._requests.get, None), timeout=STREAM_S)
        self.created: list[Any] = []
        self.starts: dict[int, int] = {}
        """Watch -> the revision from which it was asked for, 0: from now."""
        self.events: dict[int, list[Any]] = {}
        self.cancelled: dict[int, Any] = {}

    def create(self, request: Any) -> None:
        self._requests.put(m.WatchRequest(create_request=request))
        wanted = len(self.created) + 1
        while len(self.created) < wanted:
            self._take()
        self.starts[self.created[-1].watch_id] = request.start_revision

    def overtaken(self) -> dict[int, int]:
        """Watches of past revisions that a compaction ended -> up to where that went."""
        return {w: answer.compact_revision for w, answer in self.cancelled.items() if 0 < self.starts[w] < answer.compact_revision}

    def finish(self, expected: dict[int, int], ended: set[int]) -> None:
        """Reads until there are so many events and those watches have ended, then cancels what is left and reads what still comes.  Where that many never
        come, the stream's time ends, and the comparison tells what is missing."""
        try:
            self._finish(expected, ended)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        self._requests.put(None)
        self._answers.cancel()

    def _finish(self, expected: dict[int, int], ended: set[int]) -> None:
        while any(len(self.events.get(w, ())) < n and w not in self.cancelled for w, n in expected.items()) or not ended <= set(self.cancelled):
            self._take()
        open_ids = [w.watch_id for w in self.created if not w.canceled and w.watch_id not in self.cancelled]
        for watch_id in open_ids:
            self._requests.put(m.WatchRequest(cancel_request=m.WatchCancelRequest(watch_id=watch_id)))
        while not set(open_ids) <= set(self.cancelled):
            self._take()

    def _take(self) -> None:
        answer = next(self._answers)
        if answer.created:
            self.created.append(answer)
        elif answer.canceled:
            self.cancelled[answer.watch_id] = answer
        else:
            self.events.setdefault(answer.watch_id, []).extend(answer.events)


def begin(etcd: EtcdProcess, number: int) -> Any:
    revision = etcd.call("KV/Range", m.RangeRequest(key=b"\0"), m.RangeResponse, timeout_s=CALL_S).header.revision
    return h.Place(b"h%08d/" % number, revision, number * 100)


def ask(etcd: EtcdProcess, op: Any, place: Any, watching: Watching) -> Any:
    request = op.request(place)
    if op.method == "Watch":
        watching.create(request)
        return relative(watching.created[-1], place)
    try:
        if op.method == "Lease/LeaseKeepAlive":
            rpc = etcd.channel.stream_stream(f"/etcdserverpb.{op.method}", type(request).SerializeToString, m.LeaseKeepAliveResponse.FromString)
            answer = next(iter(rpc(iter([request]), timeout=CALL_S)))
        else:
            answer = etcd.call(op.method, request, h.REQUESTS[op.method][1], timeout_s=CALL_S)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return relative(answer, place)


def relative(message: Any, place: Any) -> Any:
    """As a value that is the same on both servers: without what names the server, revisions and leases counted from the history's beginning."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        name = field.name
        if name in ("cluster_id", "member_id", "raft_term"):
            continue
        if name.endswith("revision"):
            found[name] = value - place.revision
        elif name in ("lease", "ID"):
            found[name] = value - place.lease
        elif name == "leases":
            found[name] = sorted(lease.ID - place.lease for lease in value if 0 < lease.ID - place.lease < 100)
        elif name == "TTL" and message.DESCRIPTOR.name == "LeaseTimeToLiveResponse":
            found[name] = value > 0  # seconds pass between the two questions
        elif field.message_type is None:
            found[name] = list(value) if field.is_repeated else value
        else:
            found[name] = [relative(each, place) for each in value] if field.is_repeated else relative(value, place)
    return found


def run(both: Both, history: Any) -> None:
    number = next(numbers)
    places = [begin(etcd, number) for etcd in both]
    watchings = [Watching(etcd) for etcd in both]
    try:
        for op in history:
            ours, theirs = (ask(etcd, op, place, watching) for etcd, place, watching in zip(both, places, watchings, strict=True))
            assert ours == theirs, f"ours and theirs differ at {op}"
        mine, other = watchings
        put = m.PutRequest(key=b"\0after")
        for etcd in both:
            etcd.call("KV/Put", put, m.PutResponse, timeout_s=CALL_S)  # ours has told everything when this is answered
        mine.finish({}, set())
        ended = {w for w, answer in mine.cancelled.items() if answer.compact_revision}
        other.finish({w: len(events) for w, events in mine.events.items()}, ended)
        told = [
            (
                {w: [relative(e, place) for e in events] for w, events in watching.events.items()},
                {w: relative(answer, place) | {"header": None} for w, answer in watching.cancelled.items()},
            )
            for watching, place in zip(watchings, places, strict=True)
        ]
        for w in other.overtaken().keys() - mine.overtaken().keys():
            (all_events, mine_ended), (some_events, other_ended) = told
            some = some_events.pop(w, [])
            assert some == all_events.pop(w, [])[: len(some)], "a watch was told something else before a compaction overtook it"
            del mine_ended[w], other_ended[w]
        assert told[0] == told[1], "the watches were told different things"
    finally:
        for etcd, place, watching in zip(both, places, watchings, strict=True):
            watching._requests.put(None)
            watching._answers.cancel()
            for lease in range(1, h.LEASES + 1):
                try:
                    etcd.call("Lease/LeaseRevoke", m.LeaseRevokeRequest(ID=place.lease + lease), m.LeaseRevokeResponse)
                except grpc.RpcError as error:
                    assert error.code() == grpc.StatusCode.NOT_FOUND
            etcd.call("KV/DeleteRange", m.DeleteRangeRequest(key=place.prefix, range_end=b"\0"), m.DeleteRangeResponse)


SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)


@settings(max_examples=HISTORIES or 300, derandomize=not HISTORIES, database=None, deadline=None, suppress_health_check=SLOW)
@given(h.histories)
def test_the_same_history_gets_the_same_answers(both: Both, history: Any) -> None:
    for _ in range(TRIES_MAX):
        began = time.monotonic()
        try:
            run(both, history)
        except AssertionError:
            if time.monotonic() - began < SHORTEST_LEASE_S:
                raise
        else:
            return
    raise AssertionError(f"not once done in {SHORTEST_LEASE_S:g} s without a difference: leases end meanwhile, and on each server when it finds the time")


def test_a_watch_from_the_past_that_is_compacted_at_once(both: Both) -> None:
    """Whether upstream has told it everything by then is chance; both ways it is the same to a client."""
    put = h.Op("KV/Put", (("key", b"a"), ("value", b"1"), ("lease", 0), ("prev_kv", False), ("ignore_value", False)))
    watch = h.Op("Watch", (("key", None), ("range_end", "end"), ("start_revision", 1), ("prev_kv", True), ("filters", ()), ("fragment", False)))
    compact = h.Op("KV/Compact", (("revision", 2), ("physical", False)))
    for _ in range(5):
        run(both, [put, put, put, watch, compact])


def test_a_watch_of_what_is_compacted(both: Both) -> None:
    put = h.Op("KV/Put", (("key", b"a"), ("value", b"1"), ("lease", 0), ("prev_kv", False), ("ignore_value", False)))
    watch = h.Op("Watch", (("key", None), ("range_end", "end"), ("start_revision", 1), ("prev_kv", True), ("filters", ()), ("fragment", False)))
    compact = h.Op("KV/Compact", (("revision", 2), ("physical", False)))
    run(both, [put, put, put, compact, watch])
