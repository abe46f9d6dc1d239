"""A TLS server on loopback with a CA of its own: what stands in for webhooks and extension apiservers in tests.

async with tls_server(handler, folder, names=("hook.default.svc",)) as server:
    server.url, server.port, server.ca_bundle
"""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from k8sfromscratch.process import pki
from k8sfromscratch.process.http import Handler
from k8sfromscratch.process.server import serve
from k8sfromscratch.process.tls import TlsFiles

_GRACE_S = 0.1


@dataclass(frozen=True, slots=True)
class TlsServer:
    """`ca_bundle` as objects have it: base64 of PEM."""

    host: str
    port: int
    ca_bundle: str

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"


@asynccontextmanager
async def tls_server(
    handler: Handler, folder: Path, *, names: Sequence[str] = ("localhost",), host: str = "127.0.0.1", client_ca_file: str = ""
) -> AsyncIterator[TlsServer]:
    """`folder` is the server's own, where its certificate goes."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    authority_key, key = pki.make_key(), pki.make_key()
    authority = pki.issue(pki.Spec("test-ca", usages=(), ca=True), authority_key, None, now)
    spec = pki.Spec("test-server", dns_names=tuple(names), ip_addresses=(host,), usages=("server",))
    certificate = pki.issue(spec, key, pki.Authority(authority, authority_key), now)
    files = TlsFiles(str(folder / "tls.crt"), str(folder / "tls.key"))
    Path(files.cert_file).write_bytes(pki.certificate_pem(certificate))
    Path(files.key_file).write_bytes(pki.key_pem(key))
    server = await serve(handler, host=host, port=0, tls=files, client_ca_file=client_ca_file)
    try:
        yield TlsServer(host, server.port, base64.b64encode(pki.certificate_pem(authority)).decode())
    finally:
        await server.close(_GRACE_S)
