"""The cluster's own certificate authority: makes, issues and judges X.509 certificates, and keeps them in files.

A certificate is described by a `Spec`; `needs_renewal` compares what is there with what is wanted and says why it must be made
again, `issue` makes it.  Nothing here decides which certificates a cluster has: that is the caller's list (`components.pki`).

    <name>.crt   PEM certificate, mode 0644            <name>.key   PEM private key (PKCS #8), mode 0600
    <name>.pub   PEM public key, of a bare key pair (the one that signs service account tokens)

Safe under gevent: plain files and CPU work only.
"""

import ipaddress
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Usage = Literal["server", "client"]
Algorithm = Literal["ec", "rsa"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

CERT_MODE = 0o644
KEY_MODE = 0o600
RSA_BITS = 2048

_USAGE_OIDS = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
_BACKDATED = timedelta(minutes=5)
"""A machine whose clock is a little behind must accept a certificate that was just made."""


class PkiError(Exception):
    """A key or certificate cannot be read, or cannot be made from what is there.  The message names the file."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a certificate must say.  `ca` makes it an authority; `usages` are empty then.
    It is renewed once less than `renew_before` of its life is left."""

    common_name: str
    organizations: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    usages: tuple[Usage, ...] = ("client",)
    ca: bool = False
    validity: timedelta = timedelta(days=365)
    renew_before: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that can sign: its certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey


def make_key(algorithm: Algorithm = "ec") -> PrivateKey:
    """ECDSA on P-256, or RSA with 2048 bits."""
    if algorithm == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def issue(spec: Spec, key: PrivateKey, authority: Authority | None, now: datetime) -> x509.Certificate:
    """A certificate for `key`, signed by `authority`; without one it signs itself (a root CA).
    It never outlives the authority that signed it."""
    subject = _name(spec)
    until = now + spec.validity
    issuer = subject
    signer: PrivateKey = key
    if authority is not None:
        issuer, signer = authority.certificate.subject, authority.key
        until = min(until, authority.certificate.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=spec.ca, path_length=None), critical=True)
        .add_extension(_key_usage(spec, key), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if spec.usages and not spec.ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([_USAGE_OIDS[u] for u in spec.usages]), critical=False)
    names: list[x509.GeneralName] = [x509.DNSName(n) for n in spec.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(a)) for a in spec.ip_addresses]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def needs_renewal(
    certificate: x509.Certificate, now: datetime, wanted: Spec, *, key: PrivateKey | None = None, issuer: x509.Certificate | None = None
) -> str | None:
    """Why the certificate must be made again; None while it serves.  `key`: the private key beside it; `issuer`: the CA it must be signed by
    (None where it signs itself)."""
    if key is not None and certificate.public_key() != key.public_key():
        return "the private key is of another certificate"
    reason = _issuer_problem(certificate, issuer)
    if reason is not None:
        return reason
    if now < certificate.not_valid_before_utc:
        return f"not valid before {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
    if now + wanted.renew_before >= _latest_renewal(certificate, issuer, wanted):
        return f"expires at {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    if certificate.subject != _name(wanted):
        return f"the subject is {certificate.subject.rfc4514_string()}, wanted is {_name(wanted).rfc4514_string()}"
    if _is_ca(certificate) != wanted.ca:
        return "it is a CA's certificate" if not wanted.ca else "it is not a CA's certificate"
    if not wanted.ca and _usages(certificate) != set(wanted.usages):
        return f"usages are {sorted(_usages(certificate))}, wanted are {sorted(wanted.usages)}"
    have, want = _alternative_names(certificate), _wanted_names(wanted)
    if have != want:
        missing, extra = sorted(want - have), sorted(have - want)
        return "alternative names differ:" + (f" missing {', '.join(missing)}" if missing else "") + (f" no longer wanted {', '.join(extra)}" if extra else "")
    return None


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def public_key_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_certificate(path: Path) -> x509.Certificate | None:
    """None where there is no file."""
    data = _read(path)
    if data is None:
        return None
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise PkiError(f"{path} is not a PEM certificate: {error}") from error


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """A bundle, which must be there."""
    data = _read(path)
    if data is None:
        raise PkiError(f"there is no file {path}")
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except ValueError as error:
        raise PkiError(f"{path} holds no PEM certificates: {error}") from error


def read_key(path: Path) -> PrivateKey | None:
    """None where there is no file."""
    data = _read(path)
    if data is None:
        return None
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise PkiError(f"{path} is not an unencrypted PEM private key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise PkiError(f"{path}: only RSA and EC keys are supported")
    return key


def write(path: Path, data: bytes, mode: int) -> None:
    """Replaces the file as a whole or not at all; no moment with a wider mode.  Directories are made with 0755."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PkiError(f"{path} cannot be read: {error.strerror}") from error


def _name(spec: Spec) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in spec.organizations]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, spec.common_name)])


def _key_usage(spec: Spec, key: PrivateKey) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=isinstance(key, rsa.RSAPrivateKey),
        key_cert_sign=spec.ca,
        crl_sign=spec.ca,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _latest_renewal(certificate: x509.Certificate, issuer: x509.Certificate | None, wanted: Spec) -> datetime:
    """Its end; but what ends with its CA gains nothing from being made again before the CA is."""
    end = certificate.not_valid_after_utc
    if issuer is not None and end >= issuer.not_valid_after_utc:
        return end + wanted.renew_before
    return end


def _issuer_problem(certificate: x509.Certificate, issuer: x509.Certificate | None) -> str | None:
    try:
        certificate.verify_directly_issued_by(issuer or certificate)
    except (ValueError, TypeError, InvalidSignature):
        return "signed by another authority" if issuer is not None else "not signed by itself"
    return None


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _usages(certificate: x509.Certificate) -> set[str]:
    try:
        oids = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return set()
    return {name for name, oid in _USAGE_OIDS.items() if oid in oids}


def _alternative_names(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return set(names.get_values_for_type(x509.DNSName)) | {str(a) for a in names.get_values_for_type(x509.IPAddress)}


def _wanted_names(spec: Spec) -> set[str]:
    return set(spec.dns_names) | {str(ipaddress.ip_address(a)) for a in spec.ip_addresses}
