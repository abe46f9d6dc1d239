"""ResourceQuotas and LimitRanges: amounts of which resources, and which of them contradict one another.

Source: ValidateResourceQuota and ValidateLimitRange in pkg/apis/core/validation.
"""

from collections.abc import Iterable

from k8sfromscratch.api import names
from k8sfromscratch.api.errors import Cause
from k8sfromscratch.api.quantity import parse_quantity
from k8sfromscratch.api.validation.containers import COUNTED_RESOURCES, QUOTA_RESOURCES, resource_amount
from k8sfromscratch.api.validation.field import Object, checked, duplicates, forbidden, immutable, indexed, invalid

_SCOPES = frozenset({"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass"})
_CONTRADICTIONS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_OF_RUNNING_PODS = frozenset(
    {"pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "ephemeral-storage"}
    | {"requests.ephemeral-storage", "limits.ephemeral-storage"}
)
_OF_PLAIN_LIMITS = frozenset({"cpu", "memory", "ephemeral-storage"})


def resource_quota(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    hard = spec.get("hard") or {}
    causes: list[Cause] = []
    for name, amount in hard.items():
        causes += _resource(f"spec.hard[{name}]", name, QUOTA_RESOURCES, "quota") + resource_amount(f"spec.hard[{name}]", name, amount)
    return causes + _scopes(spec.get("scopes") or [], hard)


def _scopes(scopes: list[str], hard: Iterable[str]) -> list[Cause]:
    path = "spec.scopes"
    unknown = [invalid(path, scopes, "unsupported scope") for scope in scopes if scope not in _SCOPES]
    misplaced = [invalid(path, scopes, "unsupported scope applied to resource") for scope in scopes for name in hard if not _may_scope(scope, name)]
    contradictions = [invalid(path, scopes, "conflicting scopes") for pair in _CONTRADICTIONS if pair <= set(scopes)]
    return unknown + misplaced + contradictions


def _may_scope(scope: str, name: str) -> bool:
    """What counts pods may be narrowed to some of them."""
    if scope == "BestEffort":
        return name == "pods"
    return scope not in _SCOPES or scope == "VolumeAttributesClass" or name in _OF_RUNNING_PODS or "/" in name or "hugepages-" in name


def resource_quota_update(new: Object, old: Object) -> list[Cause]:
    return resource_quota(new) + immutable("spec.scopes", (new.get("spec") or {}).get("scopes"), (old.get("spec") or {}).get("scopes"))


def limit_range(obj: Object) -> list[Cause]:
    causes: list[Cause] = []
    limits = list(indexed(obj.get("spec") or {}, "limits", "spec"))
    for at, item in limits:
        kind = item.get("type", "")
        causes += checked(f"{at}.type", kind, names.qualified_name)
        if kind == "Pod":
            causes += [forbidden(f"{at}.{key}", "may not be specified when `type` is 'Pod'") for key in ("default", "defaultRequest") if item.get(key)]
        for key in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            for name in item.get(key) or ():
                allowed = _OF_PLAIN_LIMITS if kind in ("Pod", "Container") else QUOTA_RESOURCES
                causes += _resource(f"{at}.{key}[{name}]", name, allowed, "containers")
        causes += _order(item, at)
        for name, ratio in (item.get("maxLimitRequestRatio") or {}).items():
            if parse_quantity(ratio) < 1:
                causes.append(invalid(f"{at}.maxLimitRequestRatio[{name}]", ratio, f"ratio {ratio} is less than 1"))
    return causes + duplicates((f"{at}.type", item.get("type", "")) for at, item in limits)


def _order(item: Object, at: str) -> list[Cause]:
    """min <= defaultRequest <= default <= max, for every resource that has several of them."""
    causes: list[Cause] = []
    least, most = item.get("min") or {}, item.get("max") or {}
    requested, default = item.get("defaultRequest") or {}, item.get("default") or {}
    for lower, lower_words, upper, upper_words, key in (
        (least, "min", most, "max", "min"),
        (least, "min", requested, "default request", "defaultRequest"),
        (requested, "default request", most, "max", "defaultRequest"),
        (requested, "default request", default, "default", "defaultRequest"),
        (least, "min", default, "default", "default"),
        (default, "default", most, "max", "default"),
    ):
        for name, amount in lower.items():
            if name in upper and parse_quantity(amount) > parse_quantity(upper[name]):
                shown = item[key][name]
                detail = f"{lower_words} value {amount} is greater than {upper_words} value {upper[name]}"
                causes.append(invalid(f"{at}.{key}[{name}]", shown, detail))
    return causes


def _resource(path: str, name: str, standard: frozenset[str], of: str) -> list[Cause]:
    causes = checked(path, name, names.qualified_name)
    if "/" in name or name in standard or "hugepages-" in name:
        return causes
    if not causes and name not in QUOTA_RESOURCES | COUNTED_RESOURCES:
        causes.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return [*causes, invalid(path, name, f"must be a standard resource for {of}")]
