"""Data directories that were made otherwise than by a member's first start: by a store without Raft, by a restore, by another member."""

import asyncio
import os
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from k8sfromscratch.components.etcd import restore
from k8sfromscratch.process.clock import Env
from k8sfromscratch.storage.engine import Engine
from k8sfromscratch.storage.frames import WalError
from k8sfromscratch.storage.group import ALONE, ForeignData, Group
from k8sfromscratch.storage.opening import identity
from k8sfromscratch.testing.engine_group import EngineGroup, get, info, put

OLD_LOG = bytes.fromhex(
    "6b66736c6f67320a0102030405060708b0764b6d6b667346160000001b35b50afc49828906000000010a016112013106000000010a01621201326b66734617000000"
    "e03f8a2cbfe90f90050000000508901c100708000000010a016112013318076b6673460700000049807bbf7fb5389102000000060809"
)
"""Of the second format, as the code without Raft wrote it: a=1, b=2; a lease 7 of an hour, a=3 with it; the end of a lease that there is not."""


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(main())


def old_data(folder: Path, *, filed: bool) -> None:
    """With the first frame in the file, or nothing."""
    (folder / "wal").mkdir(parents=True)
    (folder / "wal" / f"{1:016x}.wal").write_bytes(OLD_LOG)
    if not filed:
        return
    (folder / "db").mkdir()
    env = lmdb.open(str(folder / "db"), max_dbs=4)
    with env.begin(write=True) as transaction:
        for number, key, value in ((2, b"a", b"1"), (3, b"b", b"2")):
            raw = struct.pack(">QQQQI", number, number, 1, 0, 1) + key + value
            transaction.put(struct.pack(">QQ", number, 0), raw, db=env.open_db(b"values", transaction))
        transaction.put(b"meta", struct.pack(">QQQ", 2, 3, 0), db=env.open_db(b"meta", transaction))
    env.close()


@pytest.mark.parametrize("filed", [False, True], ids=["all in the log", "a part in the file"])
def test_data_of_a_store_without_raft_goes_on_as_a_group_of_one(tmp_path: Path, filed: bool) -> None:
    old_data(tmp_path, filed=filed)

    async def scenario() -> None:
        assert identity(tmp_path) is None
        for again in range(3):
            engine = await Engine.open(tmp_path, Env())
            assert (get(engine, b"a"), get(engine, b"b"), engine.store.revision) == (b"3", b"2", 4 + again)
            assert engine.store.leases.get(7).ttl_s == 3600 and engine.store.leases.get(7).keys == {b"a"}
            assert engine.is_leader and engine.term == 2 + again and engine.applied > 5
            assert await put(engine, b"c", b"%d" % again) == 5 + again
            await engine.close()
        assert identity(tmp_path) == (ALONE.cluster_id, ALONE.member_id)
        assert not (tmp_path / "wal" / f"{1:016x}.wal").exists()

    run(scenario)


def test_data_of_a_store_without_raft_cannot_be_a_member_among_others(tmp_path: Path) -> None:
    old_data(tmp_path, filed=True)

    async def scenario() -> None:
        for first in ((), (info(1), info(2))):
            with pytest.raises(ForeignData, match="single member"):
                await Engine.open(tmp_path, Env(), group=Group(1, 1, first))
        engine = await Engine.open(tmp_path, Env(), group=Group(1, 1, (info(1),)))
        assert get(engine, b"a") == b"3" and set(engine.members) == {1}
        await engine.close()

    run(scenario)


def test_data_of_another_member_or_cluster_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine.open(tmp_path, Env(), group=Group(1, 0xA, (info(1),)))
        await engine.close()
        for member, cluster in ((1, 0xB), (2, 0xA)):
            with pytest.raises(ForeignData, match=f"of member 1 in cluster a, and this is member {member} of cluster {cluster:x}"):
                await Engine.open(tmp_path, Env(), group=Group(member, cluster, (info(member),)))
        assert identity(tmp_path) == (0xA, 1)

    run(scenario)


def test_a_member_whose_log_was_lost_does_not_vote_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EngineGroup(tmp_path, 3) as group:
            await put(await group.leader(), b"a", b"1")
            await group.same_applied()
            await group.stop(3)
            for segment in (group.path(3) / "wal").iterdir():
                segment.unlink()
            with pytest.raises(WalError, match="remove it from the cluster and add it again"):
                await Engine.open(group.path(3), Env(), group=Group(3, group.cluster, (info(1), info(2), info(3))))

    run(scenario)


def test_a_lone_member_whose_log_was_lost_says_so_and_goes_on_with_its_file_where_it_is_told_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = await Engine.open(tmp_path, Env())
        await put(engine, b"a", b"1")
        await engine.close()
        for segment in (tmp_path / "wal").glob("*.wal"):
            segment.unlink()
        for _ in range(2):
            with pytest.raises(WalError, match="acknowledged last may have stood only there"):
                await Engine.open(tmp_path, Env())
        for group in (replace(ALONE, alone_from_now=True), ALONE):
            engine = await Engine.open(tmp_path, Env(), group=group)
            assert get(engine, b"a") == b"1" and engine.is_leader
            await engine.close()

    run(scenario)


def test_the_names_of_what_is_made_are_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the power fails, and the first acknowledged writes are in files that nobody finds."""
    synced, fsync = set(), os.fsync

    def watched(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)

    async def scenario() -> None:
        engine = await Engine.open(tmp_path / "data", Env())
        await engine.close()
        assert {tmp_path, tmp_path / "data", tmp_path / "data" / "db", tmp_path / "data" / "wal"} <= synced

    run(scenario)


def test_members_that_are_restored_one_by_one_are_one_new_cluster(tmp_path: Path) -> None:
    cluster = "a=http://localhost:1,b=http://localhost:2,c=http://localhost:3"
    snapshot = tmp_path / "snapshot.db"

    async def save() -> None:
        async with EngineGroup(tmp_path / "before", 3) as group:
            leader = await group.leader()
            for number in range(10):
                await put(leader, b"k%d" % number, b"x")
            with snapshot.open("w+b") as file:
                await leader.snapshot(file)

    async def use() -> None:
        whose = {name: identity(tmp_path / name) for name in "abc"}
        ids = {name: found.member_id for name, found in whose.items() if found is not None}
        assert len({found.cluster_id for found in whose.values() if found is not None}) == 1 and len(set(ids.values())) == 3
        for name, member in ids.items():
            (tmp_path / name).rename(tmp_path / str(member))
        found = whose["a"]
        assert found is not None
        async with EngineGroup(tmp_path, 0, cluster=found.cluster_id) as group:
            for member in ids.values():
                await group.start(member)
            leader = await group.leader()
            assert await put(leader, b"new", b"1") == 12
            await group.same_applied()
            for engine in group.engines.values():
                assert {each.name: each.peer_urls for each in engine.members.values()} == {
                    name: (f"http://localhost:{at}",) for at, name in enumerate("abc", 1)
                }
                assert get(engine, b"k9") == b"x" and get(engine, b"new") == b"1" and engine.removed == set()

    run(save)
    for at, name in enumerate("abc", 1):
        flags = ["--name", name, "--initial-cluster", cluster, "--initial-advertise-peer-urls", f"http://localhost:{at}"]
        assert restore.main([str(snapshot), "--data-dir", str(tmp_path / name), *flags]) == 0
    run(use)


def test_a_restore_for_a_member_that_the_new_cluster_has_not_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore.main(["x.db", "--data-dir", str(tmp_path / "d"), "--name", "z", "--initial-cluster", "a=http://localhost:2380"]) == 2
    assert "couldn't find local name 'z'" in capsys.readouterr().err
