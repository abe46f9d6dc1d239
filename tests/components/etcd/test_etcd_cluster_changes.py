"""Clusters that grow, are restored, and speak TLS among themselves."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.process import pki
from k8sfromscratch.process.tls import TlsFiles
from k8sfromscratch.testing.etcd_cluster import ClusterMember, EtcdCluster, PeerTls, until


def peer_tls(folder: Path, name: str) -> PeerTls:
    """An authority, and a certificate of it that is good for both sides."""
    ca_key, key, now = pki.make_key(), pki.make_key(), datetime.now(UTC)
    ca = pki.issue(pki.Spec(name, usages=(), ca=True), ca_key, None, now)
    spec = pki.Spec("peer", dns_names=("localhost",), ip_addresses=("127.0.0.1",), usages=("server", "client"))
    certificate = pki.issue(spec, key, pki.Authority(ca, ca_key), now)
    for file, text, mode in ((f"{name}-ca.crt", pki.certificate_pem(ca), 0o644), (f"{name}.crt", pki.certificate_pem(certificate), 0o644)):
        pki.write(folder / file, text, mode)
    pki.write(folder / f"{name}.key", pki.key_pem(key), 0o600)
    return PeerTls(TlsFiles(str(folder / f"{name}.crt"), str(folder / f"{name}.key")), str(folder / f"{name}-ca.crt"))


def test_one_member_grows_to_three_over_mutual_tls_and_a_learner_learns(tmp_path: Path, needs: Callable[..., None]) -> None:
    needs("etcdctl")
    with EtcdCluster(tmp_path, 1, tls=peer_tls(tmp_path, "peers")) as cluster:
        (first,) = cluster.members
        first.put(b"before", b"1")
        learner = cluster.add("m1", learner=True)
        assert learner.status().isLearner
        assert until(lambda: learner.get(b"before", serializable=True), "it has learned") == b"1"
        with pytest.raises(grpc.RpcError) as refused:
            learner.get(b"before")
        assert refused.value.details() == "etcdserver: rpc not supported for learner"
        assert "too many learner members" in cluster.ctl("member", "add", "x", "--learner", "--peer-urls=http://127.0.0.1:1", members=[first], fails=True)
        assert "Peer URLs already exists" in cluster.ctl("member", "add", "x", f"--peer-urls={first.peer_url}", members=[first], fails=True)
        cluster.ctl("member", "promote", f"{learner.id:x}", members=[first], again="in sync with leader")
        assert until(lambda: learner.get(b"before"), "it votes") == b"1"
        third = cluster.add("m2")
        assert third.get(b"before") == b"1" and len(cluster.json("member", "list", members=[third])["members"]) == 3
        first.kill()
        until(lambda: third.put(b"after", b"2"), "two of three go on")
        stranger = EtcdCluster(tmp_path, 0, tls=peer_tls(tmp_path, "strangers"))
        other = ClusterMember(tmp_path, "m3", "https")
        stranger.members = [*cluster.members, other]
        stranger.begin(other, "existing")
        assert other.process is not None and other.process.wait(timeout=100) == 1
        assert "cannot fetch cluster info from peer urls" in other.errors(), "its certificate is of another authority"
        other.kill()
        cluster.again(first)
        assert first.get(b"after") == b"2"


def test_a_backup_of_one_begins_a_cluster_of_three_and_the_old_member_is_no_part_of_it(tmp_path: Path, needs: Callable[..., None]) -> None:
    needs("etcdctl")
    saved = tmp_path / "saved.db"
    with EtcdCluster(tmp_path / "old", 1) as old:
        old.members[0].put(b"kept", b"yes")
        old.ctl("snapshot", "save", str(saved))
    new = EtcdCluster(tmp_path / "new", 3)
    initial = ",".join(f"{each.name}={each.peer_url}" for each in new.members)
    for each in new.members:
        argv = [sys.executable, "-m", "k8sfromscratch.components.etcd.restore", str(saved), f"--data-dir={each.data_dir}", f"--name={each.name}"]
        argv += [f"--initial-cluster={initial}", f"--initial-advertise-peer-urls={each.peer_url}"]
        subprocess.run(argv, check=True, capture_output=True)
    with new:
        assert [each.get(b"kept") for each in new.members] == [b"yes"] * 3
        assert len(new.json("member", "list")["members"]) == 3
        new.members[2].put(b"kept", b"still")
        # A token that is shown a password by one member is good on all.
        new.ctl("user", "add", "root:pw")
        new.ctl("user", "grant-role", "root", "root")
        new.ctl("auth", "enable")
        token = new.members[0].call("Auth/Authenticate", m.AuthenticateRequest(name="root", password="pw"), m.AuthenticateResponse).token
        for each in new.members:
            found = until(lambda each=each: each.call("KV/Range", m.RangeRequest(key=b"kept"), m.RangeResponse, metadata=(("token", token),)), "it is known")  # type: ignore[misc]
            assert found.kvs[0].value == b"still"
