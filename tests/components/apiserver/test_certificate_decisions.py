"""What becomes of a signing request is decided through its `approval`, once."""

import base64

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from k8sfromscratch.process import pki

PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
APPROVED = {"type": "Approved", "status": "True", "reason": "Test"}
DENIED = {**APPROVED, "type": "Denied"}


async def made(api, signer="example.com/mine"):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")])
    pem = x509.CertificateSigningRequestBuilder().subject_name(name).sign(pki.make_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    spec = {"signerName": signer, "request": base64.b64encode(pem).decode(), "usages": ["client auth"]}
    return await api.json("POST", PATH, {"metadata": {"name": "r"}, "spec": spec, "status": {"conditions": [APPROVED]}}, status=201)


async def put(api, part, old, new, **more):
    return await api.json("PUT", f"{PATH}/r/{part}", {**old, "status": new}, **more)


def test_the_right_to_sign_is_no_right_to_approve(with_api):
    async def test(api):
        one = await made(api)
        assert "status" not in one or not one["status"].get("conditions")
        refused = await put(api, "status", one, {"conditions": [APPROVED]}, status=422)
        assert [cause["message"] for cause in refused["details"]["causes"]] == ['Forbidden: updates may not add a condition of type "Approved"']
        approved = await put(api, "approval", one, {"conditions": [APPROVED]}, status=200)
        changed = {**approved["status"]["conditions"][0], "message": "by somebody else"}
        await put(api, "status", approved, {"conditions": [changed]}, status=422)
        failed = {"type": "Failed", "status": "True"}
        signed = await put(api, "status", approved, {"conditions": [*approved["status"]["conditions"], failed], "certificate": "Y2VydA=="})
        assert signed["kind"] == "CertificateSigningRequest", signed
        await put(api, "status", signed, {**signed["status"], "certificate": "b3RoZXI="}, status=422)

    with_api(test)


def test_a_decision_is_not_taken_back_nor_made_twice(with_api):
    async def test(api):
        one = await made(api)
        denied = await put(api, "approval", one, {"conditions": [DENIED]}, status=200)
        for conditions in ([], [APPROVED], [*denied["status"]["conditions"], APPROVED]):
            await put(api, "approval", denied, {"conditions": conditions}, status=422)
        await put(api, "approval", denied, {"conditions": [{**DENIED, "status": "False"}]}, status=422)

    with_api(test)
