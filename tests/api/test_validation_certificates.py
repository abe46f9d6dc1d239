"""Signing requests: what is no request, and what nobody could sign."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from k8sfromscratch.api.registry import CERTIFICATE_SIGNING_REQUESTS
from k8sfromscratch.api.validation import validate_create

NO_REQUEST = "PEM block type must be CERTIFICATE REQUEST"


@pytest.fixture(scope="module")
def signed():
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "zoe")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def faults(pem, **spec):
    body = {"request": base64.b64encode(pem).decode(), "signerName": "example.com/mine", "usages": ["client auth"], **spec}
    return [(cause.field, cause.message) for cause in validate_create(CERTIFICATE_SIGNING_REQUESTS, {"metadata": {"name": "r"}, "spec": body})]


def test_a_signed_request_is_one(signed):
    assert faults(signed) == []
    assert faults(signed, signerName="kubernetes.io/kube-apiserver-client", usages=["digital signature", "key encipherment", "client auth"]) == []


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_request_is_told(pem):
    ((field, message),) = faults(pem)
    assert field == "spec.request" and message.endswith(NO_REQUEST)


def test_a_request_that_cannot_be_read_or_was_changed_after_it_was_signed(signed):
    torn = b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
    der = bytearray(base64.b64decode(b"".join(signed.splitlines()[1:-1])))
    der[der.index(b"zoe")] = ord("j")
    changed = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(bytes(der)) + b"-----END CERTIFICATE REQUEST-----\n"
    for pem in (torn, changed):
        assert [field for field, _ in faults(pem)] == ["spec.request"]


@pytest.mark.parametrize(
    ("spec", "field", "said"),
    [
        ({"signerName": "x"}, "spec.signerName", "must be a fully qualified domain and path of the form 'example.com/signer-name'"),
        ({"signerName": "com/mine"}, "spec.signerName", "should be a domain with at least two segments separated by dots"),
        ({"signerName": "a_b.com/mine"}, "spec.signerName", 'validating label "a_b": a lowercase RFC 1123 label'),
        ({"signerName": ""}, "spec.signerName", "signerName must be provided"),
        ({"usages": []}, "spec.usages", "usages must be provided"),
        ({"usages": ["client auth", "flying"]}, "spec.usages[1]", 'Unsupported value: "flying"'),
        ({"usages": ["client auth", "client auth"]}, "spec.usages[1]", "Duplicate value"),
        ({"expirationSeconds": 599}, "spec.expirationSeconds", "may not specify a duration less than 600 seconds"),
    ],
)
def test_what_nobody_could_sign(signed, spec, field, said):
    ((found, message),) = faults(signed, **spec)
    assert found == field and said in message
