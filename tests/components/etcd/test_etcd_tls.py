"""Our etcd as the cluster runs it: TLS, and only clients with a certificate of the CA."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from k8sfromscratch.core.mvcc.types import PutOp, RangeOp
from k8sfromscratch.process import pki
from k8sfromscratch.process.tls import TlsFiles, client_context
from k8sfromscratch.storage.interface import Unavailable
from k8sfromscratch.storage.remote import RemoteStorage
from k8sfromscratch.testing.etcd_process import ETCDCTL, WITHIN_S
from k8sfromscratch.testing.ports import free_port


@dataclass(frozen=True)
class Certificates:
    ca: str
    server: TlsFiles
    client: TlsFiles
    stranger: TlsFiles
    """Of another CA."""


def authority(folder: Path, name: str) -> pki.Authority:
    key = pki.make_key()
    certificate = pki.issue(pki.Spec(name, usages=(), ca=True), key, None, datetime.now(UTC))
    pki.write(folder / f"{name}.crt", pki.certificate_pem(certificate), 0o644)
    return pki.Authority(certificate, key)


def issued(folder: Path, name: str, signer: pki.Authority, usage: pki.Usage) -> TlsFiles:
    key = pki.make_key()
    spec = pki.Spec(name, dns_names=("localhost",), ip_addresses=("127.0.0.1",), usages=(usage,))
    pki.write(folder / f"{name}.crt", pki.certificate_pem(pki.issue(spec, key, signer, datetime.now(UTC))), 0o644)
    pki.write(folder / f"{name}.key", pki.key_pem(key), 0o600)
    return TlsFiles(str(folder / f"{name}.crt"), str(folder / f"{name}.key"))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("pki")
    ca, other = authority(folder, "ca"), authority(folder, "other")
    return Certificates(
        str(folder / "ca.crt"), issued(folder, "server", ca, "server"), issued(folder, "client", ca, "client"), issued(folder, "stranger", other, "client")
    )


@pytest.fixture(scope="module")
def endpoint(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    url = f"https://127.0.0.1:{free_port()}"
    argv = [sys.executable, "-m", "k8sfromscratch.components.etcd", f"--data-dir={tmp_path_factory.mktemp('etcd')}", f"--listen-client-urls={url}"]
    argv.append("--listen-peer-urls=http://127.0.0.1:0")
    argv += [f"--cert-file={certificates.server.cert_file}", f"--key-file={certificates.server.key_file}"]
    process = subprocess.Popen([*argv, f"--trusted-ca-file={certificates.ca}", "--client-cert-auth"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "serving clients" in line:
            break
    yield url
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0 and "Traceback" not in errors, errors


def test_a_client_with_a_certificate_stores(endpoint: str, certificates: Certificates) -> None:
    async def main() -> None:
        storage = RemoteStorage([endpoint], client_context(ca_file=certificates.ca, files=certificates.client, alpn=("h2",)))
        await storage.txn([], [PutOp(b"a", b"1")])
        assert [kv.value for kv in (await storage.range(RangeOp(b"a"))).kvs] == [b"1"]
        await storage.close()

    asyncio.run(main())


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_others_are_not_served(who: str, endpoint: str, certificates: Certificates) -> None:
    async def main() -> None:
        files = certificates.stranger if who == "stranger" else None
        storage = RemoteStorage([endpoint], client_context(ca_file=certificates.ca, files=files, alpn=("h2",)))
        with pytest.raises(Unavailable):
            await storage.range(RangeOp(b"a"))
        await storage.close()

    asyncio.run(main())


def test_a_server_of_another_ca_is_not_believed(endpoint: str, certificates: Certificates) -> None:
    async def main() -> None:
        other = str(Path(certificates.ca).with_name("other.crt"))
        storage = RemoteStorage([endpoint], client_context(ca_file=other, files=certificates.client, alpn=("h2",)))
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await storage.range(RangeOp(b"a"))
        await storage.close()

    asyncio.run(main())


def test_etcdctl_with_a_certificate(endpoint: str, certificates: Certificates, needs: Callable[..., None]) -> None:
    needs("etcdctl")
    argv = [*ETCDCTL, "--endpoints", endpoint, "--cacert", certificates.ca, "--cert", certificates.client.cert_file, "--key", certificates.client.key_file]
    env = {**os.environ, "ETCDCTL_API": "3"}
    assert subprocess.run([*argv, "put", "k", "v"], env=env, capture_output=True, text=True, timeout=WITHIN_S).stdout == "OK\n"
    assert subprocess.run([*argv, "get", "k"], env=env, capture_output=True, text=True, timeout=WITHIN_S).stdout == "k\nv\n"


def test_a_certificates_name_is_a_user(endpoint: str, certificates: Certificates, needs: Callable[..., None]) -> None:
    """The last test of this file: it leaves authentication on."""
    needs("etcdctl")
    common = [*ETCDCTL, "--endpoints", endpoint, "--cacert", certificates.ca, "--cert", certificates.client.cert_file, "--key", certificates.client.key_file]
    env = {**os.environ, "ETCDCTL_API": "3"}

    def ctl(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*common, *argv], env=env, capture_output=True, text=True, timeout=WITHIN_S)

    for step in (
        ["user", "add", "root", "--no-password"],
        ["user", "add", "client", "--no-password"],
        ["user", "grant-role", "root", "root"],
        ["role", "add", "own"],
        ["role", "grant-permission", "own", "readwrite", "mine"],
        ["user", "grant-role", "client", "own"],
        ["auth", "enable"],
    ):
        assert ctl(*step).returncode == 0, step
    assert ctl("put", "mine", "x").stdout == "OK\n"
    assert "permission denied" in ctl("put", "yours", "x").stderr
    assert "permission denied" in ctl("auth", "disable").stderr
