"""A person's way to a certificate: a request, an approval, and kubectl with what was issued."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from k8sfromscratch.process import pki
from k8sfromscratch.testing.kfs_process import kfs_up


@pytest.fixture
def tools(needs: Callable[..., None]) -> None:
    needs("kubectl")


def test_an_approved_request_opens_the_cluster(tools: None, tmp_path: Path) -> None:
    key = pki.make_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "dev"), x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": pem, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"], "expirationSeconds": 3600}
    body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "jane"}, "spec": spec}
    (tmp_path / "csr.json").write_text(json.dumps(body))
    pki.write(tmp_path / "jane.key", pki.key_pem(key), pki.KEY_MODE)
    with kfs_up(tmp_path) as up:
        up.run("kubectl", "create", "-f", str(tmp_path / "csr.json"))
        assert "Pending" in up.run("kubectl", "get", "csr", "jane")
        up.run("kubectl", "certificate", "approve", "jane")
        up.run("kubectl", "wait", "csr/jane", "--for=jsonpath={.status.certificate}", "--timeout=30s")
        assert "Approved,Issued" in up.run("kubectl", "get", "csr", "jane")
        issued = up.run("kubectl", "get", "csr", "jane", "-o", "jsonpath={.status.certificate}")
        (tmp_path / "jane.crt").write_bytes(base64.b64decode(issued))
        up.run("kubectl", "config", "set-credentials", "jane", f"--client-certificate={tmp_path / 'jane.crt'}", f"--client-key={tmp_path / 'jane.key'}")
        who = json.loads(up.run("kubectl", "--user=jane", "auth", "whoami", "-o", "json"))["status"]["userInfo"]
        assert (who["username"], who["groups"]) == ("jane", ["dev", "system:authenticated"])
