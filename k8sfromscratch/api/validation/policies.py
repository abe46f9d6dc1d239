"""ValidatingAdmissionPolicies and their bindings, but for their expressions: whether these compile is told at admission.

Source: pkg/apis/admissionregistration/validation.
"""

import re

from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.validation.field import Object, duplicates, forbidden, indexed, invalid, one_of, optional_one_of, required
from k8sfromscratch.api.validation.selectors import label_selector
from k8sfromscratch.api.validation.webhooks import conditions, rule

_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_ACTIONS = ("Audit", "Deny", "Warn")
_NOTHING_ASKED = "validations or auditAnnotations must be non-empty"
_TWICE = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"


def validating_admission_policy(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = optional_one_of("spec.failurePolicy", spec.get("failurePolicy"), ("Fail", "Ignore"))
    kind = spec.get("paramKind")
    if kind is not None:
        causes += [required(f"spec.paramKind.{key}") for key in ("apiVersion", "kind") if not kind.get(key)]
    where = spec.get("matchConstraints")
    causes += [required("spec.matchConstraints")] if where is None else _match_resources(where, "spec.matchConstraints", rules_required=True)
    causes += conditions(spec, "spec")
    for at, variable in indexed(spec, "variables", "spec"):
        causes += _variable(variable, at)
    causes += duplicates((f"{at}.name", variable.get("name") or "") for at, variable in indexed(spec, "variables", "spec"))
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        causes += [required(f"spec.{key}", _NOTHING_ASKED) for key in ("validations", "auditAnnotations")]
    for at, validation in indexed(spec, "validations", "spec"):
        causes += _validation(validation, at)
    for at, annotation in indexed(spec, "auditAnnotations", "spec"):
        causes += [required(f"{at}.{key}") for key in ("key", "valueExpression") if not annotation.get(key)]
    return causes


def validating_admission_policy_binding(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = [] if spec.get("policyName") else [required("spec.policyName")]
    reference = spec.get("paramRef")
    if reference is not None:
        causes += _param_ref(reference, "spec.paramRef")
    if spec.get("matchResources") is not None:
        causes += _match_resources(spec["matchResources"], "spec.matchResources", rules_required=False)
    actions = spec.get("validationActions") or []
    if not actions:
        return [*causes, required("spec.validationActions")]
    for index, action in enumerate(actions):
        causes += one_of(f"spec.validationActions[{index}]", action, _ACTIONS)
    if "Deny" in actions and "Warn" in actions:
        causes.append(invalid("spec.validationActions", actions, _TWICE))
    return causes + duplicates((f"spec.validationActions[{index}]", action) for index, action in enumerate(actions))


def _match_resources(of: Object, path: str, *, rules_required: bool) -> list[Cause]:
    causes = optional_one_of(f"{path}.matchPolicy", of.get("matchPolicy"), ("Equivalent", "Exact"))
    if rules_required and not of.get("resourceRules"):
        causes.append(required(f"{path}.resourceRules"))
    for key in ("resourceRules", "excludeResourceRules"):
        for at, one in indexed(of, key, path):
            causes += rule(one, at)
    for key in ("namespaceSelector", "objectSelector"):
        causes += label_selector(of.get(key), f"{path}.{key}")
    return causes


def _variable(variable: Object, at: str) -> list[Cause]:
    name, causes = variable.get("name") or "", []
    if not name:
        causes.append(required(f"{at}.name", "name is not specified"))
    elif _IDENTIFIER.fullmatch(name) is None:
        causes.append(invalid(f"{at}.name", name, "name is not a valid CEL identifier"))
    if not (variable.get("expression") or "").strip():
        causes.append(required(f"{at}.expression", "expression is not specified"))
    return causes


def _validation(validation: Object, at: str) -> list[Cause]:
    causes = optional_one_of(f"{at}.reason", validation.get("reason"), _REASONS)
    if not (validation.get("expression") or "").strip():
        causes.append(required(f"{at}.expression", "expression is not specified"))
    message = validation.get("message")
    if message is not None and not message.strip():
        causes.append(invalid(f"{at}.message", message, "message must be non-empty if specified"))
    if "\n" in (message or "").strip():
        causes.append(invalid(f"{at}.message", message, "message must not contain line breaks"))
    return causes


def _param_ref(of: Object, path: str) -> list[Cause]:
    name, selector = of.get("name"), of.get("selector")
    causes = label_selector(selector, f"{path}.selector")
    if name and selector is not None:
        why = "name and selector are mutually exclusive"
        causes += [forbidden(f"{path}.name", why), forbidden(f"{path}.selector", why)]
    if not name and selector is None:
        causes += [required(f"{path}.{key}", "one of name or selector must be specified") for key in ("name", "selector")]
    if not of.get("parameterNotFoundAction"):
        return [*causes, required(f"{path}.parameterNotFoundAction")]
    return causes + one_of(f"{path}.parameterNotFoundAction", of["parameterNotFoundAction"], ("Allow", "Deny"))
