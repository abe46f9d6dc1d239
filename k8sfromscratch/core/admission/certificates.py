"""CertificateApproval, CertificateSigning, CertificateSubjectRestriction: who may decide about signing requests, and what none may ask for.

The right is asked for as `approve` or `sign` on `signers.certificates.k8s.io`, by the signer's name or by its domain and `/*`.
Source: plugin/pkg/admission/certificates; the requester's identity is written by upstream's storage strategy.
"""

import base64
import binascii
from collections.abc import Callable
from typing import cast

from cryptography import x509

from k8sfromscratch.api import errors
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.registry import CERTIFICATE_SIGNING_REQUESTS
from k8sfromscratch.core.admission.types import AdmissionRequest, Object, View
from k8sfromscratch.core.authz.chain import MASTERS_GROUP
from k8sfromscratch.core.authz.types import Attributes, Decision, UserInfo
from k8sfromscratch.core.authz.view import CachedView

Authorize = Callable[[Attributes, CachedView], Decision]

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_GROUP = CERTIFICATE_SIGNING_REQUESTS.group
_LASTING = ("Approved", "Denied", "Failed")
_REQUESTER = ("username", "uid", "groups", "extra")


class CertificateApproval:
    name = "CertificateApproval"

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        return

    def validate(self, request: AdmissionRequest, view: View) -> None:
        if request.resource != CERTIFICATE_SIGNING_REQUESTS or request.subresource != "approval" or request.old is None:
            return
        signer = _signer(request.old)
        if not may(self._authorize, request.user, "approve", signer, view):
            raise request.refused(f'user not permitted to approve requests with signerName "{signer}"')


class CertificateSigning:
    name = "CertificateSigning"

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        return

    def validate(self, request: AdmissionRequest, view: View) -> None:
        if request.resource != CERTIFICATE_SIGNING_REQUESTS or request.subresource != "status" or request.old is None or request.obj is None:
            return
        before, after = request.old.get("status") or {}, request.obj.get("status") or {}
        if all(before.get(part) == after.get(part) for part in ("certificate", "conditions")):
            return
        signer = _signer(request.old)
        if not may(self._authorize, request.user, "sign", signer, view):
            raise request.refused(f'user not permitted to sign requests with signerName "{signer}"')


class CertificateSubjectRestriction:
    """Membership in system:masters cannot be revoked, so no client certificate that says so is ever asked for through the API."""

    name = "CertificateSubjectRestriction"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        return

    def validate(self, request: AdmissionRequest, view: View) -> None:
        if not request.creates(CERTIFICATE_SIGNING_REQUESTS):
            return
        assert request.obj is not None
        if _signer(request.obj) != CLIENT_SIGNER:
            return
        try:
            parsed = x509.load_pem_x509_csr(base64.b64decode((request.obj.get("spec") or {}).get("request") or ""))
        except (ValueError, binascii.Error) as error:
            raise request.refused(f"failed to parse CSR: {error}") from error
        if any(name.value == MASTERS_GROUP for name in parsed.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)):
            raise request.refused(f"use of {CLIENT_SIGNER} signer with {MASTERS_GROUP} group is not allowed")


class CertificateRequester:
    """Who asked is written by the server and never changes, and what was decided is not taken back: approvers and signers rest on it.
    Decisions are made through `approval` alone, so that the right to sign is none to approve.  Always on."""

    name = "CertificateRequester"

    def mutate(self, request: AdmissionRequest, view: View) -> None:
        if request.resource != CERTIFICATE_SIGNING_REQUESTS or request.obj is None:
            return
        if request.operation == "CREATE":
            user = request.user
            extra = {key: list(values) for key, values in user.extra.items()}
            told = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}
            kept = {key: value for key, value in (request.obj.get("spec") or {}).items() if key not in _REQUESTER}
            request.obj["spec"] = kept | {key: value for key, value in told.items() if value}
        elif request.old is not None and "spec" in request.old:
            request.obj["spec"] = request.old["spec"]

    def validate(self, request: AdmissionRequest, view: View) -> None:
        if request.resource != CERTIFICATE_SIGNING_REQUESTS or request.operation != "UPDATE" or request.obj is None or request.old is None:
            return
        causes = _faults_of_decision(request.obj.get("status") or {}, request.old.get("status") or {}, approving=request.subresource == "approval")
        if causes:
            raise errors.invalid(CERTIFICATE_SIGNING_REQUESTS.kind, request.name, _GROUP, causes)


def _faults_of_decision(new: Object, old: Object, *, approving: bool) -> list[Cause]:
    causes: list[Cause] = []
    for kind in _LASTING:
        before, after = ([one for one in status.get("conditions") or () if one.get("type") == kind] for status in (old, new))
        if len(after) < len(before):
            causes.append(_forbidden(f'updates may not remove a condition of type "{kind}"'))
        elif len(after) > len(before) and kind != "Failed" and not approving:
            causes.append(_forbidden(f'updates may not add a condition of type "{kind}"'))
        elif after != before and kind != "Failed" and not approving:
            causes.append(_forbidden(f'updates may not change a condition of type "{kind}"'))
        if after != before and any(one.get("status") != "True" for one in after):
            why = f'Invalid value: "{kind}": the status of a condition of this type must be "True"'
            causes.append(Cause("FieldValueInvalid", why, "status.conditions"))
    kinds = {one.get("type") for one in new.get("conditions") or ()}
    if approving and {"Approved", "Denied"} <= kinds:
        causes.append(Cause("FieldValueInvalid", "Invalid value: Approved and Denied conditions are mutually exclusive", "status.conditions"))
    if old.get("certificate") and new.get("certificate") != old["certificate"]:
        causes.append(Cause("FieldValueForbidden", "Forbidden: updates may not modify existing certificate content", "status.certificate"))
    return causes


def _forbidden(why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", "status.conditions")


def may(authorize: Authorize, user: UserInfo, verb: str, signer: str, view: View) -> bool:
    domain = signer.partition("/")[0]
    names = (signer, f"{domain}/*")
    cached = cast(CachedView, view)
    return any(authorize(Attributes(user, verb, group=_GROUP, version="*", resource="signers", name=name), cached).allowed for name in names)


def _signer(obj: Object) -> str:
    return str((obj.get("spec") or {}).get("signerName") or "")
