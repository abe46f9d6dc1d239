"""Snapshots, restores, defragmentation, alarms and hashes, as etcdctl asks for them; snapshots go both ways between ours and upstream's."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.storage.machine import ALARM_ACTIVATE, ALARM_CORRUPT, ALARM_DEACTIVATE, ALARM_GET
from k8sfromscratch.testing.etcd_process import EtcdProcess


@pytest.fixture
def etcd(tmp_path: Path, needs: Callable[..., None]) -> Iterator[EtcdProcess]:
    needs("etcdctl")
    with EtcdProcess(tmp_path / "ours") as running:
        yield running


def status(etcd: EtcdProcess) -> dict[str, int]:
    return dict(json.loads(etcd.ctl("endpoint", "status", "-w", "json"))[0]["Status"])


def snapshot_status(file: Path) -> dict[str, int]:
    done = subprocess.run(["etcdctl", "snapshot", "status", str(file), "-w", "json"], env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, check=True)
    return dict(json.loads(done.stdout))


def fill(etcd: EtcdProcess) -> int:
    """A history with everything in it that a snapshot must carry; the last revision."""
    for number in range(300):
        etcd.call("KV/Put", m.PutRequest(key=b"k/%03d" % number, value=b"v" * number), m.PutResponse)
    etcd.call("KV/Put", m.PutRequest(key=b"\0bin\xff", value=b"x" * 20_000), m.PutResponse)
    etcd.call("Lease/LeaseGrant", m.LeaseGrantRequest(ID=77, TTL=900), m.LeaseGrantResponse)
    etcd.call("KV/Put", m.PutRequest(key=b"leased", value=b"l", lease=77), m.PutResponse)
    etcd.call("KV/Compact", m.CompactionRequest(revision=100, physical=True), m.CompactionResponse)
    etcd.call("KV/Put", m.PutRequest(key=b"k/000", value=b"again"), m.PutResponse)
    return int(etcd.call("KV/DeleteRange", m.DeleteRangeRequest(key=b"k/001"), m.DeleteRangeResponse).header.revision)


def check_filled(etcd: EtcdProcess, revision: int) -> None:
    found = etcd.call("KV/Range", m.RangeRequest(key=b"\0", range_end=b"\0"), m.RangeResponse)
    assert found.header.revision == revision and found.count == 301
    kvs = {kv.key: kv for kv in found.kvs}
    assert kvs[b"\0bin\xff"].value == b"x" * 20_000 and kvs[b"k/299"].value == b"v" * 299
    assert (kvs[b"k/000"].version, kvs[b"k/000"].create_revision, kvs[b"k/000"].mod_revision) == (2, 2, revision - 1)
    assert b"k/001" not in kvs
    before = etcd.call("KV/Range", m.RangeRequest(key=b"k/001", revision=revision - 1), m.RangeResponse)
    assert before.kvs[0].value == b"v"
    lease = etcd.call("Lease/LeaseTimeToLive", m.LeaseTimeToLiveRequest(ID=77, keys=True), m.LeaseTimeToLiveResponse)
    assert lease.grantedTTL == 900 and list(lease.keys) == [b"leased"]
    code, text = etcd.refusal("KV/Range", m.RangeRequest(key=b"k", revision=50), m.RangeResponse)
    assert code == grpc.StatusCode.OUT_OF_RANGE and "compacted" in text


def restore_ours(snapshot: Path, target: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "k8sfromscratch.components.etcd.restore", str(snapshot), "--data-dir", str(target), *flags]
    return subprocess.run(argv, capture_output=True, text=True)


def test_a_snapshot_of_ours_is_read_by_upstreams_tools_and_restored_by_both(etcd: EtcdProcess, tmp_path: Path, needs: Callable[..., None]) -> None:
    needs("etcd")
    revision = fill(etcd)
    file = tmp_path / "saved.db"
    etcd.ctl("snapshot", "save", str(file))
    told = snapshot_status(file)
    assert told["revision"] == revision and told["totalKey"] == 304 + 1 + 4 + 2 + 1  # values, leases, meta, auth, members
    done = restore_ours(file, tmp_path / "restored")
    assert done.returncode == 0 and f"restored at revision {revision}" in done.stdout, done.stderr
    with EtcdProcess(tmp_path / "restored") as restored:
        check_filled(restored, revision)
    with EtcdProcess(tmp_path / "restored") as again:
        check_filled(again, revision)
    etcd.ctl("snapshot", "restore", str(file), "--data-dir", str(tmp_path / "upstream"))
    with EtcdProcess(tmp_path / "upstream", "--force-new-cluster", upstream=True) as theirs:
        check_filled(theirs, revision)


def test_a_snapshot_of_upstreams_is_restored_by_ours(tmp_path: Path, needs: Callable[..., None]) -> None:
    needs("etcd", "etcdctl")
    file = tmp_path / "saved.db"
    with EtcdProcess(tmp_path / "theirs", upstream=True) as theirs:
        revision = fill(theirs)
        theirs.ctl("snapshot", "save", str(file))
    assert restore_ours(file, tmp_path / "ours").returncode == 0
    with EtcdProcess(tmp_path / "ours") as ours:
        check_filled(ours, revision)


def test_a_snapshot_that_was_changed_is_refused_and_nothing_is_written_over(etcd: EtcdProcess, tmp_path: Path) -> None:
    fill(etcd)
    file, target = tmp_path / "saved.db", tmp_path / "restored"
    etcd.ctl("snapshot", "save", str(file))
    whole = file.read_bytes()
    file.write_bytes(whole[:9000] + b"!" + whole[9001:])
    refused = restore_ours(file, target)
    assert refused.returncode == 1 and "the file is damaged" in refused.stderr and not target.exists()
    file.write_bytes(whole[:-32])
    refused = restore_ours(file, target)
    assert refused.returncode == 1 and "use --skip-hash-check" in refused.stderr and not target.exists()
    file.write_bytes(whole[: len(whole) // 2])
    refused = restore_ours(file, target, "--skip-hash-check")
    assert refused.returncode == 1 and "is cut off" in refused.stderr and "Traceback" not in refused.stderr and not target.exists()
    file.write_bytes(whole[:-32])
    assert restore_ours(file, target, "--skip-hash-check").returncode == 0
    refused = restore_ours(file, target, "--skip-hash-check")
    assert refused.returncode == 1 and "is there already" in refused.stderr
    file.write_bytes(b"no database" * 1000)
    refused = restore_ours(file, tmp_path / "other", "--skip-hash-check")
    assert refused.returncode == 1 and "no bbolt database" in refused.stderr and not (tmp_path / "other").exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    refused = restore_ours(file, tmp_path / "other", "--initial-cluster", "a=http://h:1,b=http://h:2")
    assert refused.returncode == 2 and "couldn't find local name 'default'" in refused.stderr


def test_defragmentation_gives_space_back_and_loses_nothing(etcd: EtcdProcess) -> None:
    for number in range(200):
        etcd.call("KV/Put", m.PutRequest(key=b"k/%03d" % (number % 20), value=bytes([number]) * 30_000), m.PutResponse)
    revision = etcd.call("KV/DeleteRange", m.DeleteRangeRequest(key=b"k/", range_end=b"k/010"), m.DeleteRangeResponse).header.revision
    etcd.call("KV/Compact", m.CompactionRequest(revision=revision, physical=True), m.CompactionResponse)
    etcd.call("Maintenance/Hash", m.HashRequest(), m.HashResponse)  # what is applied is in the file
    before = status(etcd)["dbSize"]
    assert "Finished defragmenting" in etcd.ctl("defrag")
    after = status(etcd)["dbSize"]
    assert after < before / 4
    left = etcd.call("KV/Range", m.RangeRequest(key=b"k/", range_end=b"k0"), m.RangeResponse)
    assert left.count == 10 and all(len(kv.value) == 30_000 for kv in left.kvs)
    etcd.call("KV/Put", m.PutRequest(key=b"more"), m.PutResponse)
    etcd.ctl("defrag")
    assert etcd.call("KV/Range", m.RangeRequest(key=b"more"), m.RangeResponse).count == 1


def test_a_full_store_raises_an_alarm_that_stays_until_it_is_disarmed(tmp_path: Path, needs: Callable[..., None]) -> None:
    needs("etcdctl")
    with EtcdProcess(tmp_path / "ours", "--quota-backend-bytes", "400000") as etcd:
        refused = None
        for number in range(400):
            try:
                etcd.call("KV/Put", m.PutRequest(key=b"k/%03d" % number, value=b"x" * 8000), m.PutResponse)
            except grpc.RpcError as error:
                refused = error.code(), error.details()
                break
            etcd.call("Maintenance/Hash", m.HashRequest(), m.HashResponse)  # so that the file's size is looked at
        assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
        assert "alarm:NOSPACE" in etcd.ctl("alarm", "list")
        assert "NOSPACE" in status(etcd)["errors"][0]  # type: ignore[index]
        revision = etcd.call("KV/DeleteRange", m.DeleteRangeRequest(key=b"k/", range_end=b"k0"), m.DeleteRangeResponse).header.revision
        full = status(etcd)["dbSizeInUse"]
        etcd.call("KV/Compact", m.CompactionRequest(revision=revision, physical=True), m.CompactionResponse)
        assert status(etcd)["dbSizeInUse"] < full / 4, "a physical compaction is answered when it is done in the file"
        assert "space exceeded" in etcd.ctl("put", "a", "b", fails=True)
        assert "alarm:NOSPACE" in etcd.ctl("alarm", "disarm")
        assert etcd.ctl("alarm", "list") == ""
        etcd.ctl("put", "a", "b")


def test_alarms_outlive_the_process_and_a_corrupt_cluster_answers_nothing(tmp_path: Path, needs: Callable[..., None]) -> None:
    needs("etcdctl")
    change = m.AlarmRequest(action=ALARM_ACTIVATE, memberID=5, alarm=ALARM_CORRUPT)
    with EtcdProcess(tmp_path / "ours") as etcd:
        assert [a.memberID for a in etcd.call("Maintenance/Alarm", change, m.AlarmResponse).alarms] == [5]
        assert not etcd.call("Maintenance/Alarm", change, m.AlarmResponse).alarms
    with EtcdProcess(tmp_path / "ours") as etcd:
        assert [a.alarm for a in etcd.call("Maintenance/Alarm", m.AlarmRequest(action=ALARM_GET), m.AlarmResponse).alarms] == [ALARM_CORRUPT]
        for method, request, answer in (("KV/Range", m.RangeRequest(key=b"a"), m.RangeResponse), ("KV/Put", m.PutRequest(key=b"a"), m.PutResponse)):
            assert etcd.refusal(method, request, answer) == (grpc.StatusCode.DATA_LOSS, "etcdserver: corrupt cluster")
        change.action = ALARM_DEACTIVATE
        etcd.call("Maintenance/Alarm", change, m.AlarmResponse)
        etcd.call("KV/Put", m.PutRequest(key=b"a"), m.PutResponse)


def test_members_with_the_same_history_have_the_same_hash(tmp_path: Path, needs: Callable[..., None]) -> None:
    hashes = []
    for name in ("one", "two"):
        with EtcdProcess(tmp_path / name) as etcd:
            revision = fill(etcd)
            found = etcd.call("Maintenance/HashKV", m.HashKVRequest(revision=revision), m.HashKVResponse)
            assert found.compact_revision == 100
            older = etcd.call("Maintenance/HashKV", m.HashKVRequest(revision=revision - 1), m.HashKVResponse)
            assert older.hash != found.hash
            hashes.append(found.hash)
            for wrong in (50, revision + 10):
                assert etcd.refusal("Maintenance/HashKV", m.HashKVRequest(revision=wrong), m.HashKVResponse)[0] == grpc.StatusCode.OUT_OF_RANGE
    assert hashes[0] == hashes[1]


def test_leadership_cannot_go_to_a_stranger_and_downgrades_are_refused(etcd: EtcdProcess) -> None:
    assert "bad leader transferee" in etcd.ctl("move-leader", "1", fails=True)
    assert etcd.refusal("Maintenance/Downgrade", m.StatusRequest(), m.StatusResponse)[0] == grpc.StatusCode.UNIMPLEMENTED
