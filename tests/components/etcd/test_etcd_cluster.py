"""Three members as processes: whatever one of them does, the others go on, and what was acknowledged stays."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_cluster import EtcdCluster, until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, needs: Callable[..., None]) -> Iterator[EtcdCluster]:
    needs("etcdctl")
    with EtcdCluster(tmp_path_factory.mktemp("cluster"), 3) as running:
        yield running


def test_all_members_know_the_same_and_each_takes_writes(cluster: EtcdCluster) -> None:
    for number, member in enumerate(cluster.members):
        member.put(b"through", member.name.encode())
        assert [each.get(b"through") for each in cluster.members] == [member.name.encode()] * 3, number
    listed = cluster.json("member", "list")
    assert {each["name"] for each in listed["members"]} == {"m0", "m1", "m2"}
    statuses = [each["Status"] for each in cluster.json("endpoint", "status", "--cluster")]
    assert len({each["leader"] for each in statuses}) == len({each["header"]["cluster_id"] for each in statuses}) == 1
    assert len({each["header"]["member_id"] for each in statuses}) == 3 and len({each["raftTerm"] for each in statuses}) == 1
    assert all(each["health"] for each in cluster.json("endpoint", "health", "--cluster"))
    revision = cluster.members[0].put(b"hashed", b"x")
    for member in cluster.members:
        member.get(b"hashed")
    hashes = {each["HashKV"]["hash"] for each in cluster.json("endpoint", "hashkv", "--cluster", f"--rev={revision}")}
    assert len(hashes) == 1


def test_leadership_is_handed_over(cluster: EtcdCluster) -> None:
    leader, follower = cluster.roles()
    assert "no leader endpoint" in cluster.ctl("move-leader", f"{leader.id:x}", members=[follower], fails=True)
    cluster.ctl("move-leader", f"{follower.id:x}", members=[leader])
    assert cluster.leader() is follower


def test_a_killed_leader_is_replaced_and_its_lease_lives_on(cluster: EtcdCluster) -> None:
    leader, follower = cluster.roles()
    granted = follower.call("Lease/LeaseGrant", m.LeaseGrantRequest(TTL=60), m.LeaseGrantResponse)
    follower.call("KV/Put", m.PutRequest(key=b"leased", value=b"l", lease=granted.ID), m.PutResponse)
    assert follower.channel is not None
    keep = follower.channel.stream_stream("/etcdserverpb.Lease/LeaseKeepAlive", m.LeaseKeepAliveRequest.SerializeToString, m.LeaseKeepAliveResponse.FromString)
    watch = follower.channel.stream_stream("/etcdserverpb.Watch/Watch", m.WatchRequest.SerializeToString, m.WatchResponse.FromString)
    request = m.WatchRequest(create_request=m.WatchCreateRequest(key=b"watched", start_revision=1))
    events = watch(iter([request]), timeout=100)
    assert next(events).created

    def renewed() -> int:
        return int(next(keep(iter([m.LeaseKeepAliveRequest(ID=granted.ID)]), timeout=20)).TTL)

    assert renewed() == 60
    before = follower.put(b"watched", b"before")
    leader.kill()
    assert cluster.leader() is not leader
    assert until(renewed, "the lease is renewed by the new leader") == 60
    after = until(lambda: follower.put(b"watched", b"after"), "a write without the third member")
    found: list[int] = []
    while after not in found:
        found += [each.kv.mod_revision for each in next(events).events]
    # Of the tries that were not answered some may have been done.
    assert found == list(range(before, after + 1)) and len(found) > 1, "the watch has gone on, once each and in order"
    left = until(lambda: follower.call("Lease/LeaseTimeToLive", m.LeaseTimeToLiveRequest(ID=granted.ID, keys=True), m.LeaseTimeToLiveResponse), "its time")
    assert left.grantedTTL == 60 and 0 < left.TTL <= 60 and list(left.keys) == [b"leased"]
    cluster.again(leader)
    assert leader.get(b"watched") == b"after"


def test_without_a_quorum_nothing_is_written_and_who_wants_a_leader_is_told(cluster: EtcdCluster) -> None:
    left, *others = cluster.members
    for each in others:
        each.kill()
    until(lambda: left.status().leader == 0, "it has noticed")
    wanted = (("hasleader", "true"),)
    with pytest.raises(grpc.RpcError) as refused:
        left.call("KV/Range", m.RangeRequest(key=b"watched"), m.RangeResponse, metadata=wanted)
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader")
    assert left.get(b"watched", serializable=True) is not None
    for each in others:
        cluster.begin(each)
    for each in others:
        each.ready()
    until(lambda: left.put(b"watched", b"together again"), "a quorum")


def test_a_member_whose_data_was_lost_is_not_let_in_again_and_replaced(cluster: EtcdCluster, tmp_path: Path) -> None:
    gone = cluster.follower()
    gone_id = gone.id
    gone.kill()
    gone.data_dir.rename(tmp_path / "lost")
    cluster.begin(gone)
    assert gone.process is not None
    assert gone.process.wait(timeout=100) == 1 and "has already been bootstrapped" in gone.errors()
    gone.kill()
    cluster.members.remove(gone)
    cluster.ctl("member", "remove", f"{gone_id:x}", again="unhealthy cluster")
    new = cluster.add("m3")
    assert new.get(b"watched") is not None and len(cluster.json("member", "list")["members"]) == 3
