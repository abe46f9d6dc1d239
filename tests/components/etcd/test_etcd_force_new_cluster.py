"""Two of three members are lost for good: the third goes on alone, and is joined again."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import grpc

from k8sfromscratch.testing.etcd_cluster import ClusterMember, EtcdCluster, until


def write(member: ClusterMember, enough: Event) -> int:
    """How many were acknowledged, until it fails."""
    number = 0
    try:
        while True:
            member.put(b"w/%d" % number, b"x")
            number += 1
            if number == 100:
                enough.set()
    except (grpc.RpcError, ValueError):  # the second where its end was noticed here first, and the channel is closed
        return number


def test_there_must_be_something_to_go_on_with(tmp_path: Path) -> None:
    cluster = EtcdCluster(tmp_path, 3)
    (one, *_) = cluster.members
    cluster.begin(one, "new", "--force-new-cluster")
    assert one.process is not None and one.process.wait(100) == 1
    one.kill()
    assert one.errors().splitlines()[-1] == f"etcd: --force-new-cluster goes on with what a member has, and {one.data_dir} has nothing of one"
    assert not one.data_dir.exists()


def test_the_last_of_three_goes_on_alone_with_all_that_was_acknowledged_and_is_joined_again(tmp_path: Path, needs: Callable[..., None]) -> None:
    needs("etcdctl")
    with EtcdCluster(tmp_path, 3) as cluster, ThreadPoolExecutor(1) as pool:
        left = cluster.leader()
        lost = [each for each in cluster.members if each is not left]
        lease = cluster.ctl("lease", "grant", "600").split()[1]
        cluster.ctl("put", "leased", "x", f"--lease={lease}", members=[lost[0]])
        cluster_id, left_id = left.status().header.cluster_id, left.id
        enough = Event()
        writing = pool.submit(write, left, enough)
        assert enough.wait(100)
        left.kill()  # in the midst of it, as are the others: what it has answered is all it has
        acknowledged = writing.result(100)
        for each in lost:
            each.kill()
        assert acknowledged >= 100

        cluster.begin(left, "new", "--force-new-cluster")
        left.ready()
        assert "goes on alone from entry" in left.errors()
        assert [left.get(b"w/%d" % number) for number in range(acknowledged)] == [b"x"] * acknowledged
        assert left.get(b"leased") == b"x" and "granted with TTL(600s)" in cluster.ctl("lease", "timetolive", lease)
        assert (left.status().header.cluster_id, left.id) == (cluster_id, left_id)
        assert [each["name"] for each in cluster.json("member", "list")["members"]] == [left.name]
        left.put(b"alone", b"1")

        cluster.begin(lost[0])  # one of the lost is found again, with its data: it is none of them any more
        assert lost[0].process is not None and lost[0].process.wait(100) == 0
        assert "permanently removed from the cluster" in lost[0].errors()
        for each in lost:
            each.kill()
            cluster.members.remove(each)
        new = cluster.add("m3")
        assert new.get(b"alone") == b"1" and len(cluster.json("member", "list", members=[new])["members"]) == 2

        left.stop()  # without the flag it is a member like any other
        cluster.again(left)
        until(lambda: left.put(b"after", b"2"), "both")
        assert new.get(b"after") == b"2" and new.get(b"w/%d" % (acknowledged - 1)) == b"x"
