"""Which signing requests are approved without a person, what each built-in signer signs, and which requests are cleared away.

signer (kubernetes.io/…)        subject                         alternative names    usages
kube-apiserver-client           any                             any                  client auth and the two of its key
kube-apiserver-client-kubelet   O=system:nodes, CN=system:node  none                 client auth and the two of its key
kubelet-serving                 O=system:nodes, CN=system:node  DNS or IP, no other  server auth and the two of its key
legacy-unknown                  any                             any                  any

A request that a signer must not sign gets the condition Failed.  Making the certificate needs a key and is the shell's part.
Source: pkg/controller/certificates, pkg/apis/certificates/helpers.go.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from k8sfromscratch.api.registry import CERTIFICATE_SIGNING_REQUESTS
from k8sfromscratch.core.reconcile import objects, times
from k8sfromscratch.core.reconcile.plan import NOTHING, Delete, Object, Plan, Update

CLIENT, KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING, LEGACY = "kubernetes.io/kubelet-serving", "kubernetes.io/legacy-unknown"

NODES_GROUP, NODE_PREFIX = "system:nodes", "system:node:"
_KEY_USAGES = frozenset({"digital signature", "key encipherment"})

CLEANUP_PERIOD_S = 3600.0
_DECIDED_S = 3600.0
_PENDING_S = 24 * 3600.0


class BadRequest(ValueError):
    """Why a signer cannot sign it, as the condition says it."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What the requester must be allowed to create for the request to be approved by itself."""

    subresource: str
    message: str


SELF_NODE_CLIENT = Permission("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
NODE_CLIENT = Permission("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")


# -- state


def approved(request: Object) -> bool:
    return _has(request, "Approved") and not _has(request, "Denied")


def decided(request: Object) -> bool:
    return _has(request, "Approved") or _has(request, "Denied")


def to_be_signed(request: Object) -> bool:
    return approved(request) and not _has(request, "Failed") and not objects.status(request).get("certificate") and not objects.deleting(request)


def _has(request: Object, kind: str) -> bool:
    return objects.condition(request, kind) is not None


# -- approving


def permissions(request: Object) -> tuple[Permission, ...]:
    """Any of which is enough; none: a person must decide."""
    spec = objects.spec(request)
    if decided(request) or objects.status(request).get("certificate") or spec.get("signerName") != KUBELET_CLIENT:
        return ()
    try:
        parsed = read(request)
        _check_kubelet_client(parsed, frozenset(spec.get("usages") or ()))
    except BadRequest:
        return ()
    return (SELF_NODE_CLIENT, NODE_CLIENT) if _common_name(parsed) == spec.get("username") else (NODE_CLIENT,)


def plan_approval(request: Object, permission: Permission, now: datetime) -> Plan:
    condition = _condition("Approved", "AutoApproved", permission.message, now)
    return Plan((_with_status(request, "approval", conditions=[*(objects.status(request).get("conditions") or ()), condition]),))


# -- signing


def check(request: Object) -> x509.CertificateSigningRequest:
    """What its signer is to sign.  Raises BadRequest."""
    spec = objects.spec(request)
    parsed = read(request)
    judge = _SIGNERS.get(spec.get("signerName", ""))
    if judge is None:
        raise BadRequest(f"no signer of that name is here: {spec.get('signerName')}")
    judge(parsed, frozenset(spec.get("usages") or ()))
    return parsed


def is_ours(request: Object) -> bool:
    return objects.spec(request).get("signerName") in _SIGNERS


def plan_issued(request: Object, pem: bytes) -> Plan:
    return Plan((_with_status(request, "status", certificate=base64.b64encode(pem).decode()),))


def plan_failed(request: Object, problem: str, now: datetime) -> Plan:
    condition = _condition("Failed", "SignerValidationFailure", problem, now)
    return Plan((_with_status(request, "status", conditions=[*(objects.status(request).get("conditions") or ()), condition]),))


def validity_s(request: Object, duration_s: float) -> float:
    """What was asked for, at least ten minutes and at most what the signer gives."""
    asked = objects.spec(request).get("expirationSeconds")
    return duration_s if asked is None else min(max(float(asked), 600.0), duration_s)


def read(request: Object) -> x509.CertificateSigningRequest:
    """Raises BadRequest."""
    try:
        parsed = x509.load_pem_x509_csr(base64.b64decode(objects.spec(request).get("request") or ""))
        valid = parsed.is_signature_valid
    except (ValueError, binascii.Error) as error:
        raise BadRequest(f"unable to parse csr: {error}") from error
    if not valid:
        raise BadRequest("the request is not signed by its own key")
    return parsed


def _check_client(parsed: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    if "client auth" not in usages or not usages <= _KEY_USAGES | {"client auth"}:
        raise BadRequest("usages did not match [client auth digital signature key encipherment]")


def _check_kubelet_client(parsed: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    _check_node_subject(parsed)
    if _names(parsed, x509.DNSName) or _names(parsed, x509.IPAddress) or _names(parsed, x509.RFC822Name) or _names(parsed, x509.UniformResourceIdentifier):
        raise BadRequest("subjectAltNames are not allowed")
    _check_usages(usages, "client auth")


def _check_kubelet_serving(parsed: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    if not (_names(parsed, x509.DNSName) or _names(parsed, x509.IPAddress)):
        raise BadRequest("DNS or IP subjectAltName is required")
    if _names(parsed, x509.RFC822Name):
        raise BadRequest("Email subjectAltNames are not allowed")
    if _names(parsed, x509.UniformResourceIdentifier):
        raise BadRequest("URI subjectAltNames are not allowed")
    _check_node_subject(parsed)
    _check_usages(usages, "server auth")


def _check_node_subject(parsed: x509.CertificateSigningRequest) -> None:
    groups = [name.value for name in parsed.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]
    if groups != [NODES_GROUP]:
        raise BadRequest("subject organization is not system:nodes")
    if not _common_name(parsed).startswith(NODE_PREFIX):
        raise BadRequest("subject common name does not begin with system:node:")


def _check_usages(usages: frozenset[str], purpose: str) -> None:
    if usages not in (_KEY_USAGES | {purpose}, frozenset({"digital signature", purpose})):
        raise BadRequest(f"usages did not match [digital signature key encipherment {purpose}]")


def _check_legacy(parsed: x509.CertificateSigningRequest, usages: frozenset[str]) -> None:
    """Anything goes, as it always did."""


_SIGNERS: Mapping[str, Callable[[x509.CertificateSigningRequest, frozenset[str]], None]] = {
    CLIENT: _check_client,
    KUBELET_CLIENT: _check_kubelet_client,
    KUBELET_SERVING: _check_kubelet_serving,
    LEGACY: _check_legacy,
}


def _common_name(parsed: x509.CertificateSigningRequest) -> str:
    """Of several the last, which is the one that the API server takes for the user: to look at another would sign for whom nobody judged."""
    names = parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[-1].value) if names else ""


def _names(parsed: x509.CertificateSigningRequest, kind: type[x509.GeneralName]) -> list[x509.GeneralName]:
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name for name in names if isinstance(name, kind)]


# -- cleaning


def plan_cleaning(request: Object | None, now: datetime) -> Plan:
    """An hour after the decision, a day without one, or when what was issued is no longer valid."""
    if request is None or objects.deleting(request):
        return NOTHING
    if not _outdated(request, now):
        return Plan(requeue_after_s=CLEANUP_PERIOD_S)
    return Plan((Delete(CERTIFICATE_SIGNING_REQUESTS, None, objects.name(request), objects.uid(request)),))


def _outdated(request: Object, now: datetime) -> bool:
    for kind in ("Approved", "Denied", "Failed"):
        condition = objects.condition(request, kind)
        if condition is None:
            continue
        if kind == "Approved" and not objects.status(request).get("certificate"):
            continue
        since = condition.get("lastUpdateTime") or condition.get("lastTransitionTime") or objects.created_at(request)
        if times.parse_or(since, now) + timedelta(seconds=_DECIDED_S) < now:
            return True
    if not decided(request) and times.parse_or(objects.created_at(request), now) + timedelta(seconds=_PENDING_S) < now:
        return True
    return _expired(objects.status(request).get("certificate"), now)


def _expired(certificate: str | None, now: datetime) -> bool:
    if not certificate:
        return False
    try:
        return x509.load_pem_x509_certificate(base64.b64decode(certificate)).not_valid_after_utc < now
    except (ValueError, binascii.Error):
        return False


def _condition(kind: str, reason: str, message: str, now: datetime) -> Object:
    when = times.text(now)
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastUpdateTime": when, "lastTransitionTime": when}


def _with_status(request: Object, subresource: str, **parts: object) -> Update:
    return Update(CERTIFICATE_SIGNING_REQUESTS, objects.replaced(request, status={**objects.status(request), **parts}), subresource=subresource)
