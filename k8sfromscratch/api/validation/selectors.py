"""Selectors inside objects: metav1.LabelSelector, node selectors, and whether one matches a template's labels."""

from collections.abc import Mapping
from typing import Any

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.validation.field import Object, checked, forbidden, indexed, invalid, required
from k8sfromscratch.api.validation.metadata import labels


def label_selector(of: Mapping[str, Any] | None, path: str) -> list[Cause]:
    if of is None:
        return []
    causes = labels(of.get("matchLabels"), f"{path}.matchLabels")
    for at, one in indexed(of, "matchExpressions", path):
        values = one.get("values") or []
        match one.get("operator", ""):
            case "In" | "NotIn":
                if not values:
                    causes.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
            case "Exists" | "DoesNotExist":
                if values:
                    causes.append(forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
            case operator:
                causes.append(invalid(f"{at}.operator", operator, "not a valid selector operator"))
        causes += checked(f"{at}.key", one.get("key", ""), names.qualified_name)
        for index, value in enumerate(values):
            causes += checked(f"{at}.values[{index}]", value, names.label_value)
    return causes


def is_empty(selector: Mapping[str, Any]) -> bool:
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def selects(selector: Mapping[str, Any], of: Mapping[str, str]) -> bool:
    """Whether a valid selector matches these labels."""
    if any(of.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(one, of.get(one.get("key", ""))) for one in selector.get("matchExpressions") or ())


def _holds(expression: Mapping[str, Any], value: str | None) -> bool:
    values = expression.get("values") or ()
    return {
        "In": value is not None and value in values,
        "NotIn": value is None or value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(expression.get("operator", ""), False)


def node_selector(of: Object, path: str) -> list[Cause]:
    if not of.get("nodeSelectorTerms"):
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return [cause for at, term in indexed(of, "nodeSelectorTerms", path) for cause in node_selector_term(term, at)]


def node_selector_term(term: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for at, one in indexed(term, "matchExpressions", path):
        values = one.get("values") or []
        match one.get("operator", ""):
            case "In" | "NotIn":
                if not values:
                    causes.append(required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
            case "Exists" | "DoesNotExist":
                if values:
                    causes.append(forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
            case "Gt" | "Lt":
                if len(values) != 1:
                    causes.append(required(f"{at}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
            case operator:
                causes.append(invalid(f"{at}.operator", operator, "not a valid selector operator"))
        causes += checked(f"{at}.key", one.get("key", ""), names.qualified_name)
    for at, one in indexed(term, "matchFields", path):
        if one.get("operator") not in ("In", "NotIn"):
            causes.append(invalid(f"{at}.operator", one.get("operator", ""), "not a valid selector operator"))
        elif len(one.get("values") or ()) != 1:
            causes.append(required(f"{at}.values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
        if one.get("key") != "metadata.name":
            causes.append(invalid(f"{at}.key", one.get("key", ""), "not a valid field selector key"))
    return causes
