"""Tokens in Secrets: what someone gets who makes a Secret of type kubernetes.io/service-account-token, for a client that cannot renew its token.

The Secret names its ServiceAccount in an annotation.  It is filled with a token that is bound to both: with either of them the token is over.  A
Secret of an account that is not there, or of an earlier one of that name, is deleted.
"""

from base64 import b64encode

from k8sfromscratch.api.registry import SECRETS
from k8sfromscratch.core.reconcile import objects
from k8sfromscratch.core.reconcile.plan import NOTHING, Delete, Object, Plan, Update

SECRET_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
TOKEN = "token"
LIFETIME_S = 1 << 32
"""The longest that can be asked for, 136 years: such a token is taken back by deleting its Secret."""


def account_of(secret: Object) -> str:
    return objects.annotations(secret).get(ACCOUNT_NAME, "")


def needs_token(secret: Object, account: Object | None) -> bool:
    return account is not None and not _is_stale(secret, account) and not (secret.get("data") or {}).get(TOKEN)


def token_request(secret: Object) -> Object:
    bound = {"apiVersion": "v1", "kind": "Secret", "name": objects.name(secret), "uid": objects.uid(secret)}
    spec = {"audiences": [], "expirationSeconds": LIFETIME_S, "boundObjectRef": bound}
    metadata = {"name": account_of(secret), "namespace": objects.namespace(secret)}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": metadata, "spec": spec}


def plan(secret: Object, account: Object | None, root_ca: str, token: str = "") -> Plan:
    """`token`: a new one, where it `needs_token`; `root_ca`: PEM, or empty where none is published."""
    if account is None or _is_stale(secret, account):
        return Plan((Delete(SECRETS, objects.namespace(secret), objects.name(secret), objects.uid(secret)),))
    filled = {"namespace": objects.namespace(secret), **({"ca.crt": root_ca} if root_ca else {}), **({TOKEN: token} if token else {})}
    data = {**(secret.get("data") or {}), **{key: b64encode(value.encode()).decode() for key, value in filled.items()}}
    annotations = {**objects.annotations(secret), ACCOUNT_UID: objects.uid(account)}
    if data == secret.get("data") and annotations == objects.annotations(secret):
        return NOTHING
    changed = objects.replaced(secret, data=data)
    changed["metadata"]["annotations"] = annotations
    return Plan((Update(SECRETS, changed),))


def _is_stale(secret: Object, account: Object) -> bool:
    uid = objects.annotations(secret).get(ACCOUNT_UID)
    return bool(uid) and uid != objects.uid(account)
