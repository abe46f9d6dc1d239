"""Three members of which one is full, differs, is lost, or is none of theirs: what the others say and do."""

import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import lmdb
import pytest

from k8sfromscratch.testing.etcd_cluster import ClusterMember, EtcdCluster, until

CHECKED = "--experimental-corrupt-check-time=200ms"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, needs: Callable[..., None]) -> Iterator[EtcdCluster]:
    needs("etcdctl")
    with EtcdCluster(tmp_path_factory.mktemp("cluster"), 3) as running:
        yield running


def page(member: ClusterMember, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{member.endpoint}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_member_of_another_cluster_is_refused_and_disturbs_nobody(cluster: EtcdCluster, tmp_path: Path) -> None:
    """Somebody has copied the flags, and changed the name."""
    leader, term = cluster.leader(), cluster.leader().status().raftTerm
    stranger = ClusterMember(tmp_path, "stranger", "http")
    members = ",".join(f"{each.name}={each.peer_url}" for each in (stranger, *cluster.members))
    stranger.start([f"--initial-cluster={members}", *cluster.flags])
    try:
        until(lambda: "refuses this member: request cluster ID mismatch" in stranger.errors(), "it is told")
        for each in cluster.members:
            until(lambda each=each: "request cluster ID mismatch: a request of member" in each.errors(), "and who refuses it says so")  # type: ignore[misc]
    finally:
        stranger.stop()
    assert "serving clients" not in stranger.errors()
    assert cluster.leader() is leader and leader.status().raftTerm == term


def test_pages_of_health_with_a_quorum_and_without(cluster: EtcdCluster) -> None:
    left, *others = cluster.members
    for path in ("/health", "/livez", "/readyz", "/readyz/linearizable_read"):
        assert [page(each, path)[0] for each in cluster.members] == [200] * 3, path
    for each in others:
        each.stop(signal.SIGKILL)
    until(lambda: left.status().leader == 0, "it has noticed")
    assert page(left, "/livez?verbose") == (200, "[+]serializable_read ok\nok\n")
    assert page(left, "/health") == (503, '{"health": "false", "reason": "RAFT NO LEADER"}')
    assert page(left, "/health?serializable=true")[0] == 200
    status, text = page(left, "/readyz")
    assert status == 503 and "[+]serializable_read ok\n[-]linearizable_read failed: " in text and text.endswith("readyz check failed\n")
    assert page(left, "/readyz?exclude=linearizable_read")[0] == 200
    for each in others:
        cluster.begin(each)
    for each in others:
        each.ready()
    until(lambda: page(left, "/readyz")[0] == 200, "it is a member of a cluster again")


def test_one_member_without_room_stops_all_until_there_is_some_and_the_alarm_is_disarmed(cluster: EtcdCluster) -> None:
    """Only its quota is small, and nobody writes through it."""
    small, *others = cluster.members
    small.stop()
    cluster.begin(small, "new", "--quota-backend-bytes=600000")
    small.ready()
    full = "etcdserver: mvcc: database space exceeded"

    def fill() -> bool:
        try:
            others[0].put(b"large", b"x" * 20_000)
        except grpc.RpcError as error:
            assert error.details() == full
            return True
        return False

    until(fill, "it is noticed where nobody asks")
    for each in cluster.members:
        until(lambda each=each: full in cluster.ctl("put", "a", "b", members=[each], fails=True), "all have the alarm")  # type: ignore[misc]
        assert cluster.ctl("alarm", "list", members=[each]) == f"memberID:{small.id} alarm:NOSPACE \n"
        assert page(each, "/health") == (503, '{"health": "false", "reason": "ALARM NOSPACE"}')
        assert page(each, "/health?exclude=NOSPACE")[0] == page(each, "/readyz")[0] == 200
    revision = cluster.json("del", "large", members=[others[1]])["header"]["revision"]
    cluster.ctl("compaction", str(revision), "--physical", members=[small])
    assert cluster.ctl("defrag", "--cluster").count("Finished defragmenting") == 3
    assert full in cluster.ctl("put", "a", "b", members=[small], fails=True), "until somebody says that it is over"
    assert cluster.ctl("alarm", "disarm", members=[others[0]]) == f"memberID:{small.id} alarm:NOSPACE \n"
    for each in cluster.members:
        until(lambda each=each: each.put(b"a", b"b"), "it has heard of it")  # type: ignore[misc]
    assert cluster.ctl("alarm", "list") == ""


def alter(member: ClusterMember) -> None:
    """What a bad disk, or somebody, does to a member's newest value while it is down."""
    with lmdb.open(str(member.data_dir / "db"), max_dbs=4) as env:
        values = env.open_db(b"values")
        with env.begin(db=values, write=True) as transaction, transaction.cursor() as cursor:
            assert cursor.last()
            cursor.replace(cursor.key(), cursor.value()[:-1] + b"!")


def test_a_member_that_differs_does_not_begin_to_serve_or_is_told_of_by_the_leader(tmp_path: Path, needs: Callable[..., None]) -> None:
    needs("etcdctl")
    with EtcdCluster(tmp_path, 3, CHECKED) as cluster:
        wrong = cluster.follower()
        wrong_id = wrong.id
        others = [each for each in cluster.members if each is not wrong]
        cluster.leader().put(b"k", b"right")
        assert wrong.get(b"k") == b"right"
        wrong.stop()
        alter(wrong)
        cluster.begin(wrong, "new", "--experimental-initial-corrupt-check")
        assert wrong.process is not None and wrong.process.wait(100) == 1
        assert "found data inconsistency with peers" in wrong.errors() and "serving clients" not in wrong.errors().split("SIGTERM, stopping")[-1]
        wrong.kill()

        cluster.again(wrong)
        for each in cluster.members:
            until(lambda each=each: "corrupt cluster" in cluster.ctl("get", "k", members=[each], fails=True), "nothing is answered any more")  # type: ignore[misc]
            assert cluster.ctl("alarm", "list", members=[each]) == f"memberID:{wrong_id} alarm:CORRUPT \n"
            assert page(each, "/health") == (503, '{"health": "false", "reason": "ALARM CORRUPT"}')
            assert page(each, "/livez")[0] == 200 and "[-]data_corruption failed: alarm activated: CORRUPT" in page(each, "/readyz")[1]

        # What an administrator does then: the member is thrown away, another takes its place, and the alarm is disarmed.
        wrong.stop()
        cluster.members.remove(wrong)
        cluster.ctl("member", "remove", f"{wrong_id:x}", again="unhealthy cluster")
        shutil.rmtree(wrong.data_dir)
        new = cluster.add("m3")
        new.tell(signal.SIGSTOP)  # it hears of it last, when it is asked already
        cluster.ctl("alarm", "disarm", members=[others[0]])
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(new.get, b"k")
            assert [each.get(b"k") for each in others] == [b"right"] * 2
            new.tell(signal.SIGCONT)
            assert late.result() == b"right"
