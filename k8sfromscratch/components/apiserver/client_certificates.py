"""Who a TLS client certificate speaks for: its common name is the user, its organizations are the groups.

The TLS layer has checked the certificate against all CAs that the server trusts.  Where some of these are for the front proxy only
(--requestheader-client-ca-file), which of them signed it decides what it is good for.  A connection may outlive its certificate, so its end
is checked on every request.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from k8sfromscratch.core.authz.types import UserInfo

CERTIFICATES_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Certified:
    """`user` is None where the certificate is the front proxy's only, and names no user of ours."""

    common_name: str
    user: UserInfo | None
    front_proxy: bool
    expires: float


class ClientCertificates:
    """`client_cas` and `proxy_cas`: PEM certificates of --client-ca-file and --requestheader-client-ca-file."""

    def __init__(self, client_cas: Sequence[x509.Certificate] = (), proxy_cas: Sequence[x509.Certificate] = ()) -> None:
        self.client_cas, self.proxy_cas = tuple(client_cas), tuple(proxy_cas)
        self._known: dict[bytes, Certified] = {}

    def certified(self, der: bytes, now: datetime) -> Certified | None:
        """None where it has expired."""
        known = self._known.get(der)
        if known is None:
            known = self._read(der)
            if len(self._known) >= CERTIFICATES_KEPT:
                del self._known[next(iter(self._known))]
            self._known[der] = known
        return known if now.timestamp() <= known.expires else None

    def _read(self, der: bytes) -> Certified:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        common_name = str(names[-1].value) if names else ""
        front_proxy = _signed_by(certificate, self.proxy_cas)
        groups = tuple(str(part.value) for part in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
        credential = f"X509SHA256={hashlib.sha256(der).hexdigest()}"
        user = None
        # Where the proxy has authorities of its own, TLS trusts what an intermediate of theirs signed too: only the clients' own make users then.
        if common_name and (not self.proxy_cas or _signed_by(certificate, self.client_cas)):
            user = UserInfo(common_name, (*groups, "system:authenticated"), extra={"authentication.kubernetes.io/credential-id": (credential,)})
        return Certified(common_name, user, front_proxy, certificate.not_valid_after_utc.timestamp())


def _signed_by(certificate: x509.Certificate, authorities: Sequence[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False
