"""Which objects a ResourceQuota is about: its scopes, and the selector over them, must all match.

Source: pkg/quota/v1/evaluator/core (podMatchesScopeFunc, podMatchesSelector).
"""

from collections.abc import Callable, Iterable, Mapping

from k8sfromscratch.api.registry import PERSISTENT_VOLUME_CLAIMS, PODS
from k8sfromscratch.api.resource import Resource
from k8sfromscratch.core.admission.types import Object
from k8sfromscratch.core.pods.qos import qos_class


def matches(quota: Object, resource: Resource, obj: Object) -> bool:
    """A quota without scopes is about everything; one with scopes only about kinds that know them."""
    return all(_matches(scope, operator, values, resource, obj) for scope, operator, values in _requirements(quota.get("spec") or {}))


def _requirements(spec: Object) -> Iterable[tuple[str, str, list[str]]]:
    """(scope, operator, values)."""
    for scope in spec.get("scopes") or ():
        yield scope, "Exists", []
    for expression in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        yield expression["scopeName"], expression["operator"], list(expression.get("values") or ())


def _matches(scope: str, operator: str, values: list[str], resource: Resource, obj: Object) -> bool:
    if resource == PODS and scope in _POD_SCOPES:
        return _POD_SCOPES[scope](obj)
    if resource == PODS and scope == "PriorityClass":
        return _selected((obj.get("spec") or {}).get("priorityClassName") or "", operator, values)
    if resource == PERSISTENT_VOLUME_CLAIMS and scope == "VolumeAttributesClass":
        wanted = (obj.get("spec") or {}).get("volumeAttributesClassName") or ""
        current = (obj.get("status") or {}).get("currentVolumeAttributesClassName") or ""
        return any(_selected(name, operator, values) for name in {wanted, current})
    return False


def _selected(name: str, operator: str, values: list[str]) -> bool:
    match operator:
        case "In":
            return bool(name) and name in values
        case "NotIn":
            return name not in values
        case "DoesNotExist":
            return not name
        case _:
            return bool(name)


def _terminating(pod: Object) -> bool:
    """It is a pod that ends by itself: it has a deadline."""
    return (pod.get("spec") or {}).get("activeDeadlineSeconds") is not None


def _best_effort(pod: Object) -> bool:
    return qos_class(pod) == "BestEffort"


def _cross_namespace(pod: Object) -> bool:
    """Its (anti-)affinity is to pods of other namespaces, and so could keep these from being scheduled."""
    affinity = (pod.get("spec") or {}).get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        weighted = [item.get("podAffinityTerm") or {} for item in terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()]
        for term in [*(terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()), *weighted]:
            if term.get("namespaces") or term.get("namespaceSelector") is not None:
                return True
    return False


_POD_SCOPES: Mapping[str, Callable[[Object], bool]] = {
    "Terminating": _terminating,
    "NotTerminating": lambda pod: not _terminating(pod),
    "BestEffort": _best_effort,
    "NotBestEffort": lambda pod: not _best_effort(pod),
    "CrossNamespacePodAffinity": _cross_namespace,
}
