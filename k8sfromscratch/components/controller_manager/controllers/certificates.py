"""Signing requests: approved without a person where that is safe, signed once approved, cleared away afterwards."""

from collections.abc import Iterable
from datetime import datetime

from k8sfromscratch.api.errors import InternalError
from k8sfromscratch.api.registry import CERTIFICATE_SIGNING_REQUESTS, SUBJECT_ACCESS_REVIEWS
from k8sfromscratch.components.controller_manager.controller import Context, Controller, Trigger, own_key
from k8sfromscratch.core.reconcile import certificates, objects
from k8sfromscratch.core.reconcile.certificates import Permission
from k8sfromscratch.core.reconcile.plan import NOTHING, Object, Plan
from k8sfromscratch.process.pki import PkiError

_ASK_AGAIN_S = 60.0
"""A kubelet's request that nobody may approve yet: roles may still be bound."""


def csr_approving_controller(context: Context) -> Controller:
    requests = context.informer(CERTIFICATE_SIGNING_REQUESTS)

    async def plan(key: str, now: datetime) -> Plan:
        request = requests.store.get(key)
        wanted = certificates.permissions(request) if request is not None else ()
        for permission in wanted:
            if request is not None and await _permitted(context, request, permission):
                return certificates.plan_approval(request, permission, now)
        return Plan(requeue_after_s=_ASK_AGAIN_S) if wanted else NOTHING

    return Controller("certificatesigningrequest-approving-controller", plan, (Trigger(requests, own_key),))


async def _permitted(context: Context, request: Object, permission: Permission) -> bool:
    spec = objects.spec(request)
    attributes = {"group": CERTIFICATE_SIGNING_REQUESTS.group, "resource": CERTIFICATE_SIGNING_REQUESTS.plural, "verb": "create", "version": "*"}
    who = {"user": spec.get("username"), "uid": spec.get("uid"), "groups": spec.get("groups"), "extra": spec.get("extra")}
    review: Object = {
        "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
        "kind": SUBJECT_ACCESS_REVIEWS.kind,
        "metadata": {},
        "spec": {**{part: value for part, value in who.items() if value}, "resourceAttributes": {**attributes, "subresource": permission.subresource}},
    }
    return bool(objects.status(await context.client.create(SUBJECT_ACCESS_REVIEWS, review)).get("allowed"))


def csr_signing_controller(context: Context) -> Controller:
    requests, signer = context.informer(CERTIFICATE_SIGNING_REQUESTS), context.options.signer

    async def plan(key: str, now: datetime) -> Plan:
        request = requests.store.get(key)
        if request is None or signer is None or not certificates.is_ours(request) or not certificates.to_be_signed(request):
            return NOTHING
        try:
            parsed = certificates.check(request)
        except certificates.BadRequest as error:
            return certificates.plan_failed(request, str(error), now)
        usages = frozenset(objects.spec(request).get("usages") or ())
        try:
            return certificates.plan_issued(request, signer.sign(parsed, usages, certificates.validity_s(request, signer.duration_s), now))
        except PkiError as error:
            raise InternalError(f"cannot sign: {error}") from error

    return Controller("certificatesigningrequest-signing-controller", plan, (Trigger(requests, own_key),))


def csr_cleaner_controller(context: Context) -> Controller:
    requests = context.informer(CERTIFICATE_SIGNING_REQUESTS)

    def new_keys(old: Object | None, new: Object | None) -> Iterable[str]:
        """Each request is looked at once when it appears; then its own plan asks for the next time."""
        return own_key(old, new) if old is None else ()

    async def plan(key: str, now: datetime) -> Plan:
        return certificates.plan_cleaning(requests.store.get(key), now)

    return Controller("certificatesigningrequest-cleaner-controller", plan, (Trigger(requests, new_keys),))
