"""Authentication on our etcd beyond what it has in common with upstream step by step: etcdctl, restarts, certificates, watches, tokens' life."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sfromscratch.components.etcd.tokens import TOKENS_MAX, Tokens
from k8sfromscratch.core.mvcc.auth import READ, WRITE, AuthStore, Permission, Who
from k8sfromscratch.core.mvcc.auth_errors import InvalidAuthToken, OldRevision, PermissionDenied
from k8sfromscratch.core.mvcc.intervals import Interval, covers, merged
from k8sfromscratch.core.mvcc.types import PutOp, RangeOp, TxnOp
from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process.clock import Env
from k8sfromscratch.testing.etcd_process import WITHIN_S, EtcdProcess
from k8sfromscratch.testing.virtual import run_virtual

ROOT = "--user=root:rpw"


def with_users(etcd: EtcdProcess) -> None:
    etcd.ctl("user", "add", "root:rpw")
    etcd.ctl("user", "add", "ann:apw")
    etcd.ctl("role", "add", "a")
    etcd.ctl("role", "grant-permission", "a", "--prefix=true", "readwrite", "a/")
    etcd.ctl("user", "grant-role", "root", "root")
    etcd.ctl("user", "grant-role", "ann", "a")
    etcd.ctl("auth", "enable")


@pytest.fixture
def etcd(tmp_path: Path, needs: Callable[..., None]) -> Iterator[EtcdProcess]:
    needs("etcdctl")
    with EtcdProcess(tmp_path / "data", "--bcrypt-cost", "4") as running:
        yield running


def test_etcdctl_with_users_roles_and_passwords_and_after_a_restart(tmp_path: Path, needs: Callable[..., None]) -> None:
    needs("etcdctl")
    with EtcdProcess(tmp_path / "data", "--bcrypt-cost", "4") as etcd:
        with_users(etcd)
    with EtcdProcess(tmp_path / "data", "--bcrypt-cost", "4") as etcd:
        assert "user name is empty" in etcd.ctl("put", "a/1", "x", fails=True)
        assert "invalid user ID or password" in etcd.ctl("put", "a/1", "x", "--user=ann:wrong", fails=True)
        etcd.ctl("put", "a/1", "x", "--user=ann:apw")
        assert etcd.ctl("get", "a/1", "--user=ann:apw") == "a/1\nx\n"
        assert "permission denied" in etcd.ctl("get", "b/1", "--user=ann:apw", fails=True)
        assert "permission denied" in etcd.ctl("user", "list", "--user=ann:apw", fails=True)
        assert etcd.ctl("user", "list", ROOT).split() == ["ann", "root"]
        assert "[a/, a0) (prefix a/)" in etcd.ctl("role", "get", "a", ROOT)
        assert "permission denied" in etcd.ctl("snapshot", "save", str(tmp_path / "no.db"), "--user=ann:apw", fails=True)
        etcd.ctl("snapshot", "save", str(tmp_path / "saved.db"), ROOT)
        etcd.ctl("auth", "disable", ROOT)
        etcd.ctl("put", "b/1", "x")


def test_users_travel_with_a_snapshot_to_upstream_and_back(etcd: EtcdProcess, tmp_path: Path, needs: Callable[..., None]) -> None:
    needs("etcd")
    with_users(etcd)
    etcd.ctl("put", "a/1", "x", "--user=ann:apw")
    file = tmp_path / "saved.db"
    etcd.ctl("snapshot", "save", str(file), ROOT)
    etcd.ctl("snapshot", "restore", str(file), "--data-dir", str(tmp_path / "theirs"))
    with EtcdProcess(tmp_path / "theirs", "--force-new-cluster", upstream=True) as theirs:
        assert theirs.ctl("get", "a/1", "--user=ann:apw") == "a/1\nx\n"
        assert "permission denied" in theirs.ctl("get", "b", "--user=ann:apw", fails=True)


def test_a_watch_needs_the_permission_to_read(etcd: EtcdProcess) -> None:
    with_users(etcd)
    token = etcd.call("Auth/Authenticate", m.AuthenticateRequest(name="ann", password="apw"), m.AuthenticateResponse).token
    requests = [m.WatchRequest(create_request=m.WatchCreateRequest(key=key, range_end=end)) for key, end in ((b"b", b""), (b"a/", b"b"), (b"a/", b"a0"))]
    rpc = etcd.channel.stream_stream("/etcdserverpb.Watch/Watch", m.WatchRequest.SerializeToString, m.WatchResponse.FromString)
    answers = rpc(iter(requests), timeout=WITHIN_S, metadata=[("token", token)])
    first, second, third = (next(answers) for _ in range(3))
    for refused in (first, second):
        assert refused.created and refused.canceled and "permission denied" in refused.cancel_reason
    assert third.created and not third.canceled


def test_a_nested_transaction_hides_nothing(etcd: EtcdProcess) -> None:
    with_users(etcd)
    token = etcd.call("Auth/Authenticate", m.AuthenticateRequest(name="ann", password="apw"), m.AuthenticateResponse).token
    hidden = m.TxnRequest(success=[m.RequestOp(request_put=m.PutRequest(key=b"b"))])
    outer = m.TxnRequest(failure=[m.RequestOp(request_txn=hidden)])
    assert etcd.refusal("KV/Txn", outer, m.TxnResponse, token=token)[0] == grpc.StatusCode.PERMISSION_DENIED


def test_other_tokens_are_refused_by_the_flag() -> None:
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-m", "k8sfromscratch.components.etcd", "--auth-token", "jwt,pub-key=x"], capture_output=True, text=True)
    assert done.returncode == 2 and "only simple tokens are supported" in done.stderr


def store_with(*permissions: Permission) -> AuthStore:
    auth = AuthStore()
    auth.user_add("root", b"", no_password=True)
    auth.user_grant_role("root", "root")
    auth.user_add("ann", b"hash", no_password=False)
    auth.role_add("r")
    auth.user_grant_role("ann", "r")
    for permission in permissions:
        auth.role_grant_permission("r", permission)
    auth.enable()
    return auth


def test_a_request_from_before_a_change_is_looked_at_again() -> None:
    auth = store_with(Permission(b"a", b"", READ))
    who = Who("ann", auth.revision)
    auth.check(who, b"a", b"", READ)
    auth.role_revoke_permission("r", b"a", b"")
    with pytest.raises(OldRevision):
        auth.check(who, b"a", b"", READ)
    with pytest.raises(PermissionDenied):
        auth.check(Who("ann", auth.revision), b"a", b"", READ)


def test_what_is_kept_is_what_was_there() -> None:
    auth = store_with(Permission(b"a", b"c", READ), Permission(b"\0", b"\0", WRITE))
    again = AuthStore()
    again.restore(auth.buckets())
    assert again.buckets() == auth.buckets() and again.enabled and again.revision == auth.revision
    assert again.user("ann").password_hash == b"hash" and again.user("root").no_password


def test_a_lease_is_shared_only_by_who_may_write_all_its_keys() -> None:
    auth = store_with(Permission(b"a", b"", WRITE))
    who = Who("ann", auth.revision)
    auth.check_ops(who, [PutOp(b"a", b"", lease=7)], lambda lease: [b"a"])
    with pytest.raises(PermissionDenied):
        auth.check_ops(who, [PutOp(b"a", b"", lease=7)], lambda lease: [b"a", b"b"])
    with pytest.raises(PermissionDenied):
        auth.check_ops(who, [TxnOp(success=[TxnOp(failure=[RangeOp(b"a")])])], lambda lease: [])


keys = st.sampled_from([b"\0", b"a", b"a\0", b"b", b"c", b"d", b"\xff"])
ranges = st.tuples(keys, st.one_of(st.just(b""), st.just(b"\0"), keys)).map(lambda drawn: Interval.of(*drawn))
POINTS = [b"\0", b"a", b"a\0", b"a\0\0", b"b", b"b\0", b"c", b"d", b"\xff", b"\xff\0"]


@given(st.lists(ranges, max_size=6), ranges)
def test_merged_ranges_hold_the_same_keys_and_cover_what_they_hold(intervals: list[Interval], wanted: Interval) -> None:
    def holds(each: Interval, key: bytes) -> bool:
        return each.start <= key and (each.end is None or key < each.end)

    found = merged(intervals)
    for key in POINTS:
        assert any(holds(each, key) for each in intervals) == any(holds(each, key) for each in found)
    if covers(found, wanted):
        assert all(any(holds(each, key) for each in intervals) for key in POINTS if holds(wanted, key))
    for each in intervals:
        assert covers(found, each) or (each.end is not None and each.start >= each.end)


def test_a_token_lives_as_long_as_it_is_used_and_its_user_is_the_same() -> None:
    auth = store_with()

    async def scenario(env: Env) -> None:
        tokens = Tokens(env, 300)
        token = tokens.draw()
        tokens.give(token, "ann", auth)
        for _ in range(3):
            await asyncio.sleep(299)
            assert tokens.user(token, auth) == "ann"
        await asyncio.sleep(301)
        with pytest.raises(InvalidAuthToken):
            tokens.user(token, auth)
        tokens.give(token, "ann", auth)
        assert tokens.user(token, auth) == "ann"
        auth.user_change_password("ann", b"other")
        with pytest.raises(InvalidAuthToken):
            tokens.user(token, auth)

    run_virtual(scenario)


def test_the_number_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8sfromscratch.components.etcd.tokens.TOKENS_MAX", 3)
    assert TOKENS_MAX > 3
    auth, tokens = store_with(), Tokens(Env(), 300)
    given = [tokens.draw() for _ in range(5)]
    for token in given:
        tokens.give(token, "ann", auth)
    assert len(tokens) == 3
    assert tokens.user(given[-1], auth) == "ann"
    with pytest.raises(InvalidAuthToken):
        tokens.user(given[0], auth)
