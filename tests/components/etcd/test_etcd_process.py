"""Our etcd as a process, to the clients people have: etcdctl, and grpcio."""

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import grpc
import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_process import WITHIN_S
from k8sfromscratch.testing.etcd_process import EtcdProcess as Etcd


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory, needs: Callable[..., None]) -> Iterator[Etcd]:
    needs("etcdctl")
    with Etcd(tmp_path_factory.mktemp("etcd") / "data") as running:
        yield running


def test_etcdctl_puts_gets_and_deletes(etcd: Etcd) -> None:
    assert etcd.ctl("put", "ctl/a", "1") == "OK\n"
    etcd.ctl("put", "ctl/b", "2")
    assert etcd.ctl("get", "--prefix", "ctl/") == "ctl/a\n1\nctl/b\n2\n"
    assert etcd.ctl("get", "--prefix", "--keys-only", "--order=DESCEND", "ctl/").split() == ["ctl/b", "ctl/a"]
    assert etcd.ctl("del", "--prev-kv", "ctl/a") == "1\nctl/a\n1\n"
    assert json.loads(etcd.ctl("get", "ctl/b", "-w", "json"))["kvs"][0]["value"] == base64.b64encode(b"2").decode()


def test_etcdctl_watches_the_past(etcd: Etcd) -> None:
    revision = json.loads(etcd.ctl("put", "w", "1", "-w", "json"))["header"]["revision"]
    etcd.ctl("put", "w", "2")
    etcd.ctl("del", "w")
    argv = ["etcdctl", "--endpoints", etcd.endpoint, "watch", "--rev", str(revision), "w"]
    with subprocess.Popen(argv, env={**os.environ, "ETCDCTL_API": "3"}, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline().strip() for _ in range(8)]
        watching.terminate()  # SIGINT would be ignored where the tests were begun in the background of a shell, and so by what they begin
    assert lines == ["PUT", "w", "1", "PUT", "w", "2", "DELETE", "w"]


def test_etcdctl_transactions_leases_and_status(etcd: Etcd) -> None:
    etcd.ctl("put", "t", "old")
    assert "SUCCESS" in etcd.ctl("txn", stdin='value("t") = "old"\n\nput t new\n\nput t wrong\n\n')
    assert etcd.ctl("get", "t", "--print-value-only") == "new\n"
    lease = etcd.ctl("lease", "grant", "100").split()[1]
    etcd.ctl("put", "leased", "x", f"--lease={lease}")
    assert "leased" in etcd.ctl("lease", "timetolive", lease, "--keys")
    etcd.ctl("lease", "revoke", lease)
    assert etcd.ctl("get", "leased") == ""
    assert json.loads(etcd.ctl("endpoint", "status", "-w", "json"))[0]["Status"]["version"].startswith("3.5.")
    assert "started, default" in etcd.ctl("member", "list")


def test_compaction_and_its_errors(etcd: Etcd) -> None:
    for value in "123":
        revision = json.loads(etcd.ctl("put", "c", value, "-w", "json"))["header"]["revision"]
    etcd.ctl("compact", str(revision))
    assert "required revision has been compacted" in etcd.ctl("get", "c", f"--rev={revision - 1}", fails=True)
    assert "required revision is a future revision" in etcd.ctl("get", "c", f"--rev={revision + 100}", fails=True)


def test_grpcio_calls_and_refusals(etcd: Etcd) -> None:
    put = etcd.call("KV/Put", m.PutRequest(key=b"\x00bin\xff", value=b"v", prev_kv=True), m.PutResponse)
    got = etcd.call("KV/Range", m.RangeRequest(key=b"\x00bin\xff"), m.RangeResponse)
    assert got.kvs[0].mod_revision == put.header.revision and got.header.revision == put.header.revision
    for method, request, answer, code in (
        ("KV/Put", m.PutRequest(value=b"v"), m.PutResponse, grpc.StatusCode.INVALID_ARGUMENT),
        ("KV/Put", m.PutRequest(key=b"a", lease=99), m.PutResponse, grpc.StatusCode.NOT_FOUND),
        ("KV/Put", m.PutRequest(key=b"a", value=b"x" * 2_000_000), m.PutResponse, grpc.StatusCode.INVALID_ARGUMENT),
        ("Lease/LeaseRevoke", m.LeaseRevokeRequest(ID=99), m.LeaseRevokeResponse, grpc.StatusCode.NOT_FOUND),
        ("Nothing/Here", m.LeaseRevokeRequest(), m.LeaseRevokeResponse, grpc.StatusCode.UNIMPLEMENTED),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            etcd.call(method, request, answer)
        assert caught.value.code() == code, method  # type: ignore[attr-defined]


def test_a_compacted_watch_is_cancelled_with_the_revision_and_a_stream_goes_on(etcd: Etcd) -> None:
    for _ in range(3):
        last = etcd.call("KV/Put", m.PutRequest(key=b"cw"), m.PutResponse).header.revision
    etcd.call("KV/Compact", m.CompactionRequest(revision=last), m.CompactionResponse)
    requests = [
        m.WatchRequest(create_request=m.WatchCreateRequest(key=b"cw", start_revision=1)),
        m.WatchRequest(create_request=m.WatchCreateRequest(key=b"cw", start_revision=last, watch_id=7)),
        m.WatchRequest(progress_request=m.WatchProgressRequest()),
    ]
    answers = etcd.channel.stream_stream("/etcdserverpb.Watch/Watch", m.WatchRequest.SerializeToString, m.WatchResponse.FromString)(
        iter(requests), timeout=WITHIN_S
    )
    created, cancelled, second, events, progress = (next(answers) for _ in range(5))
    assert created.created and cancelled.canceled and cancelled.compact_revision == last and cancelled.watch_id == created.watch_id
    assert second.created and second.watch_id == 7
    assert events.watch_id == 7 and [e.kv.mod_revision for e in events.events] == [last]
    assert progress.watch_id == -1 and progress.header.revision == last and not progress.events


def test_plain_http_on_the_same_port(etcd: Etcd) -> None:
    def get(path: str) -> bytes:
        with socket.create_connection(("127.0.0.1", etcd.port)) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))

    assert b'"health": "true"' in get("/health")
    assert b"etcdserver" in get("/version")
    assert b"etcd_server_has_leader 1.0" in get("/metrics")
    assert get("/nothing").startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--initial-cluster", "a=http://h:1,b=http://h:1"], "has duplicate url"),
        (["--initial-cluster", "http://h:1"], "not of the form name=url"),
        (["--election-timeout", "400"], "should be at least as 5 times as --heartbeat-interval[100ms]"),
        (["--listen-peer-urls", "https://127.0.0.1:1"], "needs --peer-cert-file and --peer-key-file"),
        (["--wal-dir", "elsewhere"], "unknown flag: --wal-dir"),
        (["--listen-client-urls", "localhost:2379"], "is not of the form http://host:port"),
        (["--listen-client-urls", "https://127.0.0.1:1"], "needs --cert-file and --key-file"),
        (["--auto-compaction-retention", "soon"], "'soon' is neither"),
        (["--auto-compaction-mode", "revision", "--auto-compaction-retention", "5m"], "'5m' is none"),
        (["--no-such-flag"], "unknown flag: --no-such-flag"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, "-m", "k8sfromscratch.components.etcd", *flags], capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
