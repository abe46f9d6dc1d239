"""matchConditions: CEL expressions that must all be true for a webhook to be asked.  Pure.

    object, oldObject     as the webhook would see them; null where there is none
    request               the AdmissionRequest without the objects
    authorizer            `authorizer_library`

A false one settles it, whatever the others say; with an error and none false, failurePolicy decides.

Source: apiserver/pkg/admission/plugin/webhook/matchconditions.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from k8sfromscratch.api import errors
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.core.admission.types import AdmissionRequest, Object
from k8sfromscratch.core.admission.webhooks import CONFIGURATIONS, Webhook
from k8sfromscratch.core.cel import BOOL, DYN, CelError, CelEvaluationError, Program, compile_expression

VARIABLES = {"object": DYN, "oldObject": DYN, "request": DYN}
COST_MAX = 2_500_000
"""Upstream's, for all conditions of a webhook together."""
_COMPILED_MAX = 1024


@lru_cache(maxsize=_COMPILED_MAX)
def _compiled(expression: str) -> Program:
    """Raises CelError."""
    return compile_expression(expression, VARIABLES, result=BOOL)


def concerned(webhook: Webhook, values: Mapping[str, Any]) -> bool:
    """Whether all conditions hold for the values of VARIABLES.  Raises CelEvaluationError where that cannot be told and failurePolicy is Fail."""
    failures: list[str] = []
    left = COST_MAX
    for name, expression in webhook.conditions:
        try:
            holds, cost = _compiled(expression).evaluate_with_cost(values, cost_limit=left)
            left -= cost
        except (CelError, CelEvaluationError) as error:
            failures.append(f"{name}: {error}")
            continue
        if not holds:
            return False
    if failures and webhook.failure_closed:
        raise CelEvaluationError("; ".join(failures))
    return not failures


def check(request: AdmissionRequest) -> None:
    """Holds a webhook configuration to conditions that compile.  Raises Invalid."""
    if request.resource not in CONFIGURATIONS or request.obj is None:
        return
    known = _expressions(request.old)
    causes: list[Cause] = []
    for at, condition in _conditions(request.obj):
        expression = condition.get("expression") or ""
        # What was stored once stays storable: a newer server may have let more functions in.
        if expression in known:
            continue
        try:
            _compiled(expression)
        except CelError as error:
            causes.append(Cause("FieldValueInvalid", f'Invalid value: "{expression}": compilation failed: {error}', f"{at}.expression"))
    if causes:
        raise errors.invalid(request.resource.kind, request.obj["metadata"].get("name", ""), request.resource.group, causes)


def _conditions(configuration: Object) -> Sequence[tuple[str, Object]]:
    return [
        (f"webhooks[{index}].matchConditions[{position}]", condition)
        for index, webhook in enumerate(configuration.get("webhooks") or ())
        for position, condition in enumerate(webhook.get("matchConditions") or ())
    ]


def _expressions(configuration: Object | None) -> frozenset[str]:
    return frozenset(condition.get("expression") or "" for _, condition in _conditions(configuration or {}))
