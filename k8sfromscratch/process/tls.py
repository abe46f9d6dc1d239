"""TLS contexts: one for a server that may ask clients for certificates, one for a client."""

import ssl
from dataclasses import dataclass
from pathlib import Path


class TlsError(Exception):
    """A certificate or key cannot be used; the message names the file."""


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
    """Also renews what a running server shows: new connections get the new certificate."""
    for path in (files.cert_file, files.key_file):
        if not Path(path).is_file():
            raise TlsError(f"there is no file {path}")
    try:
        context.load_cert_chain(files.cert_file, files.key_file)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"certificate {files.cert_file} and key {files.key_file} cannot be used: {error}") from error


def _load_ca(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"CA certificate {path} cannot be read: {error}") from error
