"""Service account tokens: made by TokenRequest, checked on every request that bears one.

A token is a JWT that is bound: to audiences, to a life of minutes or hours, and to the objects in its private claim

    "kubernetes.io": {"namespace": "a", "serviceaccount": {"name": "bot", "uid": …}, "pod": {"name": "web", "uid": …}, "node": {…}}

It is good as long as they exist with those uids.  The signature is checked once; whether the objects still exist every
RECHECK_S, as upstream does.  Tokens kept in Secrets are such ones too, of a long life and bound to their Secret; legacy ones, without an end and
bound to nothing but an account, are neither made nor accepted.

Source: pkg/serviceaccount, KEP-1205 (bound tokens), KEP-4193 (node binding).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from k8sfromscratch.api.registry import NODES, PODS, SECRETS, SERVICE_ACCOUNTS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.components.apiserver.token_keys import SigningKey, VerificationKey
from k8sfromscratch.core.admission.types import View
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process.clock import parse_rfc3339

Object = dict[str, Any]

RECHECK_S = 10.0
TOKENS_KEPT = 4096
"""About one a pod of a large cluster; at 1 KiB each, 4 MiB."""

_LEEWAY_S = 60.0
"""The masters' clocks differ a little; go-jose's default."""

_CLAIM = "kubernetes.io"
_WITHOUT_CLAIM_CHECKS: Any = {
    "verify_signature": True, "verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_iss": False, "verify_nbf": False, "verify_sub": False,
    "verify_jti": False,
}  # fmt: skip
"""PyJWT would read the system's clock; these are judged below, with the clock that is handed in."""


class InvalidToken(Exception):
    """One of ours, and no longer (or never) good.  The message is for the log and for TokenReview, never for the bearer."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An object that must exist with this uid for a token to be good."""

    resource: Resource
    namespace: str
    name: str
    uid: str


@dataclass(slots=True)
class _Known:
    user: UserInfo
    audiences: tuple[str, ...]
    bound: tuple[Bound, ...]
    not_before: float
    expires: float
    checked_until: float


class TokenVerifier:
    def __init__(self, issuers: Sequence[str], keys: Sequence[VerificationKey], api_audiences: Sequence[str]) -> None:
        self.issuers = tuple(issuers)
        self.api_audiences = tuple(api_audiences)
        self._keys = {key.kid: key for key in keys}
        self._known: dict[str, _Known] = {}

    @property
    def keys(self) -> tuple[VerificationKey, ...]:
        return tuple(self._keys.values())

    def authenticate(self, token: str, view: View, now: datetime, audiences: Sequence[str] = ()) -> tuple[UserInfo, tuple[str, ...]] | None:
        """The user and those of `audiences` (the API's own where empty) that the token is for.
        None: no token of ours.  Raises InvalidToken."""
        moment = now.timestamp()
        known = self._known.get(token)
        if known is None:
            known = self._verified(token)
            if known is None:
                return None
            if len(self._known) >= TOKENS_KEPT:
                del self._known[next(iter(self._known))]
            self._known[token] = known
        if moment > known.expires + _LEEWAY_S:
            del self._known[token]
            raise InvalidToken("service account token has expired")
        if moment < known.not_before - _LEEWAY_S:
            raise InvalidToken("service account token is not valid yet")
        if moment >= known.checked_until:
            for bound in known.bound:
                _check(bound, view, now)
            known.checked_until = moment + RECHECK_S
        wanted = audiences or self.api_audiences
        common = tuple(audience for audience in known.audiences if audience in wanted)
        if not common:
            raise InvalidToken(f"token audiences {list(known.audiences)} is invalid for the target audiences {list(wanted)}")
        return known.user, common

    def _verified(self, token: str) -> _Known | None:
        """The claims, once the signature is right."""
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            return None
        if claims.get("iss") not in self.issuers:
            return None
        kid = header.get("kid")
        candidates = [self._keys[kid]] if kid in self._keys else list(self._keys.values()) if kid is None else []
        for key in candidates:
            try:
                claims = jwt.decode(token, key.key, algorithms=[key.algorithm], options=_WITHOUT_CLAIM_CHECKS)
            except jwt.PyJWTError:
                continue
            return _known(claims)
        raise InvalidToken("the token's signature is by none of our keys")


def _known(claims: Mapping[str, Any]) -> _Known:
    """Raises InvalidToken where a claim is missing or of the wrong type."""
    try:
        private = claims[_CLAIM]
        namespace, account = str(private["namespace"]), private["serviceaccount"]
        name, uid = str(account["name"]), str(account["uid"])
        audience = claims["aud"]
        audiences = (audience,) if isinstance(audience, str) else tuple(str(item) for item in audience)
        expires, not_before = float(claims["exp"]), float(claims.get("nbf", 0))
        bound = [Bound(SERVICE_ACCOUNTS, namespace, name, uid)]
        extra: dict[str, tuple[str, ...]] = {}
        if claims.get("jti"):
            extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims['jti']}",)
        pod, secret, node = private.get("pod"), private.get("secret"), private.get("node")
        if secret:
            bound.append(Bound(SECRETS, namespace, secret["name"], secret["uid"]))
        if pod:
            bound.append(Bound(PODS, namespace, pod["name"], pod["uid"]))
            extra["authentication.kubernetes.io/pod-name"] = (pod["name"],)
            extra["authentication.kubernetes.io/pod-uid"] = (pod["uid"],)
        if node:
            extra["authentication.kubernetes.io/node-name"] = (node["name"],)
            if node.get("uid"):
                extra["authentication.kubernetes.io/node-uid"] = (node["uid"],)
            if not pod:
                bound.append(Bound(NODES, "", node["name"], node["uid"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidToken(f"a claim is missing or malformed: {error}") from error
    user_name = account_user(namespace, name)
    if claims.get("sub") != user_name:
        raise InvalidToken("the subject is not the service account of the private claims")
    return _Known(UserInfo(user_name, (*account_groups(namespace), "system:authenticated"), uid, extra), audiences, tuple(bound), not_before, expires, 0.0)


def _check(bound: Bound, view: View, now: datetime) -> None:
    kind = bound.resource.kind
    obj = view.get(bound.resource, bound.name, bound.namespace or None)
    if obj is None:
        raise InvalidToken(f"{kind} {bound.name} of the token does not exist")
    metadata = obj["metadata"]
    deleted = metadata.get("deletionTimestamp")
    if deleted and parse_rfc3339(deleted) < now - timedelta(seconds=_LEEWAY_S):
        raise InvalidToken(f"{kind} {bound.name} of the token has been deleted")
    if metadata.get("uid") != bound.uid:
        raise InvalidToken(f"{kind} {bound.name} of the token has another uid: it was made anew")


def account_user(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def account_groups(namespace: str) -> tuple[str, ...]:
    return "system:serviceaccounts", f"system:serviceaccounts:{namespace}"


def split_account_user(user_name: str) -> tuple[str, str] | None:
    """(namespace, name) of a service account's user name."""
    parts = user_name.split(":")
    if len(parts) == 4 and user_name.startswith("system:serviceaccount:") and parts[2] and parts[3]:
        return parts[2], parts[3]
    return None


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Signs.  `issuer` is the first of --service-account-issuer."""

    issuer: str
    key: SigningKey

    def sign(
        self, account: Object, audiences: Sequence[str], now: datetime, lifetime_s: int, jti: str, *, bound: Mapping[str, Object], warn_after_s: int = 0
    ) -> str:
        """`bound`: `pod`, `secret`, `node` by claim name."""
        metadata = account["metadata"]
        moment = int(now.astimezone(UTC).timestamp())
        private: Object = {"namespace": metadata["namespace"], "serviceaccount": _ref(account)}
        private.update({claim: _ref(obj) for claim, obj in bound.items()})
        if warn_after_s:
            private["warnafter"] = moment + warn_after_s
        claims: Object = {
            "iss": self.issuer,
            "sub": account_user(metadata["namespace"], metadata["name"]),
            "aud": list(audiences),
            "iat": moment,
            "nbf": moment,
            "exp": moment + lifetime_s,
            "jti": jti,
            _CLAIM: private,
        }
        return jwt.encode(claims, self.key.key, algorithm=self.key.public.algorithm, headers={"kid": self.key.public.kid})


def openid_configuration(issuer: str, jwks_uri: str, keys: Sequence[VerificationKey]) -> Object:
    """/.well-known/openid-configuration (OpenID Connect Discovery 1.0 §3), so that others can check our tokens."""
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted({key.algorithm for key in keys}),
    }


def _ref(obj: Object) -> dict[str, str]:
    return {"name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}
