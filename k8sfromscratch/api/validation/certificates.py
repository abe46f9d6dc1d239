"""CertificateSigningRequests: is there a request in it, by whom is it to be signed, and for what?

Source: pkg/apis/certificates/validation.
"""

import base64
import binascii
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.validation.field import Object, duplicates, immutable, invalid, not_supported, required, too_long

USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature",
    "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc",
    "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
)  # fmt: skip
DOMAIN_BYTES_MAX = 253
EXPIRATION_S_MIN = 600
_PEM_TYPE = re.compile(rb"-----BEGIN ([^-\n]+)-----")


def certificate_signing_request(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = _request(spec.get("request") or "", "spec.request")
    usages = spec.get("usages") or []
    if not usages:
        causes.append(required("spec.usages", "usages must be provided"))
    causes += [not_supported(f"spec.usages[{index}]", usage, USAGES) for index, usage in enumerate(usages) if usage not in USAGES]
    causes += duplicates((f"spec.usages[{index}]", usage) for index, usage in enumerate(usages))
    causes += _signer_name(spec.get("signerName") or "", "spec.signerName")
    if spec.get("expirationSeconds", EXPIRATION_S_MIN) < EXPIRATION_S_MIN:
        causes.append(invalid("spec.expirationSeconds", spec["expirationSeconds"], "may not specify a duration less than 600 seconds (10 minutes)"))
    return causes


def certificate_signing_request_update(new: Object, old: Object) -> list[Cause]:
    return immutable("spec", new.get("spec"), old.get("spec"))


def _request(text: str, path: str) -> list[Cause]:
    try:
        pem = base64.b64decode(text)
    except binascii.Error:
        pem = b""
    found = _PEM_TYPE.search(pem)
    if found is None or found.group(1) != b"CERTIFICATE REQUEST":
        return [invalid(path, text, "PEM block type must be CERTIFICATE REQUEST")]
    try:
        if not x509.load_pem_x509_csr(pem).is_signature_valid:
            return [invalid(path, text, "x509: the request's signature is not its key's")]
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        return [invalid(path, text, f"x509: {error}")]
    return []


def _signer_name(name: str, path: str) -> list[Cause]:
    if not name:
        return [required(path, "signerName must be provided")]
    if name.count("/") != 1:
        return [invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")]
    domain, _, rest = name.partition("/")
    causes = [too_long(path, DOMAIN_BYTES_MAX)] if len(domain.encode()) > DOMAIN_BYTES_MAX else []
    labels = domain.split(".")
    causes += [invalid(path, domain, f'validating label "{label}": {why}') for label in labels for why in names.dns_label(label)]
    if len(labels) < 2:
        causes.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    return causes + [invalid(path, rest, f'validating label "{label}": {why}') for label in rest.split(".") for why in names.dns_subdomain(label)]
