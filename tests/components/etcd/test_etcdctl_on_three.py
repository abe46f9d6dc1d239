"""etcdctl against three members: what is asked of one is seen on the others, whichever of them leads."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from k8sfromscratch.testing.etcd_cluster import STEADY, ClusterMember, EtcdCluster, until
from k8sfromscratch.testing.etcd_process import ETCDCTL

LEASE_S = 12
"""Renewed every 4 s: nobody is kept waiting for so long that it ends."""
INTERRUPTED = ("lock", "elect")
"""These listen for SIGINT, and give back what they hold.  The others may have been begun where it is ignored: in the background of a shell."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, needs: Callable[..., None]) -> Iterator[EtcdCluster]:
    needs("etcdctl")
    with EtcdCluster(tmp_path_factory.mktemp("cluster"), 3, *STEADY) as running:
        yield running


@contextmanager
def begun(member: ClusterMember, *argv: str) -> Iterator["subprocess.Popen[str]"]:
    """etcdctl at work on one member, ended behind the context."""
    command = [*ETCDCTL, f"--endpoints={member.endpoint}", *argv]
    with subprocess.Popen(command, env={**os.environ, "ETCDCTL_API": "3"}, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT if argv[0] in INTERRUPTED else signal.SIGTERM)
            process.communicate()  # or it may end of SIGPIPE at its second line, before it has given back what it holds


def lines(process: "subprocess.Popen[str]", count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def keys(cluster: EtcdCluster, member: ClusterMember, prefix: str, count: int) -> Sequence[str]:
    """So many keys below a prefix, the oldest first, when they are there."""

    def found() -> Sequence[str] | None:
        listed = cluster.ctl("get", "--prefix", prefix, "--keys-only", "--sort-by=CREATE", members=[member]).split()
        return listed if len(listed) == count else None

    return until(found, f"{count} keys below {prefix}")


def test_what_one_member_is_told_the_others_say(cluster: EtcdCluster) -> None:
    first, second, third = ([member] for member in cluster.members)
    assert cluster.ctl("put", "a", "1", members=first) == "OK\n"
    assert cluster.ctl("get", "a", members=second) == "a\n1\n"
    assert "SUCCESS" in cluster.ctl("txn", members=third, stdin='value("a") = "1"\n\nput a 2\n\nput a wrong\n\n')
    assert cluster.ctl("get", "a", "--print-value-only", members=first) == "2\n"
    assert cluster.ctl("del", "a", "--prev-kv", members=second) == "1\na\n2\n"
    assert cluster.ctl("get", "a", members=third) == ""
    assert cluster.ctl("get", "a", "--consistency=s", "--rev=2", members=third) == "a\n1\n"


def test_a_watch_on_one_member_sees_what_is_done_through_another(cluster: EtcdCluster) -> None:
    first, second, _ = cluster.members
    revision = cluster.json("put", "w/past", "0", members=[first])["header"]["revision"]
    with begun(second, "watch", "--prefix", "w/", f"--rev={revision}", "--prev-kv") as watching:
        assert lines(watching, 3) == ["PUT", "w/past", "0"]
        cluster.ctl("put", "w/past", "1", members=[first])
        cluster.ctl("del", "w/past", members=[second])
        assert lines(watching, 10) == ["PUT", "w/past", "0", "w/past", "1", "DELETE", "w/past", "1", "w/past", ""]


def test_a_compaction_is_one_for_all(cluster: EtcdCluster) -> None:
    first, *others = cluster.members
    old, new = (cluster.json("put", "c", value, members=[first])["header"]["revision"] for value in "12")
    assert cluster.ctl("compaction", str(new), "--physical", members=[first]) == f"compacted revision {new}\n"
    for each in others:
        until(lambda each=each: cluster.ctl("get", "c", members=[each]) == "c\n2\n", "it has the compaction")  # type: ignore[misc]
        assert "required revision has been compacted" in cluster.ctl("get", "c", f"--rev={old}", members=[each], fails=True)


def test_a_lease_is_granted_here_kept_alive_there_and_lives_over_a_change_of_leaders(cluster: EtcdCluster) -> None:
    leader, follower = cluster.roles()
    lease = cluster.ctl("lease", "grant", f"{LEASE_S}", members=[leader]).split()[1]
    cluster.ctl("put", "leased", "x", f"--lease={lease}", members=[follower])
    alive = f"lease {lease} keepalived with TTL({LEASE_S})"
    with begun(follower, "lease", "keep-alive", lease) as keeping:
        assert lines(keeping, 1) == [alive]
        cluster.ctl("move-leader", f"{follower.id:x}", members=[leader])
        assert lines(keeping, 2) == [alive] * 2
        assert lease in cluster.ctl("lease", "list", members=[leader])
        told = cluster.ctl("lease", "timetolive", lease, "--keys", members=[leader])
        assert f"granted with TTL({LEASE_S}s)" in told and "attached keys([leased])" in told
    cluster.ctl("lease", "revoke", lease, members=[leader])
    assert cluster.ctl("get", "leased", members=[follower]) == ""
    assert "already expired" in cluster.ctl("lease", "timetolive", lease, members=[leader])


@pytest.mark.parametrize("recipe", [("lock", "held", "--ttl=60"), ("elect", "office", "me")])
def test_who_comes_first_on_one_member_is_waited_for_on_another(cluster: EtcdCluster, recipe: tuple[str, ...]) -> None:
    first, second, third = cluster.members
    with begun(first, *recipe) as holder:
        (key,) = keys(cluster, third, f"{recipe[1]}/", 1)
        assert lines(holder, 1) == [key]
        with begun(second, *recipe) as waiting:
            _, next_key = keys(cluster, third, f"{recipe[1]}/", 2)
            holder.send_signal(signal.SIGINT)
            assert lines(waiting, 1) == [next_key]
            if recipe[0] == "elect":
                assert lines(holder, 1) == ["me"]
                with begun(third, "elect", "-l", "office") as listening:
                    assert lines(listening, 2) == [next_key, "me"]
    assert cluster.ctl("get", "--prefix", f"{recipe[1]}/", members=[third]) == ""


def test_a_command_runs_while_its_lock_is_held(cluster: EtcdCluster) -> None:
    def count(member: ClusterMember) -> str:
        """Not atomic by itself."""
        get = f"ETCDCTL_API=3 {' '.join(ETCDCTL)} --endpoints={member.endpoint}"
        return cluster.ctl("lock", "counting", "--ttl=60", "--", "sh", "-c", f"n=$({get} get n --print-value-only); {get} put n $((n + 1))", members=[member])

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(count, cluster.members * 2)) == ["OK\n"] * 6
    assert cluster.ctl("get", "n", "--print-value-only") == "6\n"


def test_a_part_of_the_keys_is_mirrored(cluster: EtcdCluster) -> None:
    first, second, third = cluster.members
    cluster.ctl("put", "from/a", "1", members=[first])
    with begun(first, "make-mirror", "--prefix=from/", "--dest-prefix=to/", second.endpoint):
        until(lambda: cluster.ctl("get", "to/a", members=[third]) == "to/a\n1\n", "what was there is mirrored")
        cluster.ctl("put", "from/b", "2", members=[third])
        until(lambda: cluster.ctl("get", "to/b", members=[third]) == "to/b\n2\n", "and what comes")


def test_the_members_are_listed_moved_and_led(cluster: EtcdCluster) -> None:
    ids = {f"{member.id:x}": member for member in cluster.members}
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in cluster.ctl("member", "list", "-w", "table").splitlines() if "|" in line]
    assert table[0] == ["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"]
    assert table[1:] == [[each, "started", ids[each].name, ids[each].peer_url, f"http://{ids[each].endpoint}", "false"] for each in sorted(ids, key=_number)]
    leader, follower = cluster.roles()
    moved = follower.peer_url.replace("127.0.0.1", "localhost")
    assert "updated" in cluster.ctl("member", "update", f"{follower.id:x}", f"--peer-urls={moved}", members=[leader])
    urls = {each["name"]: each["peerURLs"] for each in cluster.json("member", "list", members=[follower])["members"]}
    assert urls[follower.name] == [moved] and urls[leader.name] == [leader.peer_url]
    assert "Peer URLs already exists" in cluster.ctl("member", "update", f"{leader.id:x}", f"--peer-urls={moved}", members=[follower], fails=True)
    assert "member not found" in cluster.ctl("member", "update", "1", "--peer-urls=http://localhost:1", fails=True)
    cluster.ctl("move-leader", f"{follower.id:x}")  # all endpoints: etcdctl finds the leader among them
    assert cluster.leader() is follower
    cluster.ctl("member", "update", f"{follower.id:x}", f"--peer-urls={follower.peer_url}", members=[leader])
    assert all(each.put(b"moved", b"x") for each in cluster.members), "what was good goes on: nothing on its way is lost"


def test_the_whole_cluster_is_asked_through_one_member(cluster: EtcdCluster) -> None:
    one = [cluster.members[0]]
    revision = cluster.members[1].put(b"seen", b"by all")
    for member in cluster.members:
        member.get(b"seen")
    assert {each["endpoint"] for each in cluster.json("endpoint", "health", "--cluster", members=one) if each["health"]} == _urls(cluster)
    statuses = {each["Endpoint"]: each["Status"] for each in cluster.json("endpoint", "status", "--cluster", members=one)}
    assert statuses.keys() == _urls(cluster) and {each["header"]["revision"] for each in statuses.values()} == {revision}
    assert len({each["HashKV"]["hash"] for each in cluster.json("endpoint", "hashkv", "--cluster", f"--rev={revision}", members=one)}) == 1
    assert cluster.ctl("defrag", "--cluster", members=one).count("Finished defragmenting etcd member") == 3
    assert cluster.ctl("alarm", "list", members=one) == cluster.ctl("alarm", "disarm", members=one) == ""


def test_users_and_roles_are_the_same_on_all_members(cluster: EtcdCluster) -> None:
    first, second, third = ([member] for member in cluster.members)
    root = ["--user", "root:pw"]
    cluster.ctl("user", "add", "root:pw", members=first)
    cluster.ctl("role", "add", "root", members=second)
    cluster.ctl("user", "grant-role", "root", "root", members=third)
    cluster.ctl("role", "add", "reader", members=first)
    cluster.ctl("role", "grant-permission", "reader", "--prefix=true", "read", "r/", members=second)
    cluster.ctl("user", "add", "ann", "--new-user-password=old", members=third)
    cluster.ctl("user", "grant-role", "ann", "reader", members=first)
    assert cluster.ctl("user", "list", members=second).split() == ["ann", "root"]
    assert cluster.ctl("auth", "enable", members=third) == "Authentication Enabled\n"
    try:
        assert cluster.ctl("put", "r/a", "1", *root, members=first) == "OK\n"
        for each in (first, second, third):
            assert cluster.ctl("get", "r/a", "--user", "ann:old", members=each) == "r/a\n1\n"
            assert "permission denied" in cluster.ctl("put", "r/a", "2", "--user", "ann:old", members=each, fails=True)
            assert "user name is empty" in cluster.ctl("get", "r/a", members=each, fails=True)
        cluster.ctl("user", "passwd", "ann", "--interactive=false", *root, members=second, stdin="new\n")
        assert "authentication failed" in cluster.ctl("get", "r/a", "--user", "ann:old", members=third, fails=True)
        assert cluster.ctl("get", "r/a", "--user", "ann:new", members=third) == "r/a\n1\n"
        assert "Roles: reader" in cluster.ctl("user", "get", "ann", *root, members=third)
        assert re.search(r"\[r/, r0\)", cluster.ctl("role", "get", "reader", *root, members=first))
        cluster.ctl("role", "revoke-permission", "reader", "--prefix=true", "r/", *root, members=first)
        assert "permission denied" in cluster.ctl("get", "r/a", "--user", "ann:new", members=second, fails=True)
        cluster.ctl("user", "revoke-role", "ann", "reader", *root, members=second)
        cluster.ctl("user", "delete", "ann", *root, members=third)
        cluster.ctl("role", "delete", "reader", *root, members=first)
        assert cluster.ctl("role", "list", *root, members=second) == "root\n"
    finally:
        cluster.ctl("auth", "disable", *root, members=second)
    assert cluster.ctl("get", "r/a", members=third) == "r/a\n1\n"


def test_a_followers_snapshot_has_what_was_acknowledged_elsewhere(cluster: EtcdCluster, tmp_path: Path) -> None:
    saved, (leader, follower) = tmp_path / "saved.db", cluster.roles()
    for number in range(50):
        revision = leader.put(b"saved/%d" % number, b"x")
    follower.get(b"saved/0")
    assert "Snapshot saved" in cluster.ctl("snapshot", "save", str(saved), members=[follower])
    assert f", {revision}, " in cluster.ctl("snapshot", "status", str(saved))
    alone = EtcdCluster(tmp_path / "alone", 1)
    (one,) = alone.members
    argv = [sys.executable, "-m", "k8sfromscratch.components.etcd.restore", str(saved), f"--data-dir={one.data_dir}", f"--name={one.name}"]
    argv += [f"--initial-cluster={one.name}={one.peer_url}", f"--initial-advertise-peer-urls={one.peer_url}"]
    subprocess.run(argv, check=True, capture_output=True)
    with alone:
        assert one.get(b"saved/49") == b"x"
        assert [each["name"] for each in alone.json("member", "list")["members"]] == [one.name]


def test_etcdctl_finds_ten_thousand_keys_bearable(cluster: EtcdCluster) -> None:
    """It asks /metrics how much memory a member has."""
    endpoints = [f"--endpoints=http://{cluster.members[0].endpoint}"]
    said = cluster.ctl("check", "datascale", "--load=s", "--auto-compact", "--auto-defrag", *endpoints)
    assert "PASS: Approximate system memory used" in said and "Defragmented" in said
    assert cluster.ctl("get", "--prefix", "/etcdctl-check-datascale/", "--keys-only") == ""


def _number(hexadecimal: str) -> int:
    return int(hexadecimal, 16)


def _urls(cluster: EtcdCluster) -> set[str]:
    return {f"http://{member.endpoint}" for member in cluster.members}
