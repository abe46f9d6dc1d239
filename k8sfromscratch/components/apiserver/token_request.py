"""POST serviceaccounts/NAME/token: a TokenRequest is checked, admitted and answered with a signed token.

Kubelets ask for the tokens of their pods this way, and `kubectl create token` does.  What a kubelet may ask for is NodeRestriction's matter.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from k8sfromscratch.api import errors
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.registry import NODES, PODS, SECRETS, SERVICE_ACCOUNTS
from k8sfromscratch.components.apiserver import negotiation, replies
from k8sfromscratch.components.apiserver.admission import Admission, options_of
from k8sfromscratch.components.apiserver.call import Call
from k8sfromscratch.components.apiserver.feed import Feed
from k8sfromscratch.components.apiserver.tokens import TokenIssuer
from k8sfromscratch.core.admission.types import AdmissionRequest, View
from k8sfromscratch.process.clock import Env, rfc3339
from k8sfromscratch.process.http import Response

Object = dict[str, Any]

_AUTHENTICATION = "authentication.k8s.io/v1"
DEFAULT_S = 3600
MIN_S = 600
MAX_S = 1 << 32

EXTENDED_REQUEST_S = 3607
"""The odd life that kubelets ask for in kube-api-access volumes, by which these tokens are told from those someone chose."""
EXTENDED_S = 365 * 24 * 3600
"""What they get: programs that read their token only once keep working; `warnafter` tells when they should have read it again."""

_BINDABLE = {("v1", "Pod"): PODS, ("v1", "Secret"): SECRETS, ("v1", "Node"): NODES}


class TokenRequests:
    """`max_s`: --service-account-max-token-expiration, 0 for none.  `extend`: --service-account-extend-token-expiration."""

    def __init__(
        self,
        issuer: TokenIssuer,
        api_audiences: tuple[str, ...],
        feed: Feed,
        view: View,
        admission: Admission,
        env: Env,
        *,
        max_s: int = 0,
        extend: bool = True,
    ) -> None:
        self._issuer, self._api_audiences, self._feed, self._view, self._admission, self._env = issuer, api_audiences, feed, view, admission, env
        self._max_s, self._extend = max_s, extend

    async def create(self, call: Call) -> Response:
        body = negotiation.decode_body(call.request)
        if not isinstance(body, dict) or body.get("kind") not in (None, "", "TokenRequest"):
            raise errors.BadRequest("the body must be a TokenRequest object")
        # The account or the pod may just have been created.
        await self._feed.caught_up()
        return replies.of(await self.answer(body, call), call.output, 201)

    async def answer(self, request: Object, call: Call) -> Object:
        """The TokenRequest with its status.  Raises NotFound, Invalid, Conflict, BadRequest, Forbidden."""
        name, namespace = call.info.name, call.namespace
        account = self._view.get(SERVICE_ACCOUNTS, name, namespace)
        if account is None:
            raise errors.not_found("serviceaccounts", name)
        spec = _checked(request, name, namespace)
        spec.setdefault("expirationSeconds", DEFAULT_S)
        now = self._env.clock.now()
        metadata = {**(request.get("metadata") or {}), "name": name, "namespace": namespace, "creationTimestamp": rfc3339(now)}
        answer: Object = {"apiVersion": _AUTHENTICATION, "kind": "TokenRequest", "metadata": metadata, "spec": spec}
        admitted = AdmissionRequest("CREATE", SERVICE_ACCOUNTS, "token", namespace, name, call.user, answer, None, call.dry_run)
        admitted.options = partial(options_of, call, "CreateOptions")
        await self._admission.mutate(admitted)
        await self._admission.validate(admitted)
        # What was admitted counts: a webhook's patch makes a new object.
        assert admitted.obj is not None
        answer, spec = admitted.obj, _checked(admitted.obj, name, namespace)
        answer["spec"] = spec
        if not spec.get("audiences"):
            spec["audiences"] = list(self._api_audiences)
        bound = self._bound(spec.get("boundObjectRef"), account, namespace)
        spec.setdefault("expirationSeconds", DEFAULT_S)
        if self._max_s:
            spec["expirationSeconds"] = min(spec["expirationSeconds"], self._max_s)
        asked_s = spec["expirationSeconds"]
        extended = self._extend and asked_s == EXTENDED_REQUEST_S and "pod" in bound and set(spec["audiences"]) <= set(self._api_audiences)
        token = self._issuer.sign(
            account, spec["audiences"], now, EXTENDED_S if extended else asked_s, self._env.uid(), bound=bound, warn_after_s=asked_s if extended else 0
        )
        answer["status"] = {"token": token, "expirationTimestamp": rfc3339(now + timedelta(seconds=asked_s))}
        return answer

    def _bound(self, ref: Object | None, account: Object, namespace: str) -> dict[str, Object]:
        if ref is None:
            return {}
        resource = _BINDABLE.get((ref.get("apiVersion") or "v1", ref.get("kind", "")))
        if resource is None:
            raise errors.BadRequest(f'cannot bind token for serviceaccount "{account["metadata"]["name"]}" to object of type {ref.get("kind")}')
        name = ref.get("name", "")
        obj = self._view.get(resource, name, namespace if resource.namespaced else None)
        if obj is None:
            raise errors.not_found(resource.plural, name)
        if ref.get("uid") and ref["uid"] != obj["metadata"]["uid"]:
            why = (
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. The object might have been deleted and then recreated"
            )
            raise errors.conflict(resource.plural, name, "", why)
        bound = {resource.kind.lower(): obj}
        if resource is PODS:
            if obj["spec"].get("serviceAccountName") != account["metadata"]["name"]:
                raise errors.BadRequest(
                    f'cannot bind token for serviceaccount "{account["metadata"]["name"]}" to pod running with different serviceaccount name.'
                )
            node = self._view.get(NODES, obj["spec"].get("nodeName") or "")
            if node is not None:
                bound["node"] = node
        return bound


def _checked(request: Object, name: str, namespace: str) -> Object:
    """A spec of our own.  Raises BadRequest, Invalid."""
    metadata = request.get("metadata") or {}
    for field, wanted in (("name", name), ("namespace", namespace)):
        if metadata.get(field) not in (None, "", wanted):
            raise errors.BadRequest(f"the {field} of the provided object does not match the {field} sent on the request")
    spec = request.get("spec") or {}
    if not isinstance(spec, dict):
        raise errors.BadRequest("TokenRequest.spec: must be an object")
    spec = dict(spec)
    _typed(spec, "expirationSeconds", lambda value: isinstance(value, int) and not isinstance(value, bool), "an integer")
    _typed(spec, "audiences", lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value), "a list of strings")
    _typed(spec, "boundObjectRef", lambda value: isinstance(value, dict), "an object")
    seconds = spec.get("expirationSeconds", DEFAULT_S)
    if seconds < MIN_S:
        why = "may not specify a duration less than 10 minutes"
    elif seconds > MAX_S:
        why = "may not specify a duration larger than 2^32 seconds"
    else:
        return spec
    raise errors.invalid(
        "TokenRequest", name, "authentication.k8s.io", [Cause("FieldValueInvalid", f"Invalid value: {seconds}: {why}", "spec.expirationSeconds")]
    )


def _typed(spec: Object, field: str, right: Callable[[Any], bool], what: str) -> None:
    if spec.get(field) is None:
        spec.pop(field, None)
    elif not right(spec[field]):
        raise errors.BadRequest(f"TokenRequest.spec.{field}: must be {what}")
