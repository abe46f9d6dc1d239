"""Signing requests: who approves them, what a signer takes, when they are cleared away."""

import base64
from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from k8sfromscratch.core.reconcile import certificates
from k8sfromscratch.core.reconcile.plan import Delete
from k8sfromscratch.process import pki

KEY = pki.make_key()
CLIENT_USAGES = ["digital signature", "key encipherment", "client auth"]
SERVER_USAGES = ["digital signature", "key encipherment", "server auth"]


def encoded(common_name, organizations=("system:nodes",), names=()):
    attributes = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, text) for text in organizations]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([*attributes, x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    return base64.b64encode(builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)).decode()


def request(make, signer, body, usages=CLIENT_USAGES, username="system:node:n1", conditions=(), **status):
    spec = {"signerName": f"kubernetes.io/{signer}", "request": body, "usages": list(usages), "username": username}
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    return {**kind, "metadata": make.meta("r", None), "spec": spec, "status": {"conditions": list(conditions), **status}}


def condition(kind, at):
    return {"type": kind, "status": "True", "lastUpdateTime": at}


@pytest.mark.parametrize(
    ("common_name", "username", "signer", "wanted"),
    [
        ("system:node:n1", "system:node:n1", "kube-apiserver-client-kubelet", ["selfnodeclient", "nodeclient"]),
        ("system:node:n1", "system:bootstrap:abcdef", "kube-apiserver-client-kubelet", ["nodeclient"]),
        ("system:node:n1", "system:node:n1", "kubelet-serving", []),
        ("someone", "someone", "kube-apiserver-client-kubelet", []),
    ],
)
def test_only_a_kubelets_own_client_certificate_is_approved_by_itself(make, common_name, username, signer, wanted):
    one = request(make, signer, encoded(common_name), username=username)
    assert [permission.subresource for permission in certificates.permissions(one)] == wanted
    one["status"]["conditions"] = [condition("Denied", make.at(0))]
    assert certificates.permissions(one) == ()


def test_of_several_common_names_the_one_counts_that_the_certificate_will_speak_for(make):
    """A node that may renew its own certificate must not get one for the controller manager by putting its own name in front."""
    names = [
        (x509.NameOID.ORGANIZATION_NAME, "system:nodes"),
        (x509.NameOID.COMMON_NAME, "system:node:n1"),
        (x509.NameOID.COMMON_NAME, "system:kube-scheduler"),
    ]
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in names])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(KEY, hashes.SHA256())
    body = base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
    one = request(make, "kube-apiserver-client-kubelet", body)
    assert certificates.permissions(one) == ()
    with pytest.raises(certificates.BadRequest, match="common name does not begin"):
        certificates.check(one)


DNS, IP, MAIL = x509.DNSName("n1"), x509.IPAddress(ip_address("10.0.0.1")), x509.RFC822Name("a@example.com")


@pytest.mark.parametrize(
    ("signer", "body", "usages", "problem"),
    [
        ("kube-apiserver-client", encoded("jane", ("dev",)), CLIENT_USAGES, None),
        ("kube-apiserver-client", encoded("jane"), ["client auth"], None),
        ("kube-apiserver-client", encoded("jane"), SERVER_USAGES, "usages did not match"),
        ("kube-apiserver-client", encoded("jane"), ["digital signature"], "usages did not match"),
        ("kube-apiserver-client-kubelet", encoded("system:node:n1"), ["digital signature", "client auth"], None),
        ("kube-apiserver-client-kubelet", encoded("system:node:n1", names=[DNS]), CLIENT_USAGES, "subjectAltNames are not allowed"),
        ("kube-apiserver-client-kubelet", encoded("n1"), CLIENT_USAGES, "does not begin with system:node:"),
        ("kube-apiserver-client-kubelet", encoded("system:node:n1", ("system:nodes", "x")), CLIENT_USAGES, "organization is not system:nodes"),
        ("kubelet-serving", encoded("system:node:n1", names=[DNS, IP]), SERVER_USAGES, None),
        ("kubelet-serving", encoded("system:node:n1"), SERVER_USAGES, "DNS or IP subjectAltName is required"),
        ("kubelet-serving", encoded("system:node:n1", names=[DNS, MAIL]), SERVER_USAGES, "Email subjectAltNames are not allowed"),
        ("kubelet-serving", encoded("system:node:n1", names=[DNS]), CLIENT_USAGES, "usages did not match"),
        ("legacy-unknown", encoded("anything", (), [MAIL]), ["code signing"], None),
        ("legacy-unknown", base64.b64encode(b"no request").decode(), [], "unable to parse csr"),
    ],
)
def test_what_each_signer_takes(make, signer, body, usages, problem):
    one = request(make, signer, body, usages)
    assert certificates.is_ours(one)
    if problem is None:
        assert certificates.check(one).public_key() == KEY.public_key()
        return
    with pytest.raises(certificates.BadRequest, match=problem):
        certificates.check(one)


def test_signed_is_what_is_approved_and_nothing_else(make):
    def signable(*conditions, **status):
        return certificates.to_be_signed(request(make, "legacy-unknown", "", conditions=[condition(kind, make.at(0)) for kind in conditions], **status))

    assert signable("Approved")
    assert not signable()
    assert not signable("Approved", "Denied")
    assert not signable("Approved", "Failed")
    assert not signable("Approved", certificate="…")


@pytest.mark.parametrize(("asked", "given"), [(None, 3600.0), (60, 600.0), (1200, 1200.0), (7200, 3600.0)])
def test_a_certificate_lives_as_long_as_was_asked_for_within_bounds(make, asked, given):
    one = request(make, "legacy-unknown", "")
    one["spec"]["expirationSeconds"] = asked
    assert certificates.validity_s(one, 3600.0) == given


def test_requests_are_cleared_away_when_nobody_needs_them_any_more(make):
    ca_key = pki.make_key()
    short = pki.issue(pki.Spec("x", validity=timedelta(minutes=30)), ca_key, None, make.now)
    issued = base64.b64encode(pki.certificate_pem(short)).decode()

    def gone(after_s, *conditions, **status):
        one = request(make, "legacy-unknown", "", conditions=[condition(kind, make.at(0)) for kind in conditions], **status)
        one["metadata"]["creationTimestamp"] = make.at(0)
        plan = certificates.plan_cleaning(one, make.later(after_s))
        assert plan.steps or plan.requeue_after_s
        return any(isinstance(step, Delete) for step in plan.steps)

    assert not gone(3000, "Denied")
    assert gone(3700, "Denied")
    assert gone(3700, "Approved", certificate="bm90aGluZw==")
    assert not gone(3700, "Approved"), "approved and not signed yet: somebody's signer may be slow"
    assert gone(2000, "Approved", certificate=issued), "expired"
    assert not gone(80_000)
    assert gone(90_000)
