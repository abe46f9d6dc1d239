"""TLS contexts: one for a server that may ask clients for certificates, one for a client; and certificates that are renewed while we run.

A context is changed in place: connections that are open keep what they agreed on, new ones get the new certificate.  A CA that is
trusted is read once: who changes it starts the process again.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from k8sfromscratch.process.errors import TlsError as TlsError

RELOAD_EVERY_S = 10.0
"""How often files are looked at: renewal happens long before a certificate ends, so this only has to feel prompt."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files."""

    cert_file: str
    key_file: str


def server_context(files: TlsFiles, *, client_ca_file: str = "", require_client: bool = False, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """With a client CA, a client's certificate is asked for and, if sent, must be of that CA; without one the client is anonymous."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_pair(context, files)
    if client_ca_file:
        _load_ca(context, client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    context.set_alpn_protocols(list(alpn))
    return context


def client_context(
    *, ca_file: str = "", ca_data: bytes = b"", files: TlsFiles | None = None, insecure: bool = False, check_hostname: bool = True, alpn: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """Without a CA of its own it trusts the system's."""
    context = ssl.create_default_context() if not (ca_file or ca_data) else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        _load_ca(context, ca_file)
    if ca_data:
        try:
            context.load_verify_locations(cadata=ca_data.decode())
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise TlsError(f"the CA certificate given inline cannot be read: {error}") from error
    if files is not None:
        load_pair(context, files)
    if insecure or not check_hostname:
        context.check_hostname = False
    if insecure:
        context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def load_pair(context: ssl.SSLContext, files: TlsFiles) -> None:
    """On failure the context keeps what it had."""
    for path in (files.cert_file, files.key_file):
        if not Path(path).is_file():
            raise TlsError(f"there is no file {path}")
    try:
        # A key that does not fit would leave the context with a new certificate and an old key: tried on another first.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.cert_file, files.key_file)
        context.load_cert_chain(files.cert_file, files.key_file)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"certificate {files.cert_file} and key {files.key_file} cannot be used: {error}") from error


class CertificateReload:
    """Keeps a context's certificate that of its files."""

    def __init__(self, context: ssl.SSLContext, files: TlsFiles) -> None:
        self._context, self.files = context, files
        self._loaded = _stamp(files)

    def look(self) -> bool:
        """Whether there was a new one, which new connections get from now on.  Raises TlsError, once for each state of the files."""
        found = _stamp(self.files)
        if found == self._loaded:
            return False
        self._loaded = found
        load_pair(self._context, self.files)
        return True


def _stamp(files: TlsFiles) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when a file is written or replaced; None for one that is not there."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in (files.cert_file, files.key_file):
        try:
            found = Path(path).stat()
            stamps.append((found.st_mtime_ns, found.st_ino, found.st_size))
        except OSError:
            stamps.append(None)
    return tuple(stamps)


def _load_ca(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"CA certificate {path} cannot be read: {error}") from error
