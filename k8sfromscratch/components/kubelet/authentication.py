"""Who may use the kubelet's HTTPS server: a client certificate of the cluster's CA, or a bearer token that the apiserver vouches for; then, in
mode Webhook, the apiserver's opinion on `nodes/proxy`, `nodes/log`, `nodes/stats`, `nodes/metrics`.

The apiserver itself (user kube-apiserver-kubelet-client) and system:masters are let through without asking: exec must work while the
apiserver's answer would go through the kubelet that asks.
"""

from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from k8sfromscratch.api.errors import ApiError, Forbidden, InternalError, Unauthorized
from k8sfromscratch.api.registry import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS
from k8sfromscratch.client import Client
from k8sfromscratch.client.transport import TransportError
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process.clock import Env
from k8sfromscratch.process.http import Request

Object = dict[str, Any]

APISERVER_USER = "kube-apiserver-kubelet-client"
MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"

ALLOWED_S, DENIED_S, TOKEN_S = 300.0, 30.0, 120.0
"""How long an answer of the apiserver is remembered, as upstream's webhook caches do."""
ANSWERS_MAX = 1000

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SUBRESOURCES = {"stats": "stats", "metrics": "metrics", "logs": "log"}


class Gate:
    def __init__(self, client: Client, env: Env, node_name: str, *, webhook: bool, tokens: bool) -> None:
        self._client = client
        self._env = env
        self._node_name = node_name
        self._webhook = webhook
        self._tokens = tokens
        self._known_tokens: dict[str, tuple[datetime, UserInfo]] = {}
        self._answers: dict[tuple[str, tuple[str, ...], str, str], tuple[datetime, str]] = {}

    async def check(self, request: Request) -> UserInfo:
        """Raises Unauthorized, Forbidden, or InternalError where the apiserver cannot be asked."""
        user = await self._authenticate(request)
        if not self._webhook or MASTERS in user.groups or user.name == APISERVER_USER:
            return user
        verb = _VERBS.get(request.method, request.method.lower())
        subresource = _SUBRESOURCES.get(request.path.split("/")[1], "proxy")
        problem = await self._review(user, verb, subresource)
        if problem:
            raise Forbidden(f"user={user.name}, verb={verb}, resource=nodes, subresource={subresource}: {problem}")
        return user

    async def _authenticate(self, request: Request) -> UserInfo:
        if request.peer_certificate is not None:
            return user_of(request.peer_certificate)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if self._tokens and scheme.lower() == "bearer" and token:
            return await self._review_token(token)
        raise Unauthorized("a client certificate of the cluster's CA is required")

    async def _review_token(self, token: str) -> UserInfo:
        now = self._env.clock.now()
        known = self._known_tokens.get(token)
        if known is not None and now < known[0]:
            return known[1]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = (await self._ask(TOKEN_REVIEWS, body)).get("status") or {}
        if not status.get("authenticated"):
            raise Unauthorized(status.get("error") or "the token is not valid")
        found = status.get("user") or {}
        user = UserInfo(found.get("username", ""), tuple(found.get("groups") or ()), found.get("uid", ""))
        if len(self._known_tokens) >= ANSWERS_MAX:
            self._known_tokens.clear()
        self._known_tokens[token] = (now + timedelta(seconds=TOKEN_S), user)
        return user

    async def _review(self, user: UserInfo, verb: str, subresource: str) -> str:
        """Empty if allowed, else why not."""
        key = (user.name, user.groups, verb, subresource)
        now = self._env.clock.now()
        known = self._answers.get(key)
        if known is not None and now < known[0]:
            return known[1]
        attributes = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": self._node_name}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user.name, "groups": list(user.groups), "uid": user.uid, "resourceAttributes": attributes},
        }
        status = (await self._ask(SUBJECT_ACCESS_REVIEWS, body)).get("status") or {}
        problem = "" if status.get("allowed") else status.get("reason") or "not allowed by the apiserver"
        if len(self._answers) >= ANSWERS_MAX:
            self._answers.clear()
        self._answers[key] = (now + timedelta(seconds=DENIED_S if problem else ALLOWED_S), problem)
        return problem

    async def _ask(self, resource: Any, body: Object) -> Object:
        try:
            return await self._client.create(resource, body)
        except (ApiError, TransportError) as error:
            raise InternalError(f"the apiserver could not be asked who may do this: {error}") from error


def user_of(certificate_der: bytes) -> UserInfo:
    """Common name and organizations of a certificate that TLS has verified.  Raises Unauthorized where it has no name."""
    subject = x509.load_der_x509_certificate(certificate_der).subject
    names = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not names:
        raise Unauthorized("the client certificate has no common name")
    groups = tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    # Of several the last, as the apiserver has it and the signer judges it.
    return UserInfo(names[-1], (*groups, AUTHENTICATED))
