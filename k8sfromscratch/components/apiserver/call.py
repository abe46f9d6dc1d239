"""One authorized request on a resource, as the verbs receive it."""

import json
from dataclasses import dataclass, field

from k8sfromscratch.api.errors import BadRequest, Cause, invalid_options
from k8sfromscratch.api.schema import FieldValidation
from k8sfromscratch.components.apiserver.catalog import Served
from k8sfromscratch.components.apiserver.negotiation import Output
from k8sfromscratch.components.apiserver.request_info import RequestInfo
from k8sfromscratch.core.authz.types import UserInfo
from k8sfromscratch.process.http import Request

_OPTIONS = {"update": "UpdateOptions", "patch": "PatchOptions", "delete": "DeleteOptions", "deletecollection": "DeleteOptions"}
_FIELD_VALIDATIONS: dict[str, FieldValidation] = {"Strict": "Strict", "Warn": "Warn", "Ignore": "Ignore"}


@dataclass(slots=True)
class Call:
    """`warnings` become Warning headers of the answer."""

    request: Request
    info: RequestInfo
    user: UserInfo
    served: Served
    output: Output
    warnings: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        """Empty for what has none (for a Namespace too: there the path's namespace is the object itself)."""
        return self.info.namespace if self.served.resource.namespaced else ""

    @property
    def key(self) -> str:
        return self.served.key(self.info.name, self.namespace)

    @property
    def dry_run(self) -> bool:
        values = [value for value in self.request.query.get("dryRun", []) if value]
        if any(value != "All" for value in values):
            cause = Cause("FieldValueNotSupported", f'Unsupported value: {json.dumps(values)}: supported values: "All"', "dryRun")
            raise invalid_options(_OPTIONS.get(self.info.verb, "CreateOptions"), cause)
        return bool(values)

    @property
    def field_validation(self) -> FieldValidation:
        value = self.request.arg("fieldValidation") or "Warn"
        if value not in _FIELD_VALIDATIONS:
            raise BadRequest(f'fieldValidation: Unsupported value: "{value}": supported values: "Ignore", "Strict", "Warn"')
        return _FIELD_VALIDATIONS[value]

    @property
    def field_manager(self) -> str:
        """As given, or what the user agent's name says, as upstream."""
        given = self.request.arg("fieldManager")
        return given or self.request.headers.get("user-agent", "").partition("/")[0][:128] or "unknown"
