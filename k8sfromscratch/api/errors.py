"""The one error tree of the API, shared by the server that raises and the client that reads.

    ApiError                     any `Status` with status Failure; carries code, reason, message, details
    ├── BadRequest 400           ├── NotFound 404           ├── Gone 410 (reason Expired: the resourceVersion is too old)
    ├── Unauthorized 401         ├── MethodNotAllowed 405   ├── RequestEntityTooLarge 413
    ├── Forbidden 403            ├── NotAcceptable 406      ├── UnsupportedMediaType 415
    ├── AlreadyExists 409        ├── Conflict 409           ├── Invalid 422 (causes: one per field)
    └── TooManyRequests 429      └── InternalError 500      └── ServiceUnavailable 503, Timeout 504

Source: apimachinery's metav1.Status, StatusReason and StatusCause.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing wrong with one field.  `field` is a path such as `spec.containers[0].image`; `reason` is upstream's CauseType,
    e.g. FieldValueRequired, FieldValueInvalid, FieldValueDuplicate, FieldValueNotSupported, FieldValueForbidden."""

    reason: str
    message: str
    field: str


class ApiError(Exception):
    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self, message: str, *, details: Mapping[str, Any] | None = None, code: int | None = None, reason: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})
        self.http_code = code if code is not None else self.code
        self.status_reason = reason if reason is not None else self.reason
        self.retry_after_s = retry_after_s
        if retry_after_s is not None:
            self.details["retryAfterSeconds"] = retry_after_s

    def status(self) -> dict[str, Any]:
        """The metav1.Status that goes on the wire."""
        body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message}
        if self.status_reason:
            body["reason"] = self.status_reason
        if self.details:
            body["details"] = self.details
        body["code"] = self.http_code
        return body


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class Gone(ApiError):
    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


_BY_REASON: dict[str, type[ApiError]] = {cls.reason: cls for cls in ApiError.__subclasses__()}
_BY_CODE: dict[int, type[ApiError]] = {cls.code: cls for cls in reversed(ApiError.__subclasses__())}


def qualified(plural: str, group: str) -> str:
    """`pods`, `deployments.apps`: how messages name a resource."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, name: str, group: str = "") -> NotFound:
    return NotFound(f'{qualified(plural, group)} "{name}" not found', details=_details(plural, name, group))


def already_exists(plural: str, name: str, group: str = "") -> AlreadyExists:
    return AlreadyExists(f'{qualified(plural, group)} "{name}" already exists', details=_details(plural, name, group))


def conflict(
    plural: str, name: str, group: str = "", why: str = "the object has been modified; please apply your changes to the latest version and try again"
) -> Conflict:
    return Conflict(f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}', details=_details(plural, name, group))


def forbidden(plural: str, name: str, group: str, why: str) -> Forbidden:
    subject = f'{qualified(plural, group)} "{name}"' if name else qualified(plural, group)
    return Forbidden(f"{subject} is forbidden: {why}", details=_details(plural, name, group))


def invalid(kind: str, name: str, group: str, causes: Sequence[Cause]) -> Invalid:
    """422 with one cause a field, in upstream's wording: `Pod "x" is invalid: spec.nodeName: Forbidden: …`; several are bracketed."""
    texts = [f"{c.field}: {c.message}" if c.field else c.message for c in causes]
    listed = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = {"name": name, "kind": kind, "causes": [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]}
    if group:
        details["group"] = group
    return Invalid(f'{qualified(kind, group)} "{name}" is invalid: {listed}', details=details)


def invalid_options(kind: str, *causes: Cause) -> Invalid:
    """What a request asks for besides its object: `ListOptions`, `CreateOptions`, … are told like invalid objects."""
    return invalid(kind, "", "meta.k8s.io", causes)


def from_status(status: Mapping[str, Any], code: int) -> ApiError:
    """The error a Status on the wire stands for.  `code` is the HTTP status, used where the body does not say."""
    reason = str(status.get("reason") or "")
    code = int(status.get("code") or code)
    cls = _BY_REASON.get(reason) or _BY_CODE.get(code, ApiError)
    details = status.get("details") or {}
    return cls(str(status.get("message") or f"HTTP {code}"), details=details, code=code, reason=reason, retry_after_s=details.get("retryAfterSeconds"))


def _details(plural: str, name: str, group: str) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    details["kind"] = plural
    return details
