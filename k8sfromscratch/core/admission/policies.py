"""ValidatingAdmissionPolicies: CEL expressions that requests are held to, without a webhook.  Pure.

    policy     what is looked at (matchConstraints, matchConditions) and what must be true of it (validations)
    binding    where a policy applies (matchResources), with which parameters (paramRef), and what follows (Deny, Warn)

    object, oldObject     as the matching rule's version has them; null where there is none
    request               the AdmissionRequest without the objects
    namespaceObject       the namespace of a namespaced object
    params                the binding's parameters, for policies with a paramKind
    variables             the policy's own; each sees those before it

A policy without a binding does nothing.  What cannot be told (an expression that fails, parameters that are not there) counts as untrue under
failurePolicy Fail, and as true under Ignore.

Source: apiserver/pkg/admission/plugin/policy/validating.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from k8sfromscratch.api import errors
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.registry import VALIDATING_ADMISSION_POLICIES
from k8sfromscratch.core.admission.types import AdmissionRequest, Object
from k8sfromscratch.core.admission.webhooks import Rule, read_rule
from k8sfromscratch.core.cel import BOOL, DYN, STRING, CelError, CelEvaluationError, CelType, CostExceeded, Program, compile_expression
from k8sfromscratch.core.selectors.labels import EVERYTHING, Selector, from_object

VARIABLES = {"object": DYN, "oldObject": DYN, "request": DYN, "namespaceObject": DYN}
CALL_COST_MAX = 1_000_000
"""Units for one expression; upstream's."""
COST_MAX = 10_000_000
"""Units for all expressions of a policy in one request; upstream's."""
_COMPILED_MAX = 1024
_MESSAGE_BYTES_MAX = 5 * 1024
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413}
"""By a validation's reason; any other is a 422."""

_EVERY_RULE = Rule(frozenset("*"), frozenset("*"), frozenset("*"), (("*", "*"),))


@dataclass(frozen=True, slots=True)
class Constraints:
    """MatchResources; without rules all of them."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    equivalent: bool
    namespace_selector: Selector
    object_selector: Selector


@dataclass(frozen=True, slots=True)
class Validation:
    expression: str
    message: str
    message_expression: str
    reason: str


@dataclass(frozen=True, slots=True)
class Binding:
    """`constraints` is None where it applies wherever its policy does."""

    name: str
    constraints: Constraints | None
    param_ref: Object | None
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """`param_kind` is (apiVersion, kind); `conditions` and `variables` are (name, expression)."""

    name: str
    constraints: Constraints
    param_kind: tuple[str, str] | None
    conditions: tuple[tuple[str, str], ...]
    variables: tuple[tuple[str, str], ...]
    validations: tuple[Validation, ...]
    failure_closed: bool
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    message: str
    reason: str = "Invalid"


def read(policies: Iterable[Object], bindings: Iterable[Object]) -> list[Policy]:
    """Those that have a binding, by name."""
    bound: dict[str, list[Binding]] = {}
    for binding in sorted(bindings, key=lambda one: str(one["metadata"]["name"])):
        bound.setdefault(binding["spec"].get("policyName", ""), []).append(_binding(binding))
    ordered = sorted(policies, key=lambda one: str(one["metadata"]["name"]))
    return [_policy(policy, bound[policy["metadata"]["name"]]) for policy in ordered if policy["metadata"]["name"] in bound]


def failures(policy: Policy, values: Mapping[str, Any]) -> list[Failure]:
    """What is wrong with a request, by the values of VARIABLES (and `params`, where the policy has a kind of them)."""
    run = _Run(policy, values)
    try:
        return run.failures() if run.concerned() else []
    except CelEvaluationError as error:
        return [Failure(str(error))] if policy.failure_closed else []


def denial(request: AdmissionRequest, policy: Policy, binding: Binding, failure: Failure) -> errors.ApiError:
    message = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}' denied request: {failure.message}"
    refused = request.refused(message)
    details = {**refused.details, "causes": [{"message": message}]}
    return errors.ApiError(refused.message, details=details, code=_CODES.get(failure.reason, 422), reason=failure.reason)


def warning(policy: Policy, binding: Binding, failure: Failure) -> str:
    return f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}': {failure.message}"


def misconfigured(policy: Policy, why: str) -> list[Failure]:
    """Of a binding whose parameters cannot be had."""
    return [Failure(f"failed to configure binding: {why}")] if policy.failure_closed else []


class _Run:
    """One policy on one request, and what it may still cost."""

    def __init__(self, policy: Policy, values: Mapping[str, Any]) -> None:
        self._policy = policy
        self._values = dict(values)
        self._left = COST_MAX
        self._broken: dict[str, str] = {}
        self._composed = False

    def concerned(self) -> bool:
        """Whether all match conditions hold: a false one settles it, whatever the others say.  Raises CelEvaluationError."""
        untold: list[str] = []
        for name, expression in self._policy.conditions:
            try:
                if not self._evaluate(expression, BOOL):
                    return False
            except CelEvaluationError as error:
                untold.append(f"{name}: {error}")
        if untold:
            raise CelEvaluationError("; ".join(untold))
        return True

    def failures(self) -> list[Failure]:
        found: list[Failure] = []
        for validation in self._policy.validations:
            try:
                if not self._evaluate(validation.expression, BOOL):
                    found.append(Failure(self._message(validation), validation.reason))
            except CelEvaluationError as error:
                if self._policy.failure_closed:
                    found.append(Failure(f"expression '{validation.expression}' resulted in error: {error}"))
        return found

    def _message(self, validation: Validation) -> str:
        if validation.message_expression:
            try:
                said = str(self._evaluate(validation.message_expression, STRING)).strip()
            except CelEvaluationError:
                said = ""
            if said and "\n" not in said and len(said.encode()) <= _MESSAGE_BYTES_MAX:
                return said
        return validation.message.strip() or f"failed expression: {validation.expression.strip()}"

    def _evaluate(self, expression: str, result: CelType) -> Any:
        """Raises CelEvaluationError."""
        try:
            program = compiled(expression, params=self._policy.param_kind is not None, result=result)
        except CelError as error:
            raise CelEvaluationError(f"compilation failed: {error}") from error
        if program.uses("variables") and not self._composed:
            self._compose()
        if self._left <= 0:
            raise CostExceeded
        try:
            value, cost = program.evaluate_with_cost(self._values, cost_limit=min(CALL_COST_MAX, self._left))
        except CostExceeded:
            self._left = 0
            raise
        except CelEvaluationError as error:
            broken = next((name for name in self._broken if str(error).endswith(f"no such key: {name}")), None)
            if broken is None:
                raise
            raise CelEvaluationError(f'composited variable "{broken}" fails to evaluate: {self._broken[broken]}') from error
        self._left -= cost
        return value

    def _compose(self) -> None:
        """The policy's variables, when the first expression asks for one.  One that fails is missed by those alone who use it."""
        self._composed = True
        known: Object = {}
        self._values["variables"] = known
        for name, expression in self._policy.variables:
            try:
                value = self._evaluate(expression, DYN)
            except CelEvaluationError as error:
                self._broken[name] = str(error)
                continue
            known = {**known, name: value}
            self._values["variables"] = known


@lru_cache(maxsize=_COMPILED_MAX)
def compiled(expression: str, *, params: bool, result: CelType) -> Program:
    """Raises CelError."""
    variables = {**VARIABLES, "variables": DYN, **({"params": DYN} if params else {})}
    return compile_expression(expression, variables, result=None if result == DYN else result)


# -- what is written


def check(request: AdmissionRequest) -> None:
    """Holds a policy to expressions that compile.  Raises Invalid."""
    if request.resource != VALIDATING_ADMISSION_POLICIES or request.obj is None or request.subresource:
        return
    # What was stored once stays storable: a newer server may have let more functions in.
    known = {expression for _, expression, _ in _expressions(request.old["spec"])} if request.old is not None else set()
    params = request.obj["spec"].get("paramKind") is not None
    causes: list[Cause] = []
    for at, expression, result in _expressions(request.obj["spec"]):
        if expression in known:
            continue
        try:
            compiled(expression, params=params, result=result)
        except CelError as error:
            causes.append(Cause("FieldValueInvalid", f'Invalid value: "{expression}": compilation failed: {error}', at))
    if causes:
        raise errors.invalid(request.resource.kind, request.obj["metadata"].get("name", ""), request.resource.group, causes)


def _expressions(spec: Object) -> list[tuple[str, str, CelType]]:
    found: list[tuple[str, str, CelType]] = []
    for field, key, result in (
        ("variables", "expression", DYN),
        ("matchConditions", "expression", BOOL),
        ("validations", "expression", BOOL),
        ("validations", "messageExpression", STRING),
        ("auditAnnotations", "valueExpression", DYN),
    ):
        found += [(f"spec.{field}[{index}].{key}", one[key], result) for index, one in enumerate(spec.get(field) or ()) if one.get(key)]
    return found


def _policy(of: Object, bindings: Sequence[Binding]) -> Policy:
    spec = of["spec"]
    kind = spec.get("paramKind")
    return Policy(
        of["metadata"]["name"],
        _constraints(spec.get("matchConstraints") or {}),
        (kind.get("apiVersion", ""), kind.get("kind", "")) if kind else None,
        tuple((one["name"], one["expression"]) for one in spec.get("matchConditions") or ()),
        tuple((one["name"], one["expression"]) for one in spec.get("variables") or ()),
        tuple(
            Validation(one["expression"], one.get("message", ""), one.get("messageExpression", ""), one.get("reason") or "Invalid")
            for one in spec.get("validations") or ()
        ),
        spec.get("failurePolicy", "Fail") == "Fail",
        tuple(bindings),
    )


def _binding(of: Object) -> Binding:
    spec = of["spec"]
    where = spec.get("matchResources")
    return Binding(of["metadata"]["name"], _constraints(where) if where else None, spec.get("paramRef"), tuple(spec.get("validationActions") or ()))


def _constraints(of: Object) -> Constraints:
    return Constraints(
        tuple(read_rule(rule) for rule in of.get("resourceRules") or ()) or (_EVERY_RULE,),
        tuple(read_rule(rule) for rule in of.get("excludeResourceRules") or ()),
        of.get("matchPolicy", "Equivalent") == "Equivalent",
        from_object(of.get("namespaceSelector") or {}) or EVERYTHING,
        from_object(of.get("objectSelector") or {}) or EVERYTHING,
    )
