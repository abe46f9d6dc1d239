"""The TLS contexts of a member: as a server of clients, and of other members as either side.  Certificates are renewed while we run.

    a client, or a member, connects ─► its hello is read ─► have the files changed? ─► it is shown what they have now
    this member connects to another ─► have the files changed? ─► it shows what they have now

So a certificate is in use as soon as it is there, as with upstream, and open connections keep what they agreed on.  Files that cannot be used are told
in the log, once, and what was there before stays in use.  The CAs that are trusted are read once.
"""

import logging
import ssl
from collections.abc import Callable

from k8sfromscratch.components.etcd.config import EtcdFlags
from k8sfromscratch.process.tls import CertificateReload, TlsError, TlsFiles, client_context, server_context

log = logging.getLogger(__name__)

ClientTls = Callable[[], ssl.SSLContext | None]
"""The context for the next connection to another member; None where there is no TLS."""

_SERVED = ("h2", "http/1.1")


class Certificates:
    def __init__(self, flags: EtcdFlags) -> None:
        """Raises TlsError."""
        self.client_server = self.peer_server = None
        if flags.cert_file:
            files = TlsFiles(flags.cert_file, flags.key_file)
            ca = flags.trusted_ca_file if flags.client_cert_auth else ""
            self.client_server = serving(files, client_ca_file=ca, require_client=flags.client_cert_auth)
        own = TlsFiles(flags.peer_cert_file, flags.peer_key_file) if flags.peer_cert_file else None
        if own is not None:
            required = flags.peer_client_cert_auth or bool(flags.peer_cert_allowed_cn)
            ca = flags.peer_trusted_ca_file if required else ""
            self.peer_server = serving(own, client_ca_file=ca, require_client=required)
        self.peer_client: ClientTls = lambda: None
        if own is not None or flags.peer_trusted_ca_file:
            self.peer_client = calling(own, ca_file=flags.peer_trusted_ca_file)


def serving(files: TlsFiles, *, client_ca_file: str, require_client: bool) -> ssl.SSLContext:
    """Raises TlsError.

    A connection takes its certificate from the context that it was made of, and is made before anything is known of it.  So it is given another one,
    whose certificate is that of the files, when the client says hello; to give it the same one again would change nothing."""
    listening, shown = (server_context(files, client_ca_file=client_ca_file, require_client=require_client, alpn=_SERVED) for _ in range(2))
    reload = CertificateReload(shown, files)

    def hello(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        _look(reload)
        connection.context = shown

    listening.sni_callback = hello
    return listening


def calling(files: TlsFiles | None, *, ca_file: str) -> ClientTls:
    """Raises TlsError."""
    context = client_context(ca_file=ca_file, files=files, alpn=("h2",))
    reload = CertificateReload(context, files) if files is not None else None

    def current() -> ssl.SSLContext:
        if reload is not None:
            _look(reload)
        return context

    return current


def _look(reload: CertificateReload) -> None:
    try:
        if reload.look():
            log.info("the new certificate of %s is in use", reload.files.cert_file)
    except TlsError as error:
        log.error("the certificate that was in use stays: %s", error)
