"""The Lock and Election services on ours and on upstream's etcd, and etcdctl's own recipes on ours."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_process import ETCDCTL, WITHIN_S, EtcdProcess


@pytest.fixture(scope="module", params=["ours", "upstream"])
def etcd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, needs: Callable[..., None]) -> Iterator[EtcdProcess]:
    needs("etcdctl", *(["etcd"] if request.param == "upstream" else []))
    with EtcdProcess(tmp_path_factory.mktemp("queues") / "data", upstream=request.param == "upstream") as running:
        yield running


def lease(etcd: EtcdProcess, ttl_s: int = 60) -> int:
    return int(etcd.call("Lease/LeaseGrant", m.LeaseGrantRequest(TTL=ttl_s), m.LeaseGrantResponse).ID)


def begin(etcd: EtcdProcess, method: str, request: Any, answer: Any) -> Any:
    """A call under way, as grpcio's future."""
    return etcd.channel.unary_unary(method, type(request).SerializeToString, answer.FromString).future(request, timeout=WITHIN_S)


def wait_for_keys(etcd: EtcdProcess, prefix: bytes, count: int) -> list[bytes]:
    """The keys of a name in the order of their creation, when there are so many: told by a watch, not by looking again and again."""
    rpc = etcd.channel.stream_stream("/etcdserverpb.Watch/Watch", m.WatchRequest.SerializeToString, m.WatchResponse.FromString)
    watch = m.WatchRequest(create_request=m.WatchCreateRequest(key=prefix, range_end=prefix[:-1] + b"0"))
    answers = rpc(iter([watch]), timeout=WITHIN_S)
    next(answers)
    while True:
        request = m.RangeRequest(key=prefix, range_end=prefix[:-1] + b"0", sort_order=1, sort_target=2)
        keys = [kv.key for kv in etcd.call("KV/Range", request, m.RangeResponse).kvs]
        if len(keys) == count:
            answers.cancel()
            return keys
        next(answers)


def test_a_lock_goes_from_one_to_the_next_in_order(etcd: EtcdProcess) -> None:
    leases = [lease(etcd) for _ in range(3)]
    first = etcd.call("/v3lockpb.Lock/Lock", m.LockRequest(name=b"l", lease=leases[0]), m.LockResponse)
    assert first.key == b"l/%x" % leases[0]
    again = etcd.call("/v3lockpb.Lock/Lock", m.LockRequest(name=b"l", lease=leases[0]), m.LockResponse)
    assert again.key == first.key
    second = begin(etcd, "/v3lockpb.Lock/Lock", m.LockRequest(name=b"l", lease=leases[1]), m.LockResponse)
    wait_for_keys(etcd, b"l/", 2)
    third = begin(etcd, "/v3lockpb.Lock/Lock", m.LockRequest(name=b"l", lease=leases[2]), m.LockResponse)
    wait_for_keys(etcd, b"l/", 3)
    assert not second.done() and not third.done()
    etcd.call("/v3lockpb.Lock/Unlock", m.UnlockRequest(key=first.key), m.UnlockResponse)
    assert second.result().key == b"l/%x" % leases[1] and not third.done()
    etcd.call("Lease/LeaseRevoke", m.LeaseRevokeRequest(ID=leases[1]), m.LeaseRevokeResponse)
    assert third.result().key == b"l/%x" % leases[2]
    etcd.call("/v3lockpb.Lock/Unlock", m.UnlockRequest(key=b"l/%x" % leases[2]), m.UnlockResponse)


def test_who_gives_up_waiting_leaves_the_queue(etcd: EtcdProcess) -> None:
    held = etcd.call("/v3lockpb.Lock/Lock", m.LockRequest(name=b"g"), m.LockResponse)
    waiting = begin(etcd, "/v3lockpb.Lock/Lock", m.LockRequest(name=b"g", lease=lease(etcd)), m.LockResponse)
    wait_for_keys(etcd, b"g/", 2)
    waiting.cancel()
    assert wait_for_keys(etcd, b"g/", 1) == [held.key]
    etcd.call("/v3lockpb.Lock/Unlock", m.UnlockRequest(key=held.key), m.UnlockResponse)


def test_a_lease_that_is_not_there_gets_no_lock(etcd: EtcdProcess) -> None:
    code, text = etcd.refusal("/v3lockpb.Lock/Lock", m.LockRequest(name=b"n", lease=12345), m.LockResponse)
    assert "requested lease not found" in text and code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNKNOWN)


def test_an_election_is_won_proclaimed_observed_and_lost(etcd: EtcdProcess) -> None:
    service = "/v3electionpb.Election/"
    no_leader = etcd.refusal(service + "Leader", m.LeaderRequest(name=b"e"), m.LeaderResponse)
    assert no_leader == (grpc.StatusCode.UNKNOWN, "election: no leader")
    observing = etcd.channel.unary_stream(service + "Observe", m.LeaderRequest.SerializeToString, m.LeaderResponse.FromString)(
        m.LeaderRequest(name=b"e"), timeout=WITHIN_S
    )
    with ThreadPoolExecutor(1) as pool:
        ann = etcd.call(service + "Campaign", m.CampaignRequest(name=b"e", lease=lease(etcd), value=b"ann"), m.CampaignResponse).leader
        assert ann.name == b"e" and ann.key == b"e/%x" % ann.lease
        assert pool.submit(next, observing).result(WITHIN_S).kv.value == b"ann"
        assert etcd.call(service + "Leader", m.LeaderRequest(name=b"e"), m.LeaderResponse).kv.create_revision == ann.rev
        etcd.call(service + "Proclaim", m.ProclaimRequest(leader=ann, value=b"ann again"), m.ProclaimResponse)
        assert pool.submit(next, observing).result(WITHIN_S).kv.value == b"ann again"
        bob_campaigns = begin(etcd, service + "Campaign", m.CampaignRequest(name=b"e", lease=lease(etcd), value=b"bob"), m.CampaignResponse)
        wait_for_keys(etcd, b"e/", 2)
        assert not bob_campaigns.done()
        etcd.call(service + "Resign", m.ResignRequest(leader=ann), m.ResignResponse)
        bob = bob_campaigns.result().leader
        assert pool.submit(next, observing).result(WITHIN_S).kv.value == b"bob"
        refused = etcd.refusal(service + "Proclaim", m.ProclaimRequest(leader=ann, value=b"still ann"), m.ProclaimResponse)
        assert refused == (grpc.StatusCode.UNKNOWN, "election: not leader")
        etcd.call(service + "Resign", m.ResignRequest(leader=ann), m.ResignResponse)
        etcd.call(service + "Resign", m.ResignRequest(leader=bob), m.ResignResponse)
        missing = etcd.refusal(service + "Resign", m.ResignRequest(), m.ResignResponse)
        assert missing == (grpc.StatusCode.UNKNOWN, '"leader" field must be provided')
    observing.cancel()


@pytest.mark.parametrize("argv", [["lock", "held"], ["elect", "held-office", "me"]])
def test_etcdctl_waits_for_what_a_service_holds(etcd: EtcdProcess, argv: list[str]) -> None:
    held = etcd.call("/v3lockpb.Lock/Lock", m.LockRequest(name=argv[1].encode()), m.LockResponse)
    env = {**os.environ, "ETCDCTL_API": "3"}
    process = subprocess.Popen([*ETCDCTL, "--endpoints", etcd.endpoint, *argv], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    _, waiting = wait_for_keys(etcd, argv[1].encode() + b"/", 2)
    etcd.call("/v3lockpb.Lock/Unlock", m.UnlockRequest(key=held.key), m.UnlockResponse)
    assert process.stdout.readline().strip() == waiting.decode()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WITHIN_S)
