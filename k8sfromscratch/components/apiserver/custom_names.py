"""Which of a CustomResourceDefinition's names it gets, and the conditions that say so.  Pure.

Two definitions of one group may ask for the same name; the first to be accepted keeps it, the other keeps what it has of its own.

Source: apiextensions-apiserver's pkg/controller/status/naming_controller.go, establish and apiapproval.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from k8sfromscratch.components.apiserver.custom_version import ESTABLISHED, NAMES_ACCEPTED, condition

Object = dict[str, Any]

APPROVED = "KubernetesAPIApprovalPolicyConformant"
APPROVAL_ANNOTATION = "api-approved.kubernetes.io"


def status_of(definition: Object, others: Iterable[Object], now: str) -> Object:
    """The status that a definition has beside the other ones."""
    group = definition["spec"]["group"]
    taken = [one.get("status", {}).get("acceptedNames") or {} for one in others if one["spec"]["group"] == group]
    status: Object = dict(definition.get("status") or {})
    names, accepted = _accepted(definition["spec"]["names"], status.get("acceptedNames") or {}, taken)
    conditions = [accepted, *_established(definition, accepted)]
    if group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io"):
        conditions.append(_approved(definition))
    return {**status, "acceptedNames": names, "conditions": merged(status.get("conditions") or [], conditions, now)}


def of(kind: str, status: bool, reason: str, message: str) -> Object:
    return {"type": kind, "status": "True" if status else "False", "reason": reason, "message": message}


def merged(old: Iterable[Object], new: Iterable[Object], now: str) -> list[Object]:
    """Conditions by type; the time is that of the last change between True and False."""
    result = {one["type"]: one for one in old}
    for one in new:
        before = result.get(one["type"])
        since = before.get("lastTransitionTime", now) if before is not None and before["status"] == one["status"] else now
        result[one["type"]] = {"lastTransitionTime": since, **one}
    return list(result.values())


def _accepted(wanted: Mapping[str, Any], have: Mapping[str, Any], taken: Iterable[Mapping[str, Any]]) -> tuple[Object, Object]:
    """The names it gets, and the condition NamesAccepted."""
    resources = {name for one in taken for name in (one.get("plural"), one.get("singular"), *(one.get("shortNames") or ())) if name}
    kinds = {name for one in taken for name in (one.get("kind"), one.get("listKind")) if name}
    names: Object = dict(have)
    problem: tuple[str, str] | None = None
    for key, used, reason in (("plural", resources, "PluralConflict"), ("singular", resources, "SingularConflict")):
        if wanted.get(key) in used:
            problem = (reason, f'"{wanted[key]}" is already in use')
        else:
            names[key] = wanted.get(key, "")
    short = [name for name in wanted.get("shortNames") or () if name in resources]
    if short:
        problem = ("ShortNamesConflict", f'"{short[0]}" is already in use')
    elif wanted.get("shortNames"):
        names["shortNames"] = list(wanted["shortNames"])
    else:
        names.pop("shortNames", None)
    for key, reason in (("kind", "KindConflict"), ("listKind", "ListKindConflict")):
        if wanted.get(key) in kinds:
            problem = (reason, f'"{wanted[key]}" is already in use')
        else:
            names[key] = wanted.get(key, "")
    if wanted.get("categories"):
        names["categories"] = list(wanted["categories"])
    else:
        names.pop("categories", None)
    names = {"plural": "", "kind": "", **names}
    if problem is None:
        return names, of(NAMES_ACCEPTED, True, "NoConflicts", "no conflicts found")
    return names, of(NAMES_ACCEPTED, False, *problem)


def _established(definition: Object, accepted: Object) -> list[Object]:
    """Once established it stays so."""
    before = condition(definition, ESTABLISHED)
    if before is not None and before["status"] == "True":
        return []
    if accepted["status"] == "True":
        return [of(ESTABLISHED, True, "InitialNamesAccepted", "the initial names have been accepted")]
    return [of(ESTABLISHED, False, "NotAccepted", "not all names are accepted")]


def _approved(definition: Object) -> Object:
    text = (definition["metadata"].get("annotations") or {}).get(APPROVAL_ANNOTATION, "")
    if text.startswith("unapproved"):
        return of(APPROVED, False, "UnapprovedAnnotation", f'not approved: "{text}"')
    return of(APPROVED, True, "ApprovedAnnotation", f"approved in {text}")
