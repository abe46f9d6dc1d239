"""The cluster's certificate authority at work for signing requests: a checked request in, a certificate out.

Which requests it is given is `core.reconcile.certificates`' matter.  The files are read for each certificate, so that a renewed authority
counts at once (upstream watches them).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from k8sfromscratch.process import pki

BACKDATED = timedelta(minutes=5)
"""A machine whose clock is a little behind must accept it too."""

_EXTENDED = {
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}

_NAMES = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress)
"""The kinds of names that are signed: those whose meaning the check of a request knows.  As upstream, others are left out."""

_OF_KEY = frozenset({"digital signature", "signing", "content commitment", "key encipherment", "data encipherment", "key agreement"})


@dataclass(frozen=True, slots=True)
class Signer:
    """`duration_s`: the longest life of what it signs; nothing outlives the authority itself."""

    cert_file: str
    key_file: str
    duration_s: float = 365 * 24 * 3600.0

    def authority(self) -> pki.Authority:
        """Raises PkiError."""
        certificate, key = pki.read_certificate(Path(self.cert_file)), pki.read_key(Path(self.key_file))
        if certificate is None or key is None:
            raise pki.PkiError(f"there is no file {self.cert_file if certificate is None else self.key_file}")
        return pki.Authority(certificate, key)

    def sign(self, request: x509.CertificateSigningRequest, usages: frozenset[str], validity_s: float, now: datetime) -> bytes:
        """PEM.  Raises PkiError."""
        authority = self.authority()
        until = min(now + timedelta(seconds=validity_s), authority.certificate.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(authority.certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        )
        if usages & _OF_KEY:
            # One that allows nothing would forbid everything.
            builder = builder.add_extension(_key_usage(usages), critical=True)
        extended = list(dict.fromkeys(_EXTENDED[usage] for usage in sorted(usages) if usage in _EXTENDED))
        if extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        try:
            names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            names = None
        if names is not None and (kept := [name for name in names.value if isinstance(name, _NAMES)]):
            builder = builder.add_extension(x509.SubjectAlternativeName(kept), critical=names.critical)
        return pki.certificate_pem(builder.sign(authority.key, hashes.SHA256()))


def _key_usage(usages: frozenset[str]) -> x509.KeyUsage:
    agreement = "key agreement" in usages
    return x509.KeyUsage(
        digital_signature=bool(usages & {"digital signature", "signing"}),
        content_commitment="content commitment" in usages,
        key_encipherment="key encipherment" in usages,
        data_encipherment="data encipherment" in usages,
        key_agreement=agreement,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=agreement and "encipher only" in usages,
        decipher_only=agreement and "decipher only" in usages,
    )
