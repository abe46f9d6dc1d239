"""Brings a directory in line with a PkiSpec: makes what is missing, renews what no longer serves, leaves the rest byte for byte.

An authority is renewed with its old key, so that what it signed stays good.  An authority's certificate without its key is fine
(an outside CA) until something must be signed.  A certificate is renewed with a new key.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from k8sfromscratch.components.pki.config import AuthoritySpec, CertificateSpec, KeyPairSpec, PkiSpec
from k8sfromscratch.process import pki


@dataclass(frozen=True, slots=True)
class Change:
    """`path` is relative to the directory."""

    path: str
    reason: str


def ensure(directory: Path, spec: PkiSpec, now: datetime, *, dry_run: bool = False) -> list[Change]:
    """What was made, in order; with `dry_run`, what would be.  Raises PkiError.  Two runs at once wait for each other."""
    work = _Ensure(directory, now, dry_run)
    with _locked(directory, dry_run):
        for authority in spec.authorities:
            work.authority(authority)
        for certificate in spec.certificates:
            work.certificate(certificate)
        for pair in spec.key_pairs:
            work.key_pair(pair)
    return work.changes


@dataclass(slots=True)
class _Ensure:
    directory: Path
    now: datetime
    dry_run: bool
    changes: list[Change] = field(default_factory=list)
    _authorities: dict[str, tuple[x509.Certificate, pki.PrivateKey | None]] = field(default_factory=dict)

    def authority(self, entry: AuthoritySpec) -> None:
        wanted = pki.Spec(
            entry.common_name, usages=(), ca=True, validity=timedelta(days=entry.validity_days), renew_before=timedelta(days=entry.renew_before_days)
        )
        certificate, key = self._read(entry.name)
        if certificate is not None:
            reason = pki.needs_renewal(certificate, self.now, wanted, key=key)
            if reason is None:
                self._authorities[entry.name] = (certificate, key)
                return
            if key is None:
                raise pki.PkiError(f"{entry.name}.crt must be renewed ({reason}), but its key {entry.name}.key is not here")
        else:
            reason = "missing"
        if key is None:
            key = pki.make_key(entry.algorithm)
            self._write(f"{entry.name}.key", pki.key_pem(key), pki.KEY_MODE, "missing")
        certificate = pki.issue(wanted, key, None, self.now)
        self._write(f"{entry.name}.crt", pki.certificate_pem(certificate), pki.CERT_MODE, reason)
        self._authorities[entry.name] = (certificate, key)

    def certificate(self, entry: CertificateSpec) -> None:
        wanted = pki.Spec(
            entry.common_name,
            entry.organizations,
            entry.dns_names,
            entry.ip_addresses,
            entry.usages,
            validity=timedelta(days=entry.validity_days),
            renew_before=timedelta(days=entry.renew_before_days),
        )
        issuer, issuer_key = self._authorities[entry.authority]
        certificate, key = self._read(entry.name)
        reason: str | None = "missing"
        if certificate is not None:
            reason = pki.needs_renewal(certificate, self.now, wanted, key=key, issuer=issuer) if key is not None else "its key is missing"
        if reason is None:
            return
        if issuer_key is None:
            raise pki.PkiError(f"{entry.name}.crt must be made ({reason}), but the key of its authority, {entry.authority}.key, is not here")
        key = pki.make_key(entry.algorithm)
        certificate = pki.issue(wanted, key, pki.Authority(issuer, issuer_key), self.now)
        # The key first: if only one of the two gets written, they do not match, and the next run makes both again.
        self._write(f"{entry.name}.key", pki.key_pem(key), pki.KEY_MODE, reason)
        self._write(f"{entry.name}.crt", pki.certificate_pem(certificate), pki.CERT_MODE, reason)

    def key_pair(self, entry: KeyPairSpec) -> None:
        key = pki.read_key(self.directory / f"{entry.name}.key")
        if key is None:
            key = pki.make_key(entry.algorithm)
            self._write(f"{entry.name}.key", pki.key_pem(key), pki.KEY_MODE, "missing")
        public = self.directory / f"{entry.name}.pub"
        wanted = pki.public_key_pem(key)
        if not public.exists():
            self._write(f"{entry.name}.pub", wanted, pki.CERT_MODE, "missing")
        elif public.read_bytes() != wanted:
            self._write(f"{entry.name}.pub", wanted, pki.CERT_MODE, "of another private key")

    def _read(self, name: str) -> tuple[x509.Certificate | None, pki.PrivateKey | None]:
        return pki.read_certificate(self.directory / f"{name}.crt"), pki.read_key(self.directory / f"{name}.key")

    def _write(self, relative: str, data: bytes, mode: int, reason: str) -> None:
        if not self.dry_run:
            pki.write(self.directory / relative, data, mode)
        self.changes.append(Change(relative, reason))


@contextmanager
def _locked(directory: Path, dry_run: bool) -> Iterator[None]:
    if dry_run and not directory.exists():
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
