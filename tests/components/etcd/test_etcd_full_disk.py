"""A process that cannot write any more ends with one line, and has everything when it can again."""

import resource
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from k8sfromscratch.core.rpc.etcd_messages import messages as m
from k8sfromscratch.testing.etcd_process import EtcdProcess
from k8sfromscratch.testing.ports import free_port


@pytest.mark.parametrize(("most_bytes", "value_bytes"), [(400_000, 4000), (4_000_000, 200_000)], ids=["small writes", "large writes"])
def test_what_was_acknowledged_is_there_when_there_is_room_again(tmp_path: Path, most_bytes: int, value_bytes: int) -> None:
    """No file may grow larger than so much, the log and the database among them."""
    endpoint, acknowledged = f"127.0.0.1:{free_port()}", 0
    argv = [sys.executable, "-m", "k8sfromscratch.components.etcd", f"--data-dir={tmp_path / 'data'}", f"--listen-client-urls=http://{endpoint}"]
    argv.append("--listen-peer-urls=http://127.0.0.1:0")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))  # noqa: E731
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, preexec_fn=limit)
    with grpc.insecure_channel(endpoint) as channel:
        put = channel.unary_unary("/etcdserverpb.KV/Put", m.PutRequest.SerializeToString, m.PutResponse.FromString)
        with pytest.raises(grpc.RpcError) as refused:
            while True:
                put(m.PutRequest(key=b"k%d" % acknowledged, value=bytes(value_bytes)), timeout=60, wait_for_ready=acknowledged == 0)
                acknowledged += 1
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert last.startswith("etcd: the ") and ("File too large" in last or "Input/output error" in last), "LMDB says the second where a part was written"
    assert acknowledged > 10
    with EtcdProcess(tmp_path / "data") as again:
        found = again.call("KV/Range", m.RangeRequest(key=b"k", range_end=b"l", count_only=True), m.RangeResponse)
        assert found.count in (acknowledged, acknowledged + 1)
        again.call("KV/Put", m.PutRequest(key=b"more"), m.PutResponse)
