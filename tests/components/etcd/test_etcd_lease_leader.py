"""A leader that nobody follows any more, and that does not know it yet, renews no lease."""

import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_cluster import EtcdCluster, until

PATIENT = ("--heartbeat-interval=100", "--election-timeout=3000")
"""It takes a leader so long to notice."""


def test_a_leader_without_followers_promises_nothing(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("etcdctl")
    with EtcdCluster(tmp_path, 3, *PATIENT) as cluster:
        leader = cluster.leader()
        granted = leader.call("Lease/LeaseGrant", m.LeaseGrantRequest(TTL=300), m.LeaseGrantResponse)
        assert leader.channel is not None
        path = "/etcdserverpb.Lease/LeaseKeepAlive"
        keep = leader.channel.stream_stream(path, m.LeaseKeepAliveRequest.SerializeToString, m.LeaseKeepAliveResponse.FromString)

        def renewed(timeout_s: float) -> int:
            return int(next(keep(iter([m.LeaseKeepAliveRequest(ID=granted.ID)]), timeout=timeout_s)).TTL)

        assert renewed(60) == 300
        others = [each for each in cluster.members if each is not leader]
        for each in others:
            each.tell(signal.SIGSTOP)
        with pytest.raises(grpc.RpcError) as refused:
            renewed(2)
        assert refused.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)  # type: ignore[attr-defined]
        for each in others:
            each.tell(signal.SIGCONT)
        assert until(lambda: renewed(20), "it leads, or another does") == 300
