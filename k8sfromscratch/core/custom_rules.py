"""x-kubernetes-validations: the CEL rules of a structural schema, applied to objects and checked when the schema is written.

    Rules(schema).faults(obj, old)        causes of the rules that do not hold
    definition_faults(definition)         what is wrong with the rules themselves

A rule that mentions oldSelf is about a transition: it is asked where there is an old value at its place, or, with optionalOldSelf, always.  What
was the same before is asked by transition rules alone (ratcheting, KEP-4008).

Source: apiextensions-apiserver's pkg/apiserver/schema/cel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.jsonpath import field_names
from k8sfromscratch.api.structural_values import NOWHERE, same
from k8sfromscratch.api.validation.field import forbidden, invalid, not_supported, required
from k8sfromscratch.core.cel import BOOL, STRING, CelError, CelEvaluationError, CelType, CostExceeded, Program, compile_expression, optional_of, schema_type

CALL_COST_MAX = 1_000_000
"""Units for one rule on one value; upstream's."""
OBJECT_COST_MAX = 10_000_000
"""Units for all rules on one object; upstream's."""
_LONGEST_MESSAGE = 5 * 1024

_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    program: Program
    message: str
    message_program: Program | None
    reason: str
    field_path: str
    transition: bool
    optional_old: bool


@dataclass(frozen=True, slots=True)
class _Node:
    """A place with rules at it or below.  `map_keys` is not None where items have old values."""

    type: str
    rules: tuple[_Rule, ...]
    properties: Mapping[str, "_Node"]
    additional: "_Node | None"
    items: "_Node | None"
    map_keys: tuple[str, ...] | None


class Rules:
    """`schema` is one whose rules are without faults."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = _node(schema, is_resource=True)

    def faults(self, obj: Any, old: Any = None) -> list[Cause]:
        if self._root is None:
            return []
        return [one if one.field else replace(one, field=NOWHERE) for one in _Run().check(self._root, obj, old, "")]


class _Run:
    """The rules on one object, and what they may still cost."""

    def __init__(self) -> None:
        self._left = OBJECT_COST_MAX

    def check(self, node: _Node, value: Any, old: Any, path: str) -> list[Cause]:
        if value is None:
            return []
        unchanged = old is not None and same(old, value)
        causes = [cause for rule in node.rules for cause in self._ask(node, rule, value, old, path, unchanged=unchanged)]
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for name, one in value.items():
                child = node.properties.get(name) or node.additional
                if child is not None:
                    causes += self.check(child, one, before.get(name), f"{path}.{name}" if path else name)
        elif isinstance(value, list) and node.items is not None:
            keys = node.map_keys
            olds = {_key(one, keys): one for one in old} if keys is not None and isinstance(old, list) else {}
            for index, one in enumerate(value):
                causes += self.check(node.items, one, olds.get(_key(one, keys)) if keys is not None else None, f"{path}[{index}]")
        return causes

    def _ask(self, node: _Node, rule: _Rule, value: Any, old: Any, path: str, *, unchanged: bool) -> list[Cause]:
        if rule.transition and old is None and not rule.optional_old:
            return []
        if unchanged and not rule.transition:
            return []
        values = {"self": value} if old is None else {"self": value, "oldSelf": old}
        if self._left <= 0:
            return []
        try:
            holds, cost = rule.program.evaluate_with_cost(values, cost_limit=min(CALL_COST_MAX, self._left))
        except CostExceeded as error:
            self._left = 0
            return [invalid(path, node.type, f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.text}")]
        except CelEvaluationError as error:
            return [invalid(path, node.type, f"{error} evaluating rule: {rule.text}")]
        self._left -= cost
        return [] if holds else [_cause(node, rule, path, self._message(rule, values))]

    def _message(self, rule: _Rule, values: Mapping[str, Any]) -> str:
        if rule.message_program is not None and self._left > 0:
            try:
                said, cost = rule.message_program.evaluate_with_cost(values, cost_limit=min(CALL_COST_MAX, self._left))
                self._left -= cost
                if isinstance(said, str) and said.strip() and "\n" not in said and len(said) <= _LONGEST_MESSAGE:
                    return said.strip()
            except CelEvaluationError:
                pass  # as upstream: a message that cannot be made is replaced by the plain one
        return rule.message or f"failed rule: {' '.join(rule.text.split())}"


def _cause(node: _Node, rule: _Rule, path: str, message: str) -> Cause:
    where = f"{path}{rule.field_path}".removeprefix(".")
    match rule.reason:
        case "FieldValueForbidden":
            return forbidden(where, message)
        case "FieldValueRequired":
            return required(where, message)
        case "FieldValueDuplicate":
            return Cause(rule.reason, f'Duplicate value: "{node.type}"', where)
    return invalid(where, node.type, message)


def _node(schema: Mapping[str, Any], *, is_resource: bool = False) -> _Node | None:
    rules = tuple(_compiled(schema, raw, is_resource=is_resource) for raw in schema.get("x-kubernetes-validations") or ())
    properties = {name: node for name, one in (schema.get("properties") or {}).items() if (node := _node(one)) is not None}
    additional, items = (_node(one) if isinstance(one, Mapping) else None for one in (schema.get("additionalProperties"), schema.get("items")))
    if not (rules or properties or additional or items):
        return None
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ()) if schema.get("x-kubernetes-list-type") == "map" else None
    return _Node(schema.get("type") or "object", rules, properties, additional, items, keys)


def _variables(schema: Mapping[str, Any], *, is_resource: bool, optional_old: bool) -> dict[str, CelType]:
    own = schema_type(schema, resource=is_resource)
    return {"self": own, "oldSelf": optional_of(own) if optional_old else own}


def _compiled(schema: Mapping[str, Any], raw: Mapping[str, Any], *, is_resource: bool) -> _Rule:
    """Raises CelError."""
    optional_old = bool(raw.get("optionalOldSelf"))
    variables = _variables(schema, is_resource=is_resource, optional_old=optional_old)
    program = compile_expression(raw["rule"], variables, result=BOOL)
    expression = raw.get("messageExpression")
    return _Rule(
        raw["rule"].strip(),
        program,
        (raw.get("message") or "").strip(),
        compile_expression(expression, variables, result=STRING) if expression else None,
        raw.get("reason") or "FieldValueInvalid",
        raw.get("fieldPath") or "",
        program.uses("oldSelf"),
        optional_old,
    )


def _key(item: Any, keys: Sequence[str] | None) -> bytes:
    return orjson.dumps([item.get(key) for key in keys or ()]) if isinstance(item, dict) else b""


# -- the rules themselves


def definition_faults(definition: Mapping[str, Any]) -> list[Cause]:
    """Of all versions of a CustomResourceDefinition that is otherwise well formed."""
    causes: list[Cause] = []
    for index, version in enumerate(definition["spec"].get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        causes += rule_faults(schema, f"spec.versions[{index}].schema.openAPIV3Schema")
    return causes


def rule_faults(schema: Mapping[str, Any], path: str, *, is_resource: bool = True, correlatable: bool = True) -> list[Cause]:
    """`path` is that of the schema.  The schema must have been found structural."""
    causes: list[Cause] = []
    for index, raw in enumerate(schema.get("x-kubernetes-validations") or ()):
        causes += _faults_of(schema, raw, f"{path}.x-kubernetes-validations[{index}]", is_resource=is_resource, correlatable=correlatable)
    for name, one in (schema.get("properties") or {}).items():
        causes += rule_faults(one, f"{path}.properties[{name}]", is_resource=False, correlatable=correlatable)
    if isinstance(schema.get("additionalProperties"), Mapping):
        causes += rule_faults(schema["additionalProperties"], f"{path}.additionalProperties", is_resource=False, correlatable=correlatable)
    if isinstance(schema.get("items"), Mapping):
        below = correlatable and schema.get("x-kubernetes-list-type") == "map"
        causes += rule_faults(schema["items"], f"{path}.items", is_resource=False, correlatable=below)
    return causes


def _faults_of(schema: Mapping[str, Any], raw: Mapping[str, Any], path: str, *, is_resource: bool, correlatable: bool) -> list[Cause]:
    rule, message = (raw.get("rule") or "").strip(), raw.get("message")
    causes: list[Cause] = []
    if not rule:
        return [required(f"{path}.rule", "rule is not specified")]
    if message is not None and not message.strip():
        causes.append(invalid(f"{path}.message", message, "message must be non-empty if specified"))
    elif message and "\n" in message.strip():
        causes.append(invalid(f"{path}.message", message, "message must not contain line breaks"))
    elif not message and "\n" in rule and not raw.get("messageExpression"):
        causes.append(required(f"{path}.message", "message must be specified if rule contains line breaks"))
    if raw.get("reason") is not None and raw["reason"] not in _REASONS:
        causes.append(not_supported(f"{path}.reason", raw["reason"], _REASONS))
    if raw.get("fieldPath") and not _leads_somewhere(schema, raw["fieldPath"]):
        causes.append(invalid(f"{path}.fieldPath", raw["fieldPath"], "fieldPath must be a valid path: does not refer to a valid field"))
    variables = _variables(schema, is_resource=is_resource, optional_old=bool(raw.get("optionalOldSelf")))
    try:
        program = compile_expression(rule, variables, result=BOOL)
    except CelError as error:
        return [*causes, invalid(f"{path}.rule", rule, f"compilation failed: {error}")]
    if program.uses("oldSelf") and not correlatable:
        causes.append(invalid(f"{path}.rule", rule, f"oldSelf cannot be used on the uncorrelatable portion of the schema within {path}"))
    elif raw.get("optionalOldSelf") and not program.uses("oldSelf"):
        causes.append(invalid(f"{path}.optionalOldSelf", True, "may not be set if oldSelf is not used in rule"))
    if raw.get("messageExpression"):
        try:
            compile_expression(raw["messageExpression"], variables, result=STRING)
        except CelError as error:
            causes.append(invalid(f"{path}.messageExpression", raw["messageExpression"], f"messageExpression compilation failed: {error}"))
    return causes


def _leads_somewhere(schema: Mapping[str, Any], field_path: str) -> bool:
    """A fieldPath is of names only: `.spec.replicas`, `['a-b']`."""
    names = field_names(field_path)
    at: Any = schema
    for name in names or ():
        at = (at.get("properties") or {}).get(name) or at.get("additionalProperties")
        if not isinstance(at, Mapping):
            return False
    return bool(names)
