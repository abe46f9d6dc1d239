"""Who may approve and sign which requests, and what nobody may ask for."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from k8sfromscratch.api.errors import Forbidden
from k8sfromscratch.api.registry import CERTIFICATE_SIGNING_REQUESTS
from k8sfromscratch.core.admission.certificates import CertificateApproval, CertificateRequester, CertificateSigning, CertificateSubjectRestriction
from k8sfromscratch.core.admission.types import AdmissionRequest
from k8sfromscratch.core.authz.types import Decision, UserInfo
from k8sfromscratch.process import pki
from k8sfromscratch.testing.views import MemoryView

SIGNER = "example.com/mine"
USER = UserInfo("jane", ("dev", "system:authenticated"), "u-1", {"scopes": ("a", "b")})


def holding(*rights):
    """Of whoever holds these (verb, signer)."""
    return lambda a, view: Decision((a.verb, a.name) in rights and (a.group, a.resource) == ("certificates.k8s.io", "signers"))


def csr(signer=SIGNER, request="", status=None, **spec):
    return {"metadata": {"name": "r"}, "spec": {"signerName": signer, "request": request, **spec}, "status": status or {}}


def asked(obj, old=None, subresource=""):
    return AdmissionRequest("CREATE" if old is None else "UPDATE", CERTIFICATE_SIGNING_REQUESTS, subresource, "", "r", USER, obj, old)


@pytest.mark.parametrize("right", [SIGNER, "example.com/*"])
def test_whoever_may_approve_for_the_signer_or_its_domain(right):
    CertificateApproval(holding(("approve", right))).validate(asked(csr(), csr(), "approval"), MemoryView())
    for plugin in (CertificateApproval(holding(("sign", right))), CertificateApproval(holding(("approve", "other.com/*")))):
        with pytest.raises(Forbidden, match=r'user not permitted to approve requests with signerName "example\.com/mine"'):
            plugin.validate(asked(csr(), csr(), "approval"), MemoryView())
        plugin.validate(asked(csr(), csr()), MemoryView())


def test_whoever_may_sign_writes_the_certificate_and_nobody_else():
    signed = csr(status={"certificate": "Y2VydA=="})
    CertificateSigning(holding(("sign", SIGNER))).validate(asked(signed, csr(), "status"), MemoryView())
    plugin = CertificateSigning(holding())
    plugin.validate(asked(signed, signed, "status"), MemoryView())
    for status in ({"certificate": "Y2VydA=="}, {"conditions": [{"type": "Failed"}]}):
        with pytest.raises(Forbidden, match=r'user not permitted to sign requests with signerName "example\.com/mine"'):
            plugin.validate(asked(csr(status=status), csr(), "status"), MemoryView())


def body(organization):
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organization), x509.NameAttribute(x509.NameOID.COMMON_NAME, "n")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(pki.make_key(), hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def test_masters_are_not_made_by_requests():
    client = "kubernetes.io/kube-apiserver-client"
    plugin = CertificateSubjectRestriction()
    plugin.validate(asked(csr(client, body("dev"))), MemoryView())
    plugin.validate(asked(csr(SIGNER, body("system:masters"))), MemoryView())
    with pytest.raises(Forbidden, match=r"use of kubernetes\.io/kube-apiserver-client signer with system:masters group is not allowed"):
        plugin.validate(asked(csr(client, body("system:masters"))), MemoryView())
    for nonsense in ("", "bm90aGluZw==", "%%%"):
        with pytest.raises(Forbidden, match="failed to parse CSR"):
            plugin.validate(asked(csr(client, nonsense)), MemoryView())


def test_the_server_says_who_asked():
    obj = csr(username="root", groups=["system:masters"])
    CertificateRequester().mutate(asked(obj), MemoryView())
    told = {"username": "jane", "uid": "u-1", "groups": ["dev", "system:authenticated"], "extra": {"scopes": ["a", "b"]}}
    assert obj["spec"] == {"signerName": SIGNER, "request": "", **told}
    changed = csr(username="root")
    CertificateRequester().mutate(asked(changed, obj), MemoryView())
    assert changed["spec"] == obj["spec"]
