"""AdmissionReview: the question that a webhook is asked, and what its answer means.  Pure.

    review(...)      the body that is sent
    verdict(...)     Verdict(allowed, patch, warnings, …); raises BadAnswer for one that breaks the rules

A denial keeps the webhook's code and reason, under our words (`admission webhook "x" denied the request: …`).

Source: apiserver/pkg/admission/plugin/webhook/request, errors.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from k8sfromscratch.api import errors
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.types import AdmissionRequest, Object
from k8sfromscratch.core.authz.types import UserInfo

_GROUP = "admission.k8s.io"
WARNINGS_MAX = 64
WARNING_CHARS_MAX = 256
"""More would not fit a response's head; upstream cuts at the same length."""


class BadAnswer(ValueError):
    """The message says which rule the webhook's answer breaks."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`patch` is the decoded list of operations, empty for none.  `denial` is the error for the client."""

    denial: errors.ApiError | None = None
    patch: tuple[Object, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """The request as the webhook sees it: the version it asked for, and its objects in that version."""

    resource: Resource
    kind: Object
    obj: Object | None
    old: Object | None


def review(version: str, uid: str, request: AdmissionRequest, shown: Shown, requested_kind: Object) -> Object:
    requested = request.requested or request.resource
    asked: Object = {
        "uid": uid,
        "kind": shown.kind,
        "resource": _resource(shown.resource),
        "requestKind": requested_kind,
        "requestResource": _resource(requested),
        "operation": request.operation,
        "userInfo": user_info(request.user),
        "object": shown.obj,
        "oldObject": shown.old,
        "dryRun": request.dry_run,
        "options": request.options() or None,
    }
    for key, value in (("subResource", request.subresource), ("requestSubResource", request.subresource), ("name", request.name)):
        if value:
            asked[key] = value
    if request.namespace:
        asked["namespace"] = request.namespace
    return {"kind": "AdmissionReview", "apiVersion": f"{_GROUP}/{version}", "request": asked}


def condition_values(request: AdmissionRequest, shown: Shown, requested_kind: Object) -> Object:
    """The variables of matchConditions: the review's request, and its objects beside it.  Every text is there, if only empty."""
    told = review("v1", "", request, shown, requested_kind)["request"]
    rest = {key: value for key, value in told.items() if key not in ("object", "oldObject", "uid")}
    texts = dict.fromkeys(("subResource", "requestSubResource", "name", "namespace"), "")
    return {"object": shown.obj, "oldObject": shown.old, "request": {**texts, **rest}}


def kind_of(obj: Object) -> Object:
    """{group, version, kind} of an object."""
    group, slash, version = str(obj.get("apiVersion", "")).rpartition("/")
    return {"group": group if slash else "", "version": version, "kind": obj.get("kind", "")}


def user_info(user: UserInfo) -> Object:
    told: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        told["uid"] = user.uid
    if user.extra:
        told["extra"] = {key: list(values) for key, values in user.extra.items()}
    return told


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def verdict(answer: Any, version: str, uid: str, name: str, *, mutating: bool) -> Verdict:
    """`answer` is the decoded body.  Raises BadAnswer."""
    response = answer.get("response") if isinstance(answer, dict) else None
    if not isinstance(response, dict):
        raise BadAnswer("webhook response was absent")
    if version == "v1":
        if response.get("uid") != uid:
            raise BadAnswer(f'expected response.uid="{uid}", got "{_cut(response.get("uid"))}"')
        got = answer.get("apiVersion"), answer.get("kind")
        if got != (f"{_GROUP}/v1", "AdmissionReview"):
            wanted = f"{_GROUP}/v1, Kind=AdmissionReview"
            raise BadAnswer(f"expected webhook response of {wanted}, got {_cut(got[0] or '/')}, Kind={_cut(got[1])}")
    allowed = response.get("allowed", False)
    if not isinstance(allowed, bool):
        raise BadAnswer("response.allowed is not a boolean")
    warnings = response.get("warnings") or []
    if not isinstance(warnings, list) or not all(isinstance(text, str) for text in warnings):
        raise BadAnswer("response.warnings is not a list of strings")
    told = tuple(text[:WARNING_CHARS_MAX] for text in warnings[:WARNINGS_MAX])
    patch = _patch(response, version, mutating)
    if not allowed:
        return Verdict(_denial(response.get("status"), name), (), told)
    return Verdict(None, patch, told)


def _patch(response: Object, version: str, mutating: bool) -> tuple[Object, ...]:
    text, kind = response.get("patch"), response.get("patchType")
    if not mutating:
        if version == "v1" and (text or kind is not None):
            raise BadAnswer(f"validating webhook may not return response.{'patch' if text else 'patchType'}")
        return ()
    if not text:
        if kind is not None and version == "v1":
            raise BadAnswer("webhook returned response.patchType but not response.patch")
        return ()
    if kind is None and version == "v1":
        raise BadAnswer("webhook returned response.patch but not response.patchType")
    if kind not in (None, "JSONPatch"):
        raise BadAnswer(f'unsupported patch type "{_cut(kind)}"')
    if not isinstance(text, str):
        raise BadAnswer("response.patch is not a base64 string")
    try:
        operations = orjson.loads(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise BadAnswer(f"response.patch is no base64 of JSON: {error}") from error
    if not isinstance(operations, list):
        raise BadAnswer("response.patch is not a list of operations")
    return tuple(operations)


def _denial(status: Any, name: str) -> errors.ApiError:
    given: Mapping[str, Any] = status if isinstance(status, dict) else {}
    code, reason, message = given.get("code"), given.get("reason"), given.get("message")
    denied = f'admission webhook "{name}" denied the request'
    if message and isinstance(message, str):
        denied = f"{denied}: {message}"
    elif reason and isinstance(reason, str):
        denied = f"{denied}: {reason}"
    else:
        denied = f"{denied} without explanation"
    details = given.get("details")
    # A denial is never a success, and no code that HTTP does not have.
    kept = code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599 else 400
    return errors.ApiError(denied, details=details if isinstance(details, dict) else None, code=kept, reason=reason if isinstance(reason, str) else "")


def dry_run_unsupported(webhook: str) -> errors.ApiError:
    return errors.BadRequest(f'admission webhook "{webhook}" does not support dry run')


def _cut(value: Any) -> str:
    return str("" if value is None else value)[:WARNING_CHARS_MAX]
