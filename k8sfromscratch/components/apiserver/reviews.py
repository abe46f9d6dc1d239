"""Questions about rights and identities: the objects that are created only to be answered.

    kubectl auth can-i …       SelfSubjectAccessReview, SelfSubjectRulesReview (--list)
    kubectl auth whoami        SelfSubjectReview
    kubelets, add-on servers   TokenReview, SubjectAccessReview: they let the apiserver authenticate and authorize for them

Nothing is stored.  Sources: authentication.k8s.io/v1, authorization.k8s.io/v1.
"""

from collections.abc import Mapping
from typing import Any

from k8sfromscratch.api import errors
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.components.apiserver import negotiation, replies
from k8sfromscratch.components.apiserver.authentication import Authenticator
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.routes import Route, Verb
from k8sfromscratch.components.apiserver.tokens import InvalidToken
from k8sfromscratch.core.authz.chain import MASTERS_GROUP, Authorizer, AuthorizerChain
from k8sfromscratch.core.authz.node import node_name
from k8sfromscratch.core.authz.types import Attributes, UserInfo
from k8sfromscratch.core.authz.view import CachedView
from k8sfromscratch.process.clock import Env, rfc3339
from k8sfromscratch.process.http import Response

Object = dict[str, Any]

_AUTHORIZATION = "authorization.k8s.io"
_AUTHENTICATION = "authentication.k8s.io"


class Reviews:
    """`authorizer` None: everyone may do everything; `authenticator` None: no token is good."""

    def __init__(self, authenticator: Authenticator | None, authorizer: Authorizer | None, view: CachedView, env: Env) -> None:
        self._authenticator, self._authorizer, self._view, self._env = authenticator, authorizer, view, env

    def routes(self) -> Mapping[Route, Verb]:
        return {
            (f"selfsubjectaccessreviews.{_AUTHORIZATION}", "", "create"): self._verb(self.self_access),
            (f"subjectaccessreviews.{_AUTHORIZATION}", "", "create"): self._verb(self.access),
            (f"localsubjectaccessreviews.{_AUTHORIZATION}", "", "create"): self._verb(self.local_access),
            (f"selfsubjectrulesreviews.{_AUTHORIZATION}", "", "create"): self._verb(self.self_rules),
            (f"tokenreviews.{_AUTHENTICATION}", "", "create"): self._verb(self.token),
            (f"selfsubjectreviews.{_AUTHENTICATION}", "", "create"): self._verb(self.self_subject),
        }

    def _verb(self, review: Any) -> Verb:
        async def answer(call: Call) -> Response:
            kind = call.served.resource.kind
            body = negotiation.decode_body(call.request)
            if not isinstance(body, dict) or body.get("kind") not in (None, "", kind):
                raise errors.BadRequest(f"the body must be a {kind} object")
            spec = body.get("spec") or {}
            if not isinstance(spec, dict):
                raise errors.BadRequest(f"{kind}.spec: must be an object")
            metadata = {**(body.get("metadata") or {}), "creationTimestamp": None}
            if kind == "SelfSubjectReview":
                metadata["creationTimestamp"] = rfc3339(self._env.clock.now())
            status = review(spec, call.user, call.namespace)
            answered = {"kind": kind, "apiVersion": call.served.resource.api_version, "metadata": metadata, "spec": spec, "status": status}
            if kind == "SelfSubjectReview":
                del answered["spec"]
            return replies.of(answered, call.output, 201)

        return answer

    # -- authorization: spec, user, namespace -> status

    def self_access(self, spec: Object, user: UserInfo, namespace: str = "") -> Object:
        return self._judged(_attributes("SelfSubjectAccessReview", spec, user))

    def access(self, spec: Object, user: UserInfo, namespace: str = "") -> Object:
        return self._judged(_attributes("SubjectAccessReview", spec, _named_user("SubjectAccessReview", spec)))

    def local_access(self, spec: Object, user: UserInfo, namespace: str) -> Object:
        kind = "LocalSubjectAccessReview"
        asked = _attributes(kind, spec, _named_user(kind, spec))
        if not asked.is_resource and asked.path:
            raise _invalid(kind, "FieldValueForbidden", "spec.nonResourceAttributes", "Forbidden: disallowed on this kind of request")
        if asked.namespace != namespace:
            raise _invalid(kind, "FieldValueInvalid", "spec.resourceAttributes.namespace", f'Invalid value: "{asked.namespace}": must match metadata.namespace')
        return self._judged(asked)

    def self_rules(self, spec: Object, user: UserInfo, namespace: str = "") -> Object:
        where = spec.get("namespace") or ""
        if not where:
            raise errors.BadRequest("no namespace on request")
        status: Object = {"resourceRules": [], "nonResourceRules": [], "incomplete": False}
        problems = []
        rbac = self._authorizer.rbac if isinstance(self._authorizer, AuthorizerChain) else None
        all_rights = MASTERS_GROUP in user.groups or self._authorizer is None
        if isinstance(self._authorizer, AuthorizerChain):
            all_rights = all_rights or "AlwaysAllow" in self._authorizer.modes
            if "Node" in self._authorizer.modes and node_name(user) is not None:
                problems.append("node authorizer does not support user rule resolution")
        if all_rights:
            status["resourceRules"].append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
            status["nonResourceRules"].append({"verbs": ["*"], "nonResourceURLs": ["*"]})
        if rbac is not None:
            rules, missing = rbac.rules_for(user, where, self._view)
            problems += missing
            for rule in rules:
                listed = rule.to_object()
                status["nonResourceRules" if rule.urls else "resourceRules"].append(listed)
        if problems:
            status["incomplete"] = True
            status["evaluationError"] = ", ".join(problems)
        return status

    def _judged(self, asked: Attributes) -> Object:
        if self._authorizer is None:
            return {"allowed": True}
        decision = self._authorizer.authorize(asked, self._view)
        status: Object = {"allowed": decision.allowed}
        if decision.denied:
            status["denied"] = True
        if decision.reason:
            status["reason"] = decision.reason
        return status

    # -- authentication

    def token(self, spec: Object, user: UserInfo, namespace: str = "") -> Object:
        token, audiences = spec.get("token"), spec.get("audiences") or []
        if not isinstance(token, str) or not token:
            raise errors.BadRequest("token is required for TokenReview in authentication")
        if not isinstance(audiences, list) or not all(isinstance(item, str) for item in audiences):
            raise errors.BadRequest("TokenReview.spec.audiences: must be a list of strings")
        try:
            found = self._authenticator.by_token(token, self._view, audiences) if self._authenticator is not None else None
        except InvalidToken as error:
            return {"user": {}, "authenticated": False, "error": f"[invalid bearer token, {error}]"}
        if found is None:
            return {"user": {}, "authenticated": False, "error": "invalid bearer token"}
        status: Object = {"authenticated": True, "user": user_object(found[0])}
        if found[1]:
            status["audiences"] = list(found[1])
        return status

    def self_subject(self, spec: Object, user: UserInfo, namespace: str = "") -> Object:
        return {"userInfo": user_object(user)}


def user_object(user: UserInfo) -> Object:
    """authentication.k8s.io/v1 UserInfo."""
    described: Object = {"username": user.name}
    if user.uid:
        described["uid"] = user.uid
    if user.groups:
        described["groups"] = list(user.groups)
    if user.extra:
        described["extra"] = {key: list(values) for key, values in user.extra.items()}
    return described


def _named_user(kind: str, spec: Object) -> UserInfo:
    name, groups, extra = spec.get("user") or "", spec.get("groups") or [], spec.get("extra") or {}
    if not isinstance(name, str) or not isinstance(groups, list) or not isinstance(extra, dict):
        raise errors.BadRequest(f"{kind}.spec: user is a string, groups a list of strings, extra an object")
    if not name and not groups:
        raise _invalid(kind, "FieldValueInvalid", "spec.user", 'Invalid value: "": at least one of user or group must be specified')
    return UserInfo(name, tuple(str(group) for group in groups), str(spec.get("uid") or ""), {key: tuple(values) for key, values in extra.items()})


def _attributes(kind: str, spec: Object, user: UserInfo) -> Attributes:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        raise _invalid(kind, "FieldValueInvalid", "spec.nonResourceAttributes", "Invalid value: cannot be specified in combination with resourceAttributes")
    if resource is None and path is None:
        raise _invalid(
            kind, "FieldValueInvalid", "spec.resourceAttributes", "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        )
    asked = resource if resource is not None else path
    if not isinstance(asked, dict) or not all(isinstance(value, str) for key, value in asked.items() if key not in ("fieldSelector", "labelSelector")):
        raise errors.BadRequest(f"{kind}.spec: attributes must be strings")
    if resource is None:
        return Attributes(user, asked.get("verb", ""), path=asked.get("path", ""))
    return Attributes(
        user,
        asked.get("verb", ""),
        asked.get("namespace", ""),
        asked.get("group", ""),
        asked.get("version", ""),
        asked.get("resource", ""),
        asked.get("subresource", ""),
        asked.get("name", ""),
        field_selector=_field_selector(asked.get("fieldSelector")),
    )


def _field_selector(selector: Any) -> str:
    """Raw as it is; requirements as far as authorizers look at them: one key equal to one value."""
    if not isinstance(selector, dict):
        return ""
    if selector.get("rawSelector"):
        return str(selector["rawSelector"])
    required = selector.get("requirements") or ()
    return ",".join(f"{r.get('key')}={r['values'][0]}" for r in required if r.get("operator") == "In" and len(r.get("values") or ()) == 1)


def _invalid(kind: str, reason: str, field: str, message: str) -> errors.Invalid:
    return errors.invalid(kind, "", _AUTHORIZATION, [Cause(reason, message, field)])
