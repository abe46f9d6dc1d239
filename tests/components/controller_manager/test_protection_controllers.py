"""Budgets, claims in use and signing requests, through the real apiserver."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from k8sfromscratch.api.errors import Forbidden, TooManyRequests
from k8sfromscratch.api.registry import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLE_BINDINGS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    PERSISTENT_VOLUME_CLAIMS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    RESOURCE_QUOTAS,
    VOLUME_ATTRIBUTES_CLASSES,
)
from k8sfromscratch.components.controller_manager.options import Options
from k8sfromscratch.components.controller_manager.signer import Signer
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process import pki


def test_a_drain_takes_only_as_many_pods_as_the_budget_lets_go(play, make_workload):
    async def story(cluster):
        await cluster.apply(DEPLOYMENTS, "web", make_workload(3))
        await cluster.apply(POD_DISRUPTION_BUDGETS, "web", {"selector": {"matchLabels": {"app": "web"}}, "maxUnavailable": 1})
        pods = await cluster.until(lambda: ready(cluster, 3))
        status = await cluster.until(lambda: allowed(cluster, 1))
        assert (status["expectedPods"], status["desiredHealthy"], status["currentHealthy"]) == (3, 2, 3)
        first, second, _ = (pod["metadata"]["name"] for pod in pods)
        answers = await asyncio.gather(evict(cluster, first), evict(cluster, second), return_exceptions=True)
        (refused,) = [answer for answer in answers if answer is not None]
        assert isinstance(refused, TooManyRequests)
        assert "disruption budget" in str(refused)
        # Until the replacement is ready.
        status = await cluster.until(lambda: allowed(cluster, 1))
        assert status["currentHealthy"] == 3

    async def ready(cluster, count):
        pods = await cluster.ready_pods()
        return pods if len(pods) == count else None

    async def allowed(cluster, count):
        status = (await cluster.get(POD_DISRUPTION_BUDGETS, "web")).get("status", {})
        return status if status.get("disruptionsAllowed") == count and len(await cluster.ready_pods()) == 3 else None

    async def evict(cluster, name):
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
        await cluster.client.create(PODS, body, name=name, subresource="eviction")

    play(story)


def test_a_claim_in_use_goes_with_the_pod_that_uses_it(play):
    async def story(cluster):
        await cluster.apply(PERSISTENT_VOLUME_CLAIMS, "data", {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        await cluster.apply(PODS, "web", {"containers": [{"name": "c", "image": "i"}], "volumes": [volume], "nodeName": "n1-1"})
        await cluster.client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await asyncio.sleep(30)
        claim = await cluster.get(PERSISTENT_VOLUME_CLAIMS, "data")
        assert claim["metadata"]["deletionTimestamp"]
        assert claim["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        await cluster.client.delete(PODS, "web", "default", grace_period_s=0)
        await cluster.until(lambda: gone(cluster, PERSISTENT_VOLUME_CLAIMS, "data"))

    play(story)


def test_an_attributes_class_in_use_goes_with_the_last_claim_that_wants_it(play):
    async def story(cluster):
        await cluster.apply(VOLUME_ATTRIBUTES_CLASSES, "gold", driverName="example.com/d", parameters={"iops": "9"})
        wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeAttributesClassName": "gold"}
        await cluster.apply(PERSISTENT_VOLUME_CLAIMS, "data", wanted)
        await cluster.client.delete(VOLUME_ATTRIBUTES_CLASSES, "gold")
        await asyncio.sleep(30)
        assert (await cluster.get(VOLUME_ATTRIBUTES_CLASSES, "gold"))["metadata"]["deletionTimestamp"]
        await cluster.client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await cluster.until(lambda: gone(cluster, VOLUME_ATTRIBUTES_CLASSES, "gold"))

    play(story)


async def gone(cluster, resource, name):
    return await cluster.get(resource, name) is None


# Certificates.


def csr(name, signer, key, common_name, organizations=(), usages=("digital signature", "key encipherment", "client auth")):
    attributes = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, text) for text in organizations]
    subject = x509.Name([*attributes, x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    pem = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    spec = {"signerName": f"kubernetes.io/{signer}", "request": base64.b64encode(pem).decode(), "usages": list(usages), "username": "a-lie"}
    return {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def authority(tmp_path):
    """Its Options, and the certificate."""
    key = pki.make_key()
    # The virtual clock starts in some year: valid whichever it is.
    spec = pki.Spec("ca", usages=(), ca=True, validity=timedelta(days=36500))
    certificate = pki.issue(spec, key, None, datetime(2000, 1, 1, tzinfo=UTC))
    pki.write(tmp_path / "ca.crt", pki.certificate_pem(certificate), pki.CERT_MODE)
    pki.write(tmp_path / "ca.key", pki.key_pem(key), pki.KEY_MODE)
    return Options(signer=Signer(str(tmp_path / "ca.crt"), str(tmp_path / "ca.key"))), certificate


async def conditions(cluster, name):
    request = await cluster.get(CERTIFICATE_SIGNING_REQUESTS, name)
    return {c["type"]: c for c in request.get("status", {}).get("conditions", ())}


async def certificate_of(cluster, name):
    text = (await cluster.get(CERTIFICATE_SIGNING_REQUESTS, name)).get("status", {}).get("certificate")
    return x509.load_pem_x509_certificate(base64.b64decode(text)) if text else None


def test_an_approved_request_becomes_a_certificate(play, authority):
    options, ca = authority

    async def story(cluster):
        key = pki.make_key()
        await cluster.client.create(CERTIFICATE_SIGNING_REQUESTS, csr("jane", "kube-apiserver-client", key, "jane", ["dev"]))
        request = await cluster.get(CERTIFICATE_SIGNING_REQUESTS, "jane")
        assert request["spec"]["username"] == "system:apiserver", "the server says who asked"
        request["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "KubectlApprove"}]}
        await cluster.client.update(CERTIFICATE_SIGNING_REQUESTS, request, subresource="approval")
        issued = await cluster.until(lambda: certificate_of(cluster, "jane"))
        issued.verify_directly_issued_by(ca)
        assert issued.public_key() == key.public_key()
        assert issued.subject.rfc4514_string() == "CN=jane,O=dev"
        usage = issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]

    play(story, options=options)


def test_a_name_of_a_kind_that_nobody_checked_is_not_signed(authority):
    options, _ = authority
    smuggled = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x04root")
    names = [x509.DNSName("web.default.svc"), smuggled, x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = options.signer.sign(builder.sign(pki.make_key(), hashes.SHA256()), frozenset({"client auth"}), 3600.0, datetime(2020, 1, 1, tzinfo=UTC))
    signed = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(signed) == [x509.DNSName("web.default.svc")]


def test_a_request_that_no_signer_may_sign_fails_with_the_reason(play, authority):
    async def story(cluster):
        body = csr("web", "kube-apiserver-client", pki.make_key(), "web", usages=["server auth"])
        await cluster.client.create(CERTIFICATE_SIGNING_REQUESTS, body)
        request = await cluster.get(CERTIFICATE_SIGNING_REQUESTS, "web")
        request["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "KubectlApprove"}]}
        await cluster.client.update(CERTIFICATE_SIGNING_REQUESTS, request, subresource="approval")
        found = await cluster.until(lambda: failed(cluster))
        assert found["reason"] == "SignerValidationFailure"

    async def failed(cluster):
        return (await conditions(cluster, "web")).get("Failed")

    play(story, options=authority[0])


def test_a_kubelets_request_is_approved_by_itself_once_a_role_says_so(play, authority):
    async def story(cluster):
        body = csr("node", "kube-apiserver-client-kubelet", pki.make_key(), "system:node:n1", ["system:nodes"])
        node = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
        await cluster.acting_as(node).create(CERTIFICATE_SIGNING_REQUESTS, body)
        await asyncio.sleep(30)
        assert not await conditions(cluster, "node")
        role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
        subject = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        await cluster.apply(CLUSTER_ROLE_BINDINGS, "rotate", roleRef=reference, subjects=[subject])
        await cluster.until(lambda: certificate_of(cluster, "node"), timeout_s=120)
        assert (await conditions(cluster, "node"))["Approved"]["reason"] == "AutoApproved"

    play(story, options=authority[0])


def test_nobody_asks_for_membership_in_the_masters(play):
    async def story(cluster):
        body = csr("root", "kube-apiserver-client", pki.make_key(), "root", ["system:masters"])
        with pytest.raises(Forbidden, match="signer with system:masters group is not allowed"):
            await cluster.client.create(CERTIFICATE_SIGNING_REQUESTS, body)

    play(story)


# Quotas.


def test_what_goes_is_free_again_and_what_was_there_before_counts(play):
    async def story(cluster):
        for name in ("a", "b"):
            await cluster.apply(PODS, name, {"containers": [{"name": "c", "image": "i"}]})
        await cluster.apply(RESOURCE_QUOTAS, "q", {"hard": {"pods": "2", "count/configmaps": "9", "count/widgets.example.com": "1"}})
        await cluster.until(lambda: used(cluster, pods="2"))
        with pytest.raises(Forbidden, match="exceeded quota: q"):
            await cluster.apply(PODS, "c", {"containers": [{"name": "c", "image": "i"}]})
        await cluster.client.delete(PODS, "a", "default", grace_period_s=0)
        found = await cluster.until(lambda: used(cluster, pods="1"))
        assert found["count/widgets.example.com"] == "0"
        await cluster.apply(PODS, "c", {"containers": [{"name": "c", "image": "i"}]})
        # Kinds that are not watched are counted from time to time.
        before = int(found["count/configmaps"])
        await cluster.client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}})
        await cluster.until(lambda: used(cluster, **{"count/configmaps": str(before + 1)}))
        await cluster.client.delete(CONFIG_MAPS, "m", "default")
        await cluster.until(lambda: used(cluster, **{"count/configmaps": str(before)}))

    async def used(cluster, **wanted):
        found = (await cluster.get(RESOURCE_QUOTAS, "q")).get("status", {}).get("used", {})
        return found if wanted.items() <= found.items() else None

    play(story)
