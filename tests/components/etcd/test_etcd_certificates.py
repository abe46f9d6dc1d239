"""Certificates that are renewed while etcd runs: in use for the next connection, on either side, and open ones go on."""

import asyncio
import logging
import signal
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509

from k8sfromscratch.components.etcd.certificates import calling, serving
from k8sfromscratch.components.etcd.peer_link import connect
from k8sfromscratch.core.mvcc.types import PutOp, RangeOp
from k8sfromscratch.process import pki
from k8sfromscratch.process.tls import TlsFiles, client_context
from k8sfromscratch.storage.remote import RemoteStorage
from k8sfromscratch.testing.ports import free_port


class Issuer:
    """An authority that gives out certificates for both sides of a connection, to the same files each time."""

    def __init__(self, folder: Path) -> None:
        key = pki.make_key()
        self._authority = pki.Authority(pki.issue(pki.Spec("ca", usages=(), ca=True), key, None, datetime.now(UTC)), key)
        self.ca, self.files = str(folder / "ca.crt"), TlsFiles(str(folder / "member.crt"), str(folder / "member.key"))
        pki.write(folder / "ca.crt", pki.certificate_pem(self._authority.certificate), 0o644)

    def renew(self) -> int:
        """Its serial number."""
        key = pki.make_key()
        spec = pki.Spec("member", dns_names=("localhost",), ip_addresses=("127.0.0.1",), usages=("server", "client"))
        certificate = pki.issue(spec, key, self._authority, datetime.now(UTC))
        pki.write(Path(self.files.cert_file), pki.certificate_pem(certificate), 0o644)
        pki.write(Path(self.files.key_file), pki.key_pem(key), 0o600)
        return certificate.serial_number


def shown(port: int) -> int:
    """The serial number of the certificate that a server shows."""
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode()).serial_number


def test_clients_and_members_are_shown_a_renewed_certificate_and_open_connections_go_on(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    first, client, peer = issuer.renew(), free_port(), free_port()
    cert, key = issuer.files.cert_file, issuer.files.key_file
    argv = [sys.executable, "-m", "k8sfromscratch.components.etcd", f"--data-dir={tmp_path / 'data'}"]
    argv += [f"--listen-client-urls=https://127.0.0.1:{client}", f"--cert-file={cert}", f"--key-file={key}"]
    argv += [f"--listen-peer-urls=https://127.0.0.1:{peer}", f"--peer-cert-file={cert}", f"--peer-key-file={key}"]
    argv += [f"--trusted-ca-file={issuer.ca}", "--client-cert-auth", f"--peer-trusted-ca-file={issuer.ca}", "--peer-client-cert-auth"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any("serving clients" in line for line in process.stderr)

    async def use() -> None:
        storage = RemoteStorage([f"https://127.0.0.1:{client}"], client_context(ca_file=issuer.ca, files=issuer.files, alpn=("h2",)))
        await storage.txn([], [PutOp(b"a", b"1")])
        assert shown(client) == shown(peer) == first
        second = issuer.renew()
        assert shown(client) == shown(peer) == second != first
        assert (await storage.range(RangeOp(b"a"))).count == 1
        Path(key).write_text("no key")
        assert shown(client) == shown(peer) == second
        third = issuer.renew()
        assert shown(client) == shown(peer) == third
        again = RemoteStorage([f"https://127.0.0.1:{client}"], client_context(ca_file=issuer.ca, files=issuer.files, alpn=("h2",)))
        assert (await again.range(RangeOp(b"a"))).count == (await storage.range(RangeOp(b"a"))).count == 1
        await again.close()
        await storage.close()

    try:
        asyncio.run(use())
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in errors, errors
    assert errors.count("the new certificate of") == 4 and errors.count("the certificate that was in use stays") == 2, "each port, once each"


def test_a_member_shows_others_its_renewed_certificate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    issuer, seen = Issuer(tmp_path), list[str]()
    serials = [issuer.renew()]

    class Listener(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.append(transport.get_extra_info("ssl_object").getpeercert()["serialNumber"])
            cast("asyncio.Transport", transport).close()

    async def main() -> None:
        tls = calling(issuer.files, ca_file=issuer.ca)
        server_side = serving(issuer.files, client_ca_file=issuer.ca, require_client=True)
        server = await asyncio.get_running_loop().create_server(Listener, "127.0.0.1", 0, ssl=server_side)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        async def meet() -> None:
            link = await connect(url, tls())
            await link.lost
            link.close()

        await meet()
        serials.append(issuer.renew())
        await meet()
        Path(issuer.files.cert_file).unlink()
        await meet()
        server.close()
        await server.wait_closed()

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert [int(serial, 16) for serial in seen] == [serials[0], serials[1], serials[1]]
    assert "there is no file" in caplog.text


def test_without_certificates_there_is_no_tls(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    context = calling(None, ca_file=issuer.ca)()
    assert context is not None and len(context.get_ca_certs()) == 1
