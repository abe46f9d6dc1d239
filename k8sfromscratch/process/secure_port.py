"""The secure port of a component that serves nothing else: /healthz for everyone, /metrics for clients of a CA, over TLS.

Without a certificate one is made on the spot: those who ask are probes, which do not verify.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry

from k8sfromscratch.api.errors import Unauthorized
from k8sfromscratch.process import pki
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.health import health_handler
from k8sfromscratch.process.http import Handler, Request, Response, Upgrade
from k8sfromscratch.process.server import Server, serve
from k8sfromscratch.process.service import StartError
from k8sfromscratch.process.tls import TlsError, TlsFiles

CLOSE_GRACE_S = 1.0


class SecurePortFlags(Protocol):
    """The flags that every such component has; a secure_port of 0 turns it off."""

    @property
    def bind_address(self) -> str: ...
    @property
    def secure_port(self) -> int: ...
    @property
    def tls_cert_file(self) -> str: ...
    @property
    def tls_private_key_file(self) -> str: ...
    @property
    def client_ca_file(self) -> str: ...


@asynccontextmanager
async def secure_port(name: str, flags: SecurePortFlags, env: Env, registry: CollectorRegistry) -> AsyncIterator[Server | None]:
    """Raises StartError."""
    if not flags.secure_port:
        yield None
        return
    handler = health_handler(registry, {"ping": lambda: None})
    if flags.client_ca_file:
        handler = _metrics_for_clients(handler)
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as directory:
        files = TlsFiles(flags.tls_cert_file, flags.tls_private_key_file) if flags.tls_cert_file else _self_signed(name, Path(directory), env)
        try:
            server = await serve(handler, host=flags.bind_address, port=flags.secure_port, tls=files, client_ca_file=flags.client_ca_file)
        except TlsError as error:
            raise StartError(str(error)) from error
        try:
            yield server
        finally:
            await server.close(CLOSE_GRACE_S)


def _metrics_for_clients(inner: Handler) -> Handler:
    async def handle(request: Request) -> Response | Upgrade:
        if request.path == "/metrics" and request.peer_certificate is None:
            raise Unauthorized("Unauthorized")
        return await inner(request)

    return handle


def _self_signed(name: str, directory: Path, env: Env) -> TlsFiles:
    key = pki.make_key()
    certificate = pki.issue(pki.Spec(name, dns_names=("localhost",), usages=("server",)), key, None, env.clock.now())
    files = TlsFiles(str(directory / "tls.crt"), str(directory / "tls.key"))
    pki.write(Path(files.cert_file), pki.certificate_pem(certificate), pki.CERT_MODE)
    pki.write(Path(files.key_file), pki.key_pem(key), pki.KEY_MODE)
    return files
